"""What happened in a study, as figures: history, learning curves, timeline, Pareto front.

Each function returns None where there is nothing to draw yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from convtrack.study import results
from convtrack.study.results import Found
from convtrack.study.style import COLOURS, figure, lines, styled, words

WIDE_RANGE = 20  # highest to lowest value from which an axis is logarithmic


def history(found: Found) -> go.Figure | None:
    """The value of each trial by its number, and the best so far; pruned trials at the last value they reported."""
    names = found.objectives
    if not found.of("complete", "pruned", "failed"):
        return None
    drawn = styled(make_subplots(rows=len(names), shared_xaxes=True, vertical_spacing=0.08), 110 + 290 * len(names))
    for row, name in enumerate(names, start=1):
        for trace in _history(found, row - 1):
            drawn.add_trace(trace.update(showlegend=row == 1), row=row, col=1)
        drawn.update_yaxes(title=words(name), row=row, col=1)
    return drawn.update_xaxes(title="trial", row=len(names), col=1)


def _history(found: Found, objective: int) -> list[go.Scatter]:
    complete = found.of("complete")
    pruned = [trial for trial in found.of("pruned") if trial.intermediate_values]
    values = [trial.values[objective] for trial in complete]
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    silent = [trial for trial in found.of("pruned") if not trial.intermediate_values]
    lost = [*found.of("failed"), *silent]
    foot = min([*values, *last], default=0.0)
    better = max if found.maximized[objective] else min
    so_far = list(itertools.accumulate(values, better))
    return [
        _points("complete", complete, values, "circle"),
        _points("pruned", pruned, last, "circle-open"),
        _points("failed", lost, [foot] * len(lost), "x"),
        go.Scatter(
            x=[trial.number for trial in complete],
            y=so_far,
            name="best so far",
            mode="lines",
            line={"shape": "hv", "color": COLOURS["best"], "width": 2},
            hoverinfo="skip",
        ),
    ]


def _points(state: str, trials: list[FrozenTrial], values: list[float], symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[trial.number for trial in trials],
        y=values,
        name=state,
        mode="markers",
        marker={"color": COLOURS[state], "symbol": symbol, "size": 8},
        hovertext=[
            about(trial, *(f"{name}: {results.short(value)}" for name, value in trial.params.items()))
            for trial in trials
        ],
        hoverinfo="text",
    )


def about(trial: FrozenTrial, *more: str) -> str:
    """Hover text: which trial, how it ended and why, its values, and `more`."""
    state = next(name for name, state in results.STATES.items() if state == trial.state)
    why = [results.reason(trial)[:200]] if results.reason(trial) else []
    values = [results.short(value) for value in trial.values or []]
    return lines(f"trial {trial.number}: {state} {', '.join(values)}".strip(), *why, *more)


def curves(found: Found) -> go.Figure | None:
    """Each trial's value after each epoch, by the percent of its epochs; pruned ones grey, the best in front."""
    best = {trial.number for trial in found.best}
    drawn = figure(460)
    for state in ("pruned", "failed", "running", "complete"):
        _add_curves(drawn, state, [trial for trial in found.of(state) if trial.number not in best])
    _add_curves(drawn, "best", found.best)
    if not drawn.data:
        return None
    drawn.update_xaxes(title="percent of the trial's epochs", range=[0, 102])
    return drawn.update_yaxes(title=words(results.followed(found.objectives)))


def _add_curves(drawn: go.Figure, state: str, trials: list[FrozenTrial]) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    texts: list[str] = []
    for trial in trials:
        for percent, value in sorted(results.curve(trial).items()):
            x.append(percent)
            y.append(value)
            texts.append(lines(f"trial {trial.number}: {state}", f"{results.short(value)} at {percent} %"))
        # a gap, so that a thousand trials are one trace
        x.append(None)
        y.append(None)
        texts.append("")
    if any(value is not None for value in y):
        thick = state == "best"
        drawn.add_scatter(
            x=x,
            y=y,
            name=state,
            mode="lines+markers",
            line={"color": COLOURS[state], "width": 3 if thick else 1.2},
            marker={"size": 6 if thick else 4},
            opacity=1 if thick else 0.65,
            hovertext=texts,
            hoverinfo="text",
        )


def timeline(found: Found, now: datetime) -> go.Figure | None:
    """When each trial ran; those that still run, until `now` (local time, as Optuna keeps it)."""
    started = [trial for trial in found.trials if trial.datetime_start]
    if not started:
        return None
    drawn = figure(max(220, min(700, 120 + 12 * len(started))))
    for state in results.STATES:
        some = [trial for trial in found.of(state) if trial.datetime_start]
        if some:
            drawn.add_bar(
                orientation="h",
                name=state,
                y=[trial.number for trial in some],
                base=[trial.datetime_start for trial in some],
                x=[_milliseconds(trial, now) for trial in some],
                marker={"color": COLOURS[state], "line": {"width": 0}},
                hovertext=[about(trial, f"{_milliseconds(trial, now) / 1000:,.0f} s") for trial in some],
                hoverinfo="text",
            )
    drawn.update_layout(barmode="overlay", bargap=0.15)
    drawn.update_xaxes(type="date")
    return drawn.update_yaxes(title="trial", autorange="reversed")


def _milliseconds(trial: FrozenTrial, now: datetime) -> float:
    if trial.datetime_start is None:
        raise ValueError("the trial has not started")
    return max(0.0, 1000 * ((trial.datetime_complete or now) - trial.datetime_start).total_seconds())


def pareto_front(found: Found) -> go.Figure | None:
    """Complete trials by each two objectives; those that no other trial beats in all objectives, in front."""
    names = found.objectives
    complete = found.of("complete")
    if len(names) < 2 or not complete:
        return None
    pairs = list(itertools.combinations(range(len(names)), 2))
    drawn = styled(make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.1), 460)
    front = found.best
    numbers = {trial.number for trial in front}
    rest = [trial for trial in complete if trial.number not in numbers]
    for column, (one, other) in enumerate(pairs, start=1):
        for state, some in (("complete", rest), ("best", sorted(front, key=lambda trial: trial.values[one]))):
            named = "on the front" if state == "best" else "beaten"
            joined = state == "best" and len(names) == 2
            points = go.Scatter(
                x=[trial.values[one] for trial in some],
                y=[trial.values[other] for trial in some],
                name=named,
                showlegend=column == 1,
                mode="lines+markers" if joined else "markers",
                line={"dash": "dot", "width": 1},
                marker={"color": COLOURS[state], "size": 9},
                hovertext=[about(trial) for trial in some],
                hoverinfo="text",
            )
            drawn.add_trace(points, row=1, col=column)
        drawn.update_xaxes(title=words(names[one]), type=_scale(complete, one), row=1, col=column)
        drawn.update_yaxes(title=words(names[other]), type=_scale(complete, other), row=1, col=column)
    return drawn


def _scale(trials: Sequence[FrozenTrial], objective: int) -> str:
    values = [trial.values[objective] for trial in trials]
    return "log" if min(values) > 0 and max(values) > WIDE_RANGE * min(values) else "linear"
