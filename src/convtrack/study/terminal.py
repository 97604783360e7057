"""A study in the terminal: while it runs, as a table that moves or a line a trial; and `convtrack study show`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from convtrack.study import results
from convtrack.study.reclaim import Reclaimed
from convtrack.study.results import Found

BARS = "▁▂▃▄▅▆▇█"
LONGEST_CURVE = 24  # bars
COLOURS = {"complete": "green", "pruned": "yellow", "failed": "red"}
MOST_COLUMNS = 4  # trials side by side
MOST_REASONS = 5


class View:
    """Told of trials as they begin and end, and shown all of them about once a second.

    `objectives` are names, `directions` for each `maximize` or `minimize`, `total` the finished trials that are asked
    for, None where there is no end.
    """

    def __init__(
        self, objectives: Sequence[str], directions: Sequence[str], total: int | None, console: Console | None = None
    ) -> None:
        self.objectives, self.directions, self.total = objectives, directions, total
        self.console = console or Console(stderr=True, soft_wrap=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._began = time.monotonic()
        self._started: dict[int, float] = {}  # by this clock: what the storage says may be the time of another host
        self._done_before: int | None = None
        self._leader: FrozenTrial | None = None

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._live.stop()

    def started(self, trial: FrozenTrial) -> None:
        self._started[trial.number] = time.monotonic()
        if not self.console.is_terminal:
            self._say(Text(f"trial {trial.number} begins: {describe(trial)}"))

    def ended(self, trial: FrozenTrial) -> None:
        """One line that stays: how the trial ended, its values, and whether it is the best so far."""
        line = Text(f"trial {trial.number} ")
        word = results.WORDS[trial.state]
        line.append(word, COLOURS[word])
        if trial.state == TrialState.COMPLETE:
            line.append("  " + "  ".join(self._named(trial.values)))
            if self._leads(trial):
                line.append("  best so far", "bold")
        elif reason := results.reason(trial):
            line.append(f"  {reason}")
        if trial.duration:
            line.append(f"  {clock(trial.duration.total_seconds())}", "dim")
        self._say(line)

    def reclaimed(self, found: Reclaimed) -> None:
        """What became of trials whose command was killed."""
        if found.waiting:
            self._say(Text(f"interrupted, and going on: trial {', '.join(map(str, found.waiting))}"))
        if found.unknown:
            numbers = ", ".join(map(str, found.unknown))
            self._say(Text(f"not counted, since nobody here knows whether they still run elsewhere: trial {numbers}"))

    def stopping(self, numbers: list[int]) -> None:
        """Ctrl-C came, and the trials that run are asked to end, which may take them some seconds."""
        self._say(Text(f"stopping trial {', '.join(map(str, numbers))}; the same command goes on with what they have"))

    def show(self, trials: list[FrozenTrial], running: list[int]) -> None:
        """Draw the table, with a curve for each of `running`."""
        finished = sum(trial.state in results.FINISHED for trial in trials)
        if self._done_before is None:
            self._done_before = finished
            for trial in trials:
                self._leads(trial)
        if self.console.is_terminal:
            self._live.update(self._page(trials, running, finished), refresh=True)

    def _page(self, trials: list[FrozenTrial], running: list[int], finished: int) -> RenderableType:
        found = results.counts(trials)
        at_work = sum(trials[number].state == TrialState.RUNNING for number in running)
        counts = [(at_work, "running", "cyan")]
        counts += [(found[word], word, colour) for word, colour in COLOURS.items()]
        # folded where the terminal is narrow, for all of a line to be read
        gap = Text("  ", no_wrap=False, overflow="fold")
        head = gap.join(Text(f"{count} {word}", colour) for count, word, colour in counts)
        head.append(f"   {self._left(finished)}", "dim")
        if self._leader is not None:
            head.append(f"\nbest {self.objectives[0]} {self._leader.values[0]:.4g}", "bold")
        table = Table(box=box.SIMPLE_HEAD)
        for name in ("trial", "done", results.followed(self.objectives), "", "time"):
            table.add_column(name)
        for number in running:
            table.add_row(*_row(trials[number], time.monotonic() - self._started.get(number, self._began)))
        return Group(head, table)

    def _left(self, finished: int) -> str:
        if self.total is None:
            return "until Ctrl-C"
        done = finished - (self._done_before or 0)
        left = f", {clock((time.monotonic() - self._began) / done * (self.total - finished))} left" if done else ""
        return f"{finished} of {self.total} finished{left}"

    def _leads(self, trial: FrozenTrial) -> bool:
        """Whether a trial is the best so far, where there is one objective."""
        if trial.state != TrialState.COMPLETE or len(self.objectives) > 1:
            return False
        known = [self._leader] if self._leader else []
        self._leader, *_ = results.by_value([trial, *known], maximized=self.directions[0] == "maximize")
        return self._leader is trial

    def _named(self, values: list[float]) -> list[str]:
        return [f"{name} {value:.4g}" for name, value in zip(self.objectives, values, strict=True)]

    def _say(self, line: Text) -> None:
        self.console.print(line, highlight=False)


def describe(trial: FrozenTrial) -> str:
    """A trial's values by the knob's path, in few digits."""
    return ", ".join(
        f"{path}={value:.4g}" if isinstance(value, float) else f"{path}={value}" for path, value in trial.params.items()
    )


def sparkline(values: list[float]) -> str:
    """The last values as bars between the lowest and the highest of all."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values[-LONGEST_CURVE:])


