"""What the parameters of a study do, as figures: importances, parallel coordinates, slices, contours.

Complete trials alone: what a pruned trial reported cannot be compared with an end. Each function returns None where
there is too little to draw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from convtrack.study import results
from convtrack.study.figures import about
from convtrack.study.results import Found
from convtrack.study.style import COLOURS, SCALE, figure, labels, styled, words

MOST_AXES, MOST_SLICES, COLUMNS = 12, 24, 4
LEAST_FOR_CONTOUR, CELLS = 6, 40


@dataclass(frozen=True)
class Axis:
    """One parameter: positions are what is drawn; its ticks say what they mean. `log` axes have powers as positions."""

    name: str
    log: bool
    choices: tuple[Any, ...]
    low: float
    high: float

    def position(self, value: Any) -> float:
        if self.choices:
            return float(next(index for index, choice in enumerate(self.choices) if choice is value or choice == value))
        return math.log10(value) if self.log else float(value)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Positions and their words, five at most for numbers."""
        if self.choices:
            return [float(index) for index in range(len(self.choices))], [words(choice) for choice in self.choices]
        places = [float(place) for place in np.linspace(self.low, self.high, 5)] if self.high > self.low else [self.low]
        return places, [results.short(float(f"{10**place if self.log else place:.3g}")) for place in places]


def axis_of(trials: Sequence[FrozenTrial], name: str) -> Axis:
    """The axis of parameter `name`, as wide as the widest range it had in `trials`."""
    found = [trial.distributions[name] for trial in trials if name in trial.distributions]
    last = found[-1]
    if isinstance(last, CategoricalDistribution):
        return Axis(name, False, tuple(last.choices), 0.0, float(len(last.choices) - 1))
    numeric = [one for one in found if isinstance(one, FloatDistribution | IntDistribution)]
    log = all(one.log for one in numeric)
    low, high = float(min(one.low for one in numeric)), float(max(one.high for one in numeric))
    return Axis(name, log, (), math.log10(low) if log else low, math.log10(high) if log else high)


def importances(found: Found) -> go.Figure | None:
    """Each parameter's share in what decides between the best tenth of trials and the rest."""
    shares = dict(reversed(found.importances.items()))  # bars are drawn from below
    if not shares:
        return None
    short = labels(list(shares))
    drawn = figure(90 + 26 * len(shares))
    drawn.add_bar(
        orientation="h",
        x=list(shares.values()),
        y=[words(short[name]) for name in shares],
        text=[f"{share:.0%}" for share in shares.values()],
        textposition="outside",
        cliponaxis=False,
        marker={"color": COLOURS["complete"]},
        hovertext=[words(name) for name in shares],
        hoverinfo="text",
    )
    return drawn.update_xaxes(tickformat=".0%", rangemode="tozero")


def parallel_coordinates(found: Found, objective: int) -> go.Figure | None:
    """A line for each trial through its parameters to its value; a parameter that it does not have is at the foot."""
    complete = found.of("complete")
    names = [name for name in found.parameters() if any(name in trial.params for trial in complete)][:MOST_AXES]
    if len(complete) < 2 or not names:
        return None
    short = labels(names)
    dimensions = [_dimension(axis_of(complete, name), complete, short[name]) for name in names]
    values = [trial.values[objective] for trial in complete]
    dimensions.append({"label": words(found.objectives[objective]), "values": values})
    drawn = figure(480)
    drawn.add_parcoords(
        dimensions=dimensions,
        line={"color": values, "colorscale": SCALE, "showscale": True},
        labelangle=-25,
        labelside="bottom",
    )
    return drawn.update_layout(margin={"l": 70, "r": 60, "t": 30, "b": 110})


def _dimension(axis: Axis, trials: list[FrozenTrial], label: str) -> dict[str, Any]:
    places, names = axis.ticks()
    foot = axis.low - 0.2 * ((axis.high - axis.low) or 1.0)
    low, high = axis.low, axis.high if axis.high > axis.low else axis.low + 1.0
    if any(axis.name not in trial.params for trial in trials):
        low, places, names = foot, [foot, *places], [results.ABSENT, *names]
    values = [axis.position(trial.params[axis.name]) if axis.name in trial.params else foot for trial in trials]
    return {"label": words(label), "values": values, "range": [low, high], "tickvals": places, "ticktext": names}


