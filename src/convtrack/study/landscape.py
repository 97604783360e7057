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
from convtrack.study.conditions import same
from convtrack.study.figures import about
from convtrack.study.results import Found
from convtrack.study.style import COLOURS, SCALE, figure, labels, styled, words

MOST_AXES, MOST_SLICES, COLUMNS = 12, 24, 4
LONGEST_CHOICE = 24  # letters
LEAST_FOR_CONTOUR, CELLS = 6, 40
TO_THE_BEST = [[0, "#D0D7DE"], [0.5, COLOURS["complete"]], [1, COLOURS["best"]]]
ABSENT = object()  # in the place of a parameter that a trial does not have


@dataclass(frozen=True)
class Axis:
    """One parameter or objective: positions are what is drawn, and its ticks say what they mean.

    Those of a `log` axis are powers of ten, those of `choices` count from 0. `step` is 0 where all between is possible.
    """

    low: float
    high: float
    log: bool = False
    step: float = 0.0
    choices: tuple[Any, ...] = ()

    def position(self, value: Any) -> float:
        if self.choices:
            return float(next(index for index, choice in enumerate(self.choices) if same(choice, value)))
        return math.log10(value) if self.log else float(value)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Positions and what they mean; of numbers five at most."""
        if self.choices:
            words_of_choices = [results.printable(results.short(choice))[:LONGEST_CHOICE] for choice in self.choices]
            return [float(index) for index in range(len(self.choices))], words_of_choices
        places = [float(place) for place in np.linspace(self.low, self.high, 5)] if self.high > self.low else [self.low]
        if self.step and not self.log:
            count = round((self.high - self.low) / self.step)
            stride = self.step * max(1, math.ceil(count / 4))
            places = [float(place) for place in np.arange(self.low, self.high + self.step / 2, stride)]
        return places, [results.short(float(f"{10**place if self.log else place:.3g}")) for place in places]


def axis_of(trials: Sequence[FrozenTrial], name: str) -> Axis:
    """The axis of parameter `name`, as wide as the widest range it had in `trials`."""
    found = [trial.distributions[name] for trial in trials if name in trial.distributions]
    last = found[-1]
    if isinstance(last, CategoricalDistribution):
        return Axis(0.0, float(len(last.choices) - 1), choices=tuple(last.choices))
    numeric = [one for one in found if isinstance(one, FloatDistribution | IntDistribution)]
    low, high = float(min(one.low for one in numeric)), float(max(one.high for one in numeric))
    if all(one.log for one in numeric):
        return Axis(math.log10(low), math.log10(high), log=True)
    return Axis(low, high, step=float(min(one.step or 0 for one in numeric)))


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
    values = [trial.values[objective] for trial in complete]
    dimensions = [
        _dimension(short[name], axis_of(complete, name), [trial.params.get(name, ABSENT) for trial in complete])
        for name in names
    ]
    dimensions.append(_dimension(found.objectives[objective], Axis(min(values), max(values)), values))
    drawn = figure(480)
    drawn.add_parcoords(
        dimensions=dimensions,
        line={"color": values, "colorscale": TO_THE_BEST, "reversescale": not found.maximized[objective]},
        labelangle=-20,
        labelside="bottom",
    )
    return drawn.update_layout(margin={"l": 70, "r": 70, "t": 30, "b": 100})


def _dimension(label: str, axis: Axis, values: list[Any]) -> dict[str, Any]:
    places, meanings = axis.ticks()
    low, high = axis.low, axis.high if axis.high > axis.low else axis.low + 1.0
    foot = low - 0.2 * (high - low)
    if ABSENT in values:
        low, places, meanings = foot, [foot, *places], [results.ABSENT, *meanings]
    return {
        "label": words(label),
        "values": [foot if value is ABSENT else axis.position(value) for value in values],
        "range": [low, high],
        "tickvals": places,
        "ticktext": meanings,  # the one text that plotly takes letter by letter
    }


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
        drawn.add_trace(_slice(name, axis, some, objective), **place)
        drawn.update_xaxes(title={"text": words(short), "standoff": 4}, **_ticks(axis), **place)
    for row in range(1, rows + 1):
        drawn.update_yaxes(title=words(found.objectives[objective]), row=row, col=1)
    return drawn.update_layout(showlegend=False)


def _slice(name: str, axis: Axis, trials: list[FrozenTrial], objective: int) -> go.Scatter:
    return go.Scatter(
        x=[axis.position(trial.params[name]) for trial in trials],
        y=[trial.values[objective] for trial in trials],
        mode="markers",
        marker={
            "color": [trial.number for trial in trials],
            "colorscale": SCALE,
            "size": 7,
            "line": {"color": "white", "width": 0.5},
        },
        hovertext=[about(trial, results.short(trial.params[name])) for trial in trials],
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
    values = [trial.values[objective] for _, _, trials in pairs for trial in trials]
    colours = Axis(min(values), max(values))
    drawn = styled(make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.09), 380)
    for column, (one, other, trials) in enumerate(pairs, start=1):
        x, y = axis_of(trials, one), axis_of(trials, other)
        field, points = _contour((one, x), (other, y), trials, objective, colours)
        field.update(showscale=column == len(pairs), colorbar={"title": words(found.objectives[objective])})
        drawn.add_traces([field, points], rows=1, cols=column)
        drawn.update_xaxes(title=words(short[one]), **_ticks(x), row=1, col=column)
        drawn.update_yaxes(title=words(short[other]), **_ticks(y), row=1, col=column)
    return drawn.update_layout(showlegend=False)


def _contour(
    one: tuple[str, Axis], other: tuple[str, Axis], trials: list[FrozenTrial], objective: int, colours: Axis
) -> tuple[go.Contour, go.Scatter]:
    """The surface and its trials. A colour axis that both share would keep plotly.js in an endless loop (7.1)."""
    (across_name, x), (up_name, y) = one, other
    across = np.array([x.position(trial.params[across_name]) for trial in trials])
    up = np.array([y.position(trial.params[up_name]) for trial in trials])
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
        marker={
            "color": values,
            "colorscale": SCALE,
            "cmin": colours.low,
            "cmax": colours.high,
            "size": 8,
            "line": {"color": "white", "width": 1},
        },
        hovertext=[about(trial) for trial in trials],
        hoverinfo="text",
    )
    field = go.Contour(
        x=grid_x,
        y=grid_y,
        z=surface,
        colorscale=SCALE,
        zmin=colours.low,
        zmax=colours.high,
        hoverinfo="skip",
        line={"width": 0.5},
        ncontours=16,
    )
    return field, points


def _varies(trials: list[FrozenTrial], name: str) -> bool:
    return len({repr(trial.params[name]) for trial in trials if name in trial.params}) > 1


def _with(trials: list[FrozenTrial], *names: str) -> list[FrozenTrial]:
    return [trial for trial in trials if all(name in trial.params for name in names)]


def _ticks(axis: Axis) -> dict[str, Any]:
    places, meanings = axis.ticks()
    margin = 0.06 * ((axis.high - axis.low) or 1.0)
    return {
        "tickvals": places,
        "ticktext": [words(text) for text in meanings],
        "range": [axis.low - margin, axis.high + margin],
    }


def _spacing(rows: int) -> dict[str, float]:
    return {"horizontal_spacing": 0.03, "vertical_spacing": min(0.1, 0.32 / rows)}
