"""A study as one watches it: a table that moves on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from convtrack.study import results
from convtrack.study.reclaim import Reclaimed

BARS = "▁▂▃▄▅▆▇█"
LONGEST_CURVE = 24  # bars
COLOURS = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAIL: "red"}
WORDS = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


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
        self._best: float | None = None

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
        line.append(WORDS[trial.state], COLOURS[trial.state])
        if trial.state == TrialState.COMPLETE:
            line.append("  " + "  ".join(self._named(trial.values)))
            if self._leads(trial):
                line.append("  best so far", "bold")
        elif reason := trial.user_attrs.get("reason"):
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
        states = [trial.state for trial in trials]
        finished = states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED)
        if self._done_before is None:
            self._done_before = finished
            for trial in trials:
                self._leads(trial)
        if self.console.is_terminal:
            self._live.update(self._page(trials, running, finished), refresh=True)

    def _page(self, trials: list[FrozenTrial], running: list[int], finished: int) -> RenderableType:
        states = [trial.state for trial in trials]
        at_work = sum(trials[number].state == TrialState.RUNNING for number in running)
        counts = [(at_work, "running", "cyan")]
        counts += [(states.count(state), word, COLOURS[state]) for state, word in WORDS.items()]
        # folded where the terminal is narrow, for all of a line to be read
        gap = Text("  ", no_wrap=False, overflow="fold")
        head = gap.join(Text(f"{count} {word}", colour) for count, word, colour in counts)
        head.append(f"   {self._left(finished)}", "dim")
        if self._best is not None:
            head.append(f"\nbest {self.objectives[0]} {self._best:.4g}", "bold")
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
        value, sign = trial.values[0], -1 if self.directions[0] == "minimize" else 1
        leads = self._best is None or sign * value > sign * self._best
        if leads:
            self._best = value
        return leads

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