def slices(found: Found, objective: int) -> go.Figure | None:
    """The value of each trial by each of its parameters; later trials are brighter."""
    complete = found.of("complete")
    names = [name for name in found.parameters() if any(name in trial.params for trial in complete)]
    if not names:
        return None
    names = names[:MOST_SLICES]
    rows = math.ceil(len(names) / COLUMNS)
    drawn = styled(make_subplots(rows=rows, cols=COLUMNS, shared_yaxes=True, **_spacing(rows)), 70 + 220 * rows)
    for index, (name, short) in enumerate(labels(names).items()):
        place = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
        axis, some = axis_of(complete, name), [trial for trial in complete if name in trial.params]
        drawn.add_trace(_slice(axis, some, objective, len(complete)), **place)
        drawn.update_xaxes(title={"text": words(short), "standoff": 4}, **_ticks(axis), **place)
    for row in range(1, rows + 1):
        drawn.update_yaxes(title=words(found.objectives[objective]), row=row, col=1)
    return drawn.update_layout(showlegend=False)


def _slice(axis: Axis, trials: list[FrozenTrial], objective: int, of: int) -> go.Scatter:
    return go.Scatter(
        x=[axis.position(trial.params[axis.name]) for trial in trials],
        y=[trial.values[objective] for trial in trials],
        mode="markers",
        marker={
            "color": [trial.number for trial in trials],
            "colorscale": SCALE,
            "cmin": 0,
            "cmax": max(of, *(trial.number for trial in trials)),
            "size": 7,
            "line": {"color": "white", "width": 0.5},
        },
        hovertext=[about(trial, results.short(trial.params[axis.name])) for trial in trials],
        hoverinfo="text",
    )


def contours(found: Found, objective: int) -> go.Figure | None:
    """The value over each two of the three most important parameters, between trials weighted by their distance."""
    complete = found.of("complete")
    spread = [name for name in found.parameters() if _varies(complete, name)]
    pairs = [(one, other, _with(complete, one, other)) for one, other in itertools.combinations(spread[:3], 2)]
    pairs = [pair for pair in pairs if len(pair[2]) >= LEAST_FOR_CONTOUR]
    if not pairs:
        return None
    short = labels(spread)
    drawn = styled(make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.09), 380)
    for column, (one, other, trials) in enumerate(pairs, start=1):
        x, y = axis_of(trials, one), axis_of(trials, other)
        for trace in _contour(x, y, trials, objective):
            drawn.add_trace(trace, row=1, col=column)
        drawn.update_xaxes(title=words(short[one]), **_ticks(x), row=1, col=column)
        drawn.update_yaxes(title=words(short[other]), **_ticks(y), row=1, col=column)
    return drawn.update_layout(
        showlegend=False,
        coloraxis={"colorscale": SCALE, "colorbar": {"title": words(found.objectives[objective])}},
    )


def _contour(x: Axis, y: Axis, trials: list[FrozenTrial], objective: int) -> list[Any]:
    across = np.array([x.position(trial.params[x.name]) for trial in trials])
    up = np.array([y.position(trial.params[y.name]) for trial in trials])
    values = np.array([trial.values[objective] for trial in trials])
    grid_x, grid_y = np.linspace(x.low, x.high, CELLS), np.linspace(y.low, y.high, CELLS)
    # Shepard's interpolation, in units of each range
    wide, tall = max(x.high - x.low, 1e-12), max(y.high - y.low, 1e-12)
    away = ((grid_x[None, :, None] - across) / wide) ** 2 + ((grid_y[:, None, None] - up) / tall) ** 2
    weights = 1 / (away + 1e-3)
    surface = (weights * values).sum(-1) / weights.sum(-1)
    points = go.Scatter(
        x=across,
        y=up,
        mode="markers",
        marker={"color": values, "coloraxis": "coloraxis", "size": 8, "line": {"color": "white", "width": 1}},
        hovertext=[about(trial) for trial in trials],
        hoverinfo="text",
    )
    field = go.Contour(
        x=grid_x, y=grid_y, z=surface, coloraxis="coloraxis", hoverinfo="skip", line={"width": 0.5}, ncontours=16
    )
    return [field, points]


def _varies(trials: list[FrozenTrial], name: str) -> bool:
    return len({repr(trial.params[name]) for trial in trials if name in trial.params}) > 1


def _with(trials: list[FrozenTrial], *names: str) -> list[FrozenTrial]:
    return [trial for trial in trials if all(name in trial.params for name in names)]


def _ticks(axis: Axis) -> dict[str, Any]:
    places, names = axis.ticks()
    margin = 0.06 * ((axis.high - axis.low) or 1.0)
    return {"tickvals": places, "ticktext": names, "range": [axis.low - margin, axis.high + margin]}


def _spacing(rows: int) -> dict[str, float]:
    return {"horizontal_spacing": 0.03, "vertical_spacing": min(0.1, 0.32 / rows)}
