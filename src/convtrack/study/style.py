"""How the figures of a study's page look, and how words get into them: plotly reads markup in every text."""

from __future__ import annotations

import html
import re
from typing import Any

import plotly.graph_objects as go

from convtrack.study.results import printable

# Okabe and Ito, "Color Universal Design" (2008): told apart with any kind of colour vision
COLOURS = {
    "complete": "#0072B2",
    "best": "#D55E00",
    "pruned": "#A6A6A6",
    "failed": "#CC79A7",
    "running": "#009E73",
    "waiting": "#D9D9D9",
}
SCALE = "Cividis"
GRID, INK = "#E6E6E6", "#24292F"


def figure(height: int) -> go.Figure:
    """An empty figure, `height` pixels high and as wide as the page."""
    return styled(go.Figure(), height)


def styled(drawn: go.Figure, height: int) -> go.Figure:
    """`drawn`, in the looks of the page."""
    drawn.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": INK}},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
    )
    axis: dict[str, Any] = {"gridcolor": GRID, "zeroline": False, "automargin": True, "linecolor": GRID}
    drawn.update_xaxes(**axis)
    drawn.update_yaxes(**axis)
    return drawn


def words(text: object) -> str:
    """`text` as plotly shows it letter by letter: no markup, no control characters."""
    return html.escape(printable(str(text)), quote=False)


def lines(*texts: object) -> str:
    """One line of hover text for each of `texts`."""
    return "<br>".join(words(text) for text in texts)


def script_safe(drawn: go.Figure) -> str:
    """The figure as JSON that may stand inside a <script> element."""
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return re.sub("[<>&\u2028\u2029]", lambda found: escapes[found[0]], drawn.to_json())


def labels(paths: list[str]) -> dict[str, str]:
    """The shortest ends of dotted paths that tell them apart: `filters.0` for `model.filters.0`."""
    return {path: _shortest(path, paths) for path in paths}


def _shortest(path: str, paths: list[str]) -> str:
    parts = path.split(".")
    for count in range(1, len(parts)):
        end = ".".join(parts[-count:])
        unique = not any(other != path and f".{other}".endswith(f".{end}") for other in paths)
        if unique and not parts[-count].isdecimal() and parts[-count] != "length":
            return end
    return path
