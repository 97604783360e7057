"""What the terminal shows of predictions: a table of a few pictures, or a summary of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convtrack.errors import escaped
from convtrack.evaluation.metrics import wilson
from convtrack.inference.rows import ACTUAL, LABEL, NAME, PROBABILITY, PROBLEM, Row, Rows

FEW = 20  # pictures, up to which each has its line in the terminal
UNSURE = 0.5  # a probability below which a label is called unsure
BAR = 20  # characters of a probability of 1
MOST_LABELS = 30  # lines of labels in a summary
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass
class Summary:
    """Counts over all predictions, and the rows of the first FEW pictures and of the first that cannot be read."""

    rows: Rows
    pictures: int = 0
    unreadable: int = 0
    unsure: int = 0
    right: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)  # readable pictures by the class folder that they are in
    skipped: Counter[str] = field(default_factory=Counter)
    first: list[Row] = field(default_factory=list)
    problems: list[Row] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Count these rows."""
        self.pictures += len(rows)
        self.first += rows[: max(0, FEW - len(self.first))]
        for row in rows:
            if row[LABEL] is None:
                self.unreadable += 1
                self.problems += [row] * (len(self.problems) < FEW)
                continue
            self.labels[row[LABEL]] += 1
            self.unsure += row[PROBABILITY] < UNSURE
            if row[ACTUAL] is not None:
                self.folders[row[ACTUAL]] += 1
                self.right += row[ACTUAL] == row[LABEL]

    def shown(self) -> RenderableType:
        """For a terminal."""
        parts: list[RenderableType] = [self._few() if self.pictures <= FEW else self._many()]
        if self.problems and self.pictures > FEW:
            parts += [Text(), *self._unreadable()]
        if len(self.folders) > 1:
            parts += [Text(), self._accuracy()]
        if self.skipped:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.skipped.items()))
            parts += [Text(), Text(f"Skipped files: {kinds}")]
        return Group(*parts)

    def _few(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("picture", overflow="fold")
        for heading in ("label", "probability", "", "then"):
            table.add_column(heading, justify="right" if not heading else "left")
        for row in self.first:
            name = Text(row[NAME])
            if row[LABEL] is None:
                table.add_row(name, "", "", "", Text(escaped(row[PROBLEM]), style="red"))
                continue
            (label, probability), *others = self.rows.guesses(row, 3)
            then = Text(", ".join(f"{escaped(other)} {_percent(chance)}" for other, chance in others))
            table.add_row(name, Text(escaped(label), style="bold"), _bar(probability), _percent(probability), then)
        return table

    def _many(self) -> Group:
        readable = self.pictures - self.unreadable
        table = Table(box=None, pad_edge=False)
        table.add_column("label")
        table.add_column("pictures", justify="right")
        table.add_column("")
        for label, number in self.labels.most_common(MOST_LABELS):
            table.add_row(Text(escaped(label)), f"{number:,}", _bar(number / readable))
        if (rest := len(self.labels) - MOST_LABELS) > 0:
            table.add_row(f"{rest:,} more", f"{readable - sum(n for _, n in self.labels.most_common(MOST_LABELS)):,}")
        share = f" ({_percent(self.unsure / readable)})" if readable else ""
        unsure = Text(f"Probability below {UNSURE:.0%}: {self.unsure:,} of {readable:,} pictures{share}")
        return Group(table, Text(), unsure)

    def _unreadable(self) -> list[Text]:
        lines = [Text(f"Unreadable: {self.unreadable:,} of {self.pictures:,} pictures", style="bold")]
        lines += [Text(f"  {escaped(row[NAME])}: {row[PROBLEM]}") for row in self.problems]
        if (rest := self.unreadable - len(self.problems)) > 0:
            lines.append(Text(f"  and {rest:,} more"))
        return lines

    def _accuracy(self) -> Text:
        judged = self.folders.total()
        low, high = wilson(self.right, judged)
        return Text(
            f"Right: {self.right:,} of {judged:,} pictures in folders named after a class, "
            f"{self.right / judged:.1%} (95% interval {low:.1%} to {high:.1%})"
        )


def _bar(share: float) -> Text:
    whole, eighths = divmod(round(share * BAR * 8), 8)
    return Text(("█" * whole + _EIGHTHS[eighths]).rstrip().ljust(BAR), style="cyan")


def _percent(share: float) -> str:
    return f"{share:.1%}"