def clock(seconds: float) -> str:
    """h:mm:ss"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _row(trial: FrozenTrial, seconds: float) -> list[str]:
    reported = results.curve(trial)
    curve = [reported[percent] for percent in sorted(reported)]
    last = f"{curve[-1]:.4f}" if curve else ""
    done = f"{max(reported, default=0)} %"
    if trial.state.is_finished():
        done = "saving"  # its result is known, and its process is at the files for MLflow
    return [str(trial.number), done, last, sparkline(curve), clock(seconds)]


def summary(found: Found, storage: str) -> RenderableType:
    """How the study stands, its best trials beside trial 0, why trials failed, and where to look next.

    `storage` is its address as `optuna --storage` takes it, without a password.
    """
    parts: list[RenderableType] = [_head(found, storage)]
    if found.best:
        parts.append(_best(found))
    parts += [*_failures(found), _next(found, storage)]
    return Group(*[part for pair in zip(parts, [Text()] * len(parts), strict=True) for part in pair][:-1])


def _head(found: Found, storage: str) -> Text:
    verbs = ["maximize" if up else "minimize" for up in found.maximized]
    aims = ", ".join(f"{verb} {name}" for verb, name in zip(verbs, found.objectives, strict=True))
    counts = ", ".join(f"{count} {state}" for state, count in found.counts().items() if count) or "none yet"
    spent = timedelta(seconds=round(sum(results.seconds(trial) or 0 for trial in found.trials)))
    text = Text(no_wrap=True, overflow="ignore")
    text.append(f"{results.printable(found.name)}\n", style="bold")
    # Text takes no markup, so that a study may be called [red]
    text.append(f"  {aims}\n  trials: {counts}; {spent} of training (hours:minutes:seconds)\n  storage: {storage}")
    return text


def _best(found: Found) -> Table:
    """A row for each parameter, a column for each of the best trials; trial 0 beside them, which params.yaml held."""
    trials = (found.best if len(found.objectives) > 1 else found.ranked())[:MOST_COLUMNS]
    first = found.trials[0]
    if first.values and first not in trials:
        trials = [*trials, first]
    title = "On the Pareto front" if len(found.objectives) > 1 else "Best trials"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for trial in trials:
        table.add_column(f"trial {trial.number}", justify="right", overflow="fold")
    if found.importances:
        table.add_column("importance", justify="right")
    for index, name in enumerate(found.objectives):
        table.add_row(Text(name, style="bold"), *(results.short(trial.values[index]) for trial in trials))
    table.add_row("seconds", *(f"{results.seconds(trial) or 0:,.0f}" for trial in trials))
    table.add_section()
    for name in found.parameters():
        share = [f"{found.importances[name]:.0%}"] if name in found.importances else []
        table.add_row(Text(name), *(_value(trial, name) for trial in trials), *share)
    return table


def _value(trial: FrozenTrial, name: str) -> Text:
    return Text(results.printable(results.short(trial.params[name])) if name in trial.params else results.ABSENT)


def _failures(found: Found) -> list[Text]:
    """One line for each reason that trials failed for, the most frequent first."""
    numbers: dict[str, list[int]] = {}
    for trial in found.of("failed"):
        numbers.setdefault(results.reason(trial) or "no reason given", []).append(trial.number)
    often = sorted(numbers.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]
    lines = [Text(f"  {len(which)}x, as trial {which[0]}: {results.printable(why)}") for why, which in often]
    return [Text("\n").join([Text("Failed", style="bold"), *lines])] if lines else []


def _next(found: Found, storage: str) -> Text:
    name, address = shlex.quote(found.name), shlex.quote(storage)
    which = f" --trial {found.best[0].number}" if len(found.objectives) > 1 and found.best else ""
    rows = [
        (f"convtrack study apply {name}{which}", "the values into params.yaml") if found.best else None,
        (f"convtrack study report {name}", "all of it as one page"),
        (f"optuna trials --storage {address} --study-name {name}", "every trial, as Optuna prints them"),
        (f"optuna-dashboard {address}", "Optuna's own pages"),
    ]
    text = Text("Next\n", style="bold", no_wrap=True, overflow="ignore")
    lines = [f"  {row[0]}    # {row[1]}" for row in rows if row]
    return text.append("\n".join(lines), style="not bold")
