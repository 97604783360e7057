"""A study in the terminal: its progress, as a live table or one line per event, and `convtrack study show`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from convtrack.errors import escaped
from convtrack.study import results
from convtrack.study.results import Found, clock

BARS = "▁▂▃▄▅▆▇█"
LONGEST_CURVE = 24  # bars
COLOURS = {"complete": "green", "pruned": "yellow", "failed": "red"}
MOST_REASONS = 5


class View:
    """Shows the progress of a study with these `objectives`, of which `total` trials are to finish (None: no end)."""

    def __init__(self, objectives: Sequence[str], total: int | None, console: Console | None = None) -> None:
        self.objectives, self.total = objectives, total
        self.console = console or Console(stderr=True, soft_wrap=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._began = time.monotonic()
        self._started: dict[int, float] = {}  # by this clock: the storage may have the time of another host
        self._done_before: int | None = None

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._live.stop()

    def say(self, line: str | Text) -> None:
        """Print a line that stays, without reading markup in it."""
        self.console.print(Text(line) if isinstance(line, str) else line, highlight=False)

    def started(self, trial: FrozenTrial) -> None:
        self._started[trial.number] = time.monotonic()
        if not self.console.is_terminal:
            self.say(f"{results.title(trial)} begins: {describe(trial)}")

    def ended(self, trial: FrozenTrial, *, best: bool) -> None:
        """Say how a trial ended, and if it is the `best` so far."""
        word = results.WORDS[trial.state]
        line = Text(f"{results.title(trial)} ").append(word, COLOURS[word])
        if trial.state == TrialState.COMPLETE:
            line.append(f"  {results.named(self.objectives, trial)}")
            line.append("  best so far" if best else "", "bold")
        elif reason := results.reason(trial):
            line.append(f"  {reason}")
        self.say(line.append(f"  {clock(results.seconds(trial) or 0)}", "dim"))

    def show(self, trials: list[FrozenTrial], running: list[int], best: FrozenTrial | None) -> None:
        """Draw the table, with a row for each of `running`."""
        finished = sum(trial.state in results.FINISHED for trial in trials)
        if self._done_before is None:
            self._done_before = finished
        if self.console.is_terminal:
            head = self._head(trials, running, finished)
            if best is not None:
                head.append(f"\nbest {results.named(self.objectives, best)}", "bold")
            self._live.update(Group(head, self._table(trials, running)), refresh=True)

    def _head(self, trials: list[FrozenTrial], running: list[int], finished: int) -> Text:
        found = results.counts(trials)
        training = sum(trials[number].state == TrialState.RUNNING for number in running)
        counts = [(training, "running", "cyan"), *((found[word], word, colour) for word, colour in COLOURS.items())]
        # folded where the terminal is narrow
        gap = Text("  ", no_wrap=False, overflow="fold")
        head = gap.join(Text(f"{count} {word}", colour) for count, word, colour in counts)
        left = "until Ctrl-C"
        if self.total is not None:
            left = f"{finished} of {self.total} finished"
            if done := finished - (self._done_before or 0):
                left += f", {clock((time.monotonic() - self._began) / done * (self.total - finished))} left"
        return head.append(f"   {left}", "dim")

    def _table(self, trials: list[FrozenTrial], running: list[int]) -> Table:
        table = Table("trial", "done", results.followed(self.objectives), "", "time", box=box.SIMPLE_HEAD)
        for number in running:
            curve = results.curve(trials[number])
            values = list(curve.values())
            # a trial whose result is known may still copy files to MLflow
            done = "saving" if trials[number].state.is_finished() else f"{max(curve, default=0)} %"
            last = f"{values[-1]:.4f}" if values else ""
            seconds = time.monotonic() - self._started.get(number, self._began)
            name = results.title(trials[number]).removeprefix("trial ")
            table.add_row(name, done, last, sparkline(values), clock(seconds))
        return table


def describe(trial: FrozenTrial) -> str:
    """The values of a trial by the path of the parameter."""
    return ", ".join(f"{path}={results.short(value)}" for path, value in trial.params.items())


def sparkline(values: list[float]) -> str:
    """The last values as bars between the lowest and the highest of all."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values[-LONGEST_CURVE:])


def summary(found: Found, storage: str, notes: Sequence[str]) -> RenderableType:
    """The state of a study, its best trials beside trial 0, why trials failed, and what to do next.

    `storage` is its address as `optuna --storage` takes it, without a password; `notes` are about the best trials.
    """
    counts = ", ".join(f"{count} {state}" for state, count in results.counts(found.trials).items() if count)
    head = Text(no_wrap=True, overflow="ignore").append(f"{escaped(found.name)}\n", style="bold")
    head.append(f"  {found.aim}\n  trials: {counts or 'none yet'}; {found.spent} of training (h:mm:ss)\n")
    head.append(f"  storage: {storage}\n")
    best: list[RenderableType] = [_best(found), *map(Text, notes)] if found.best else []
    return Group(head, *best, *_failures(found), _next(found, storage))


def _best(found: Found) -> Table:
    head, *rows = found.comparison()
    title = "On the Pareto front" if len(found.objectives) > 1 else "Best trials"
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, overflow="fold", justify="right" if index else "left")
    for index, row in enumerate(rows):
        table.add_row(*map(Text, row), end_section=index == len(found.objectives))
    return table


def _failures(found: Found) -> list[Text]:
    """The reasons why trials failed, the most frequent first."""
    numbers: dict[str, list[int]] = {}
    for trial in found.of("failed"):
        numbers.setdefault(results.reason(trial) or "no reason given", []).append(trial.number)
    often = sorted(numbers.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]
    lines = [Text(f"  {len(which)}x, first trial {which[0]}: {escaped(why)}") for why, which in often]
    return [Text("\nFailed", style="bold"), *lines] if lines else []


def _next(found: Found, storage: str) -> Text:
    name, address = shlex.quote(found.name), shlex.quote(storage)
    which = f" --trial {found.best[0].number}" if len(found.objectives) > 1 and found.best else ""
    rows = [(f"convtrack study apply {name}{which}", "write its values into params.yaml")] if found.best else []
    if len(found.objectives) == 1 and any(trial.number for trial in found.of("complete")):  # others than trial 0
        rows.insert(0, (f"convtrack study confirm {name}", "train the best trials with new seeds"))
    rows += [
        (f"convtrack study report {name}", "write all of this as one page"),
        (f"optuna trials --storage {address} --study-name {name}", "list every trial"),
        (f"optuna-dashboard {address}", "open Optuna's own pages"),
    ]
    text = Text("\nNext\n", style="bold", no_wrap=True, overflow="ignore")
    return text.append("\n".join(f"  {command}    # {what}" for command, what in rows), style="not bold")
