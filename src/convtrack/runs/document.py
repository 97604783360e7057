"""A short document of headings, lines and tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from convtrack.report.names import in_markdown


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first cell of each its name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Lines:
    """Lines of text below each other; `strong` are the ones to be read first."""

    lines: Sequence[str]
    strong: bool = False


Block = Table | Lines


def terminal(blocks: Sequence[Block]) -> RenderableType:
    """The document for rich to print."""
    parts: list[RenderableType] = []
    for block in blocks:
        parts.append(Text())
        if isinstance(block, Lines):
            parts += [Text(_printable(line), style="bold" if block.strong else "") for line in block.lines]
            continue
        table = RichTable(title=block.title, title_justify="left", title_style="bold")
        for number, column in enumerate(block.columns):
            table.add_column(Text(_printable(column)), overflow="fold", justify="left" if number == 0 else "right")
        for row in block.rows:
            table.add_row(
                *(Text(_printable(cell)) for cell in row)
            )  # Text takes no markup: a class may be called [red]
        parts.append(table)
    return Group(*parts[1:])


def markdown(blocks: Sequence[Block]) -> str:
    """The document in Markdown, as for a pull request."""
    parts = []
    for block in blocks:
        if isinstance(block, Lines):
            parts.append("\n".join(f"{_bold(line) if block.strong else in_markdown(line)}  " for line in block.lines))
            continue
        rows = [block.columns, ["---", *["---:"] * (len(block.columns) - 1)], *block.rows]
        cells = [[cell if number == 1 else in_markdown(cell) for cell in row] for number, row in enumerate(rows)]
        parts.append(f"**{block.title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells))
    return "\n\n".join(parts) + "\n"


def _bold(line: str) -> str:
    return f"**{in_markdown(line)}**"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
