"""The figures of a study, from optuna.visualization.

They are drawn from copies of the study in memory: Optuna cuts long parameter names, and plotly reads markup in text.
"""

from __future__ import annotations

import copy
import functools
import html
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from convtrack.errors import escaped
from convtrack.study import results
from convtrack.study.results import Found

MOST_AXES, MOST_SLICES, SLICES_IN_A_ROW = 12, 24, 4
LEAST_FOR_CONTOUR, MOST_IN_CONTOUR = 6, 100  # trials; a contour has a cell for each pair of them
LONGEST_CHOICE = 24  # letters
# the light colours of the page, and a few greys
INK, SOFT, GRID, BLUE, BEST, GREEN, PURPLE = "#1f2328", "#57606a", "#c6ced6", "#0067a3", "#b64a00", "#00755a", "#8a3b78"
COLOURS = {"COMPLETE": BLUE, "PRUNED": "#8c8c8c", "FAIL": PURPLE, "RUNNING": GREEN, "WAITING": "#bfbfbf"}


@dataclass(frozen=True)
class Section:
    """Figures of one kind, never empty."""

    title: str
    caption: str
    figures: list[go.Figure]


def sections(found: Found) -> list[Section]:
    """All figures that the trials allow, in the order of the page."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it talks about the copies
    name, tenth = results.followed(found.objectives), math.ceil(len(found.of("complete")) / 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = _copy(found, range(len(found.objectives)), found.trials)
        single = [_copy(found, [index], found.trials) for index in range(len(found.objectives))]
        made = [
            ("Pareto front", "Red: no other trial is better in all objectives.", [*_pareto_front(found, whole)]),
            ("History", "Pruned and failed trials are at the last value they reported.", [*_history(found, single)]),
            (
                "Learning curves",
                f"{name} after each epoch: complete trials blue, the best orange, pruned grey, failed purple.",
                [*_learning_curves(found)],
            ),
            (
                "Importances",
                f"What separates the best tenth of the complete trials ({tenth}) from the rest (PED-ANOVA).",
                [*_importances(found, whole)],
            ),
            ("Parallel coordinates", "None: the trial lacks the parameter.", [*_parallel_coordinates(found, whole)]),
            ("Slices", "Later trials have a stronger colour.", [*_slices(found, single)]),
            ("Contours", "The most important parameters in pairs, interpolated.", [*_contours(found)]),
            ("Timeline", "A gap is time between two commands.", [*_timeline(found, whole)]),
        ]
    return [Section(*one) for one in made if one[-1]]


def _pareto_front(found: Found, study: optuna.Study) -> Iterator[go.Figure]:
    names = _objectives(found)
    for pair in itertools.combinations(range(len(names)), 2) if _finite(found) else ():
        targets = functools.partial(_values, pair)
        drawn = visualization.plot_pareto_front(study, targets=targets, target_names=[names[one] for one in pair])
        yield _styled(drawn.update_traces(marker_showscale=False), 400)


def _values(objectives: Sequence[int], trial: FrozenTrial) -> list[float]:
    return [trial.values[index] for index in objectives]


def _history(found: Found, single: list[optuna.Study]) -> Iterator[go.Figure]:
    for index, study in enumerate(single if found.of("complete", "pruned", "failed") else ()):
        drawn = visualization.plot_optimization_history(study, target_name=_objectives(found)[index])
        reported = found.objectives[index] == results.followed(found.objectives)
        for state, symbol in (("pruned", "circle-open"), ("failed", "x")) if reported else ():
            curves = [(trial, filter(math.isfinite, results.curve(trial).values())) for trial in found.of(state)]
            last = [(trial, values[-1]) for trial, curve in curves if (values := list(curve))]
            drawn.add_scatter(
                x=[trial.number for trial, _ in last],
                y=[value for _, value in last],
                mode="markers",
                name=state,
                marker={"symbol": symbol, "color": COLOURS[results.STATES[state].name]},
                hovertext=[_escaped(f"trial {one.number}, {state}: {results.reason(one)[:200]}") for one, _ in last],
                hoverinfo="text",
            )
        yield _styled(drawn, 340)


def _learning_curves(found: Found) -> Iterator[go.Figure]:
    best = {trial.number for trial in found.best}
    drawn = go.Figure(layout={"xaxis": {"title": {"text": "percent of the trial's epochs"}}})
    for trial in sorted(found.trials, key=lambda trial: trial.number in best):
        if points := results.curve(trial):
            first = trial.number in best
            line = {"color": BEST if first else COLOURS[trial.state.name], "width": 3 if first else 1.2}
            name = f"trial {trial.number}"
            drawn.add_scatter(
                x=list(points), y=list(points.values()), name=name, line=line, opacity=0.65 + 0.35 * first
            )
    if drawn.data:
        yield _styled(drawn.update_yaxes(title_text=_escaped(results.followed(found.objectives))), 460)


def _importances(found: Found, study: optuna.Study) -> Iterator[go.Figure]:
    if found.importances and _finite(found):
        height = 120 + 26 * len(found.importances) * len(found.objectives)
        yield _styled(visualization.plot_param_importances(study), height)


def _parallel_coordinates(found: Found, study: optuna.Study) -> Iterator[go.Figure]:
    names, objectives = _parameters(found, _finite(found))[:MOST_AXES], _objectives(found)
    if len(_finite(found)) >= 2 and names:
        drawn = visualization.plot_parallel_coordinate(study, params=names, target_name=objectives[0])
        drawn.update_xaxes(ticktext=[*objectives, *sorted(names)])  # Optuna cuts these
        yield _styled(drawn, 480)


def _slices(found: Found, single: list[optuna.Study]) -> Iterator[go.Figure]:
    complete = _finite(found)
    names = _parameters(found, complete)[:MOST_SLICES] if len(complete) > 1 else []
    for study, objective in zip(single, _objectives(found), strict=True):
        for first in range(0, len(names), SLICES_IN_A_ROW):
            some = names[first : first + SLICES_IN_A_ROW]
            yield _styled(visualization.plot_slice(study, params=some, target_name=objective), 300)


def _contours(found: Found) -> Iterator[go.Figure]:
    complete = _finite(found)
    trials = complete[:: math.ceil(len(complete) / MOST_IN_CONTOUR) or 1]
    for index, objective in enumerate(_objectives(found) if len(trials) >= LEAST_FOR_CONTOUR else ()):
        study = _copy(found, [index], trials)
        values = [trial.params for trial in study.trials]
        varied = [
            name for name in _parameters(found, trials) if len({repr(one[name]) for one in values if name in one}) > 1
        ]
        if len(varied) > 1:
            yield _styled(visualization.plot_contour(study, params=varied[:3], target_name=objective), 700)


def _timeline(found: Found, study: optuna.Study) -> Iterator[go.Figure]:
    if any(trial.datetime_start for trial in found.trials):
        drawn = visualization.plot_timeline(study)
        drawn.for_each_trace(lambda trace: trace.update(marker_color=COLOURS.get(trace.name)))
        yield _styled(drawn, max(260, min(700, 160 + 10 * len(found.trials))))


def _copy(found: Found, objectives: Sequence[int], trials: Sequence[FrozenTrial]) -> optuna.Study:
    """A study in memory with these objectives and trials, to be drawn; trials are numbered in their order."""
    storage = InMemoryStorage()
    directions = [StudyDirection.MAXIMIZE if found.maximized[i] else StudyDirection.MINIMIZE for i in objectives]
    study_id = storage.create_new_study(directions)
    names = _names(found)
    for trial in trials:
        storage.create_new_trial(study_id, _drawable(trial, names, objectives))
    study = optuna.load_study(study_name=None, storage=storage)
    study.set_metric_names([_objectives(found)[index] for index in objectives])
    return study


def _drawable(trial: FrozenTrial, names: dict[str, str], objectives: Sequence[int]) -> FrozenTrial:
    drawn = copy.copy(trial)
    ranges = trial.distributions
    drawn.params = {names[path]: _choice(value, ranges[path]) for path, value in trial.params.items()}
    drawn.distributions = {
        names[path]: CategoricalDistribution([_choice(value, one) for value in one.choices])
        if isinstance(one, CategoricalDistribution)
        else one
        for path, one in ranges.items()
    }
    drawn.values = _values(objectives, trial) if trial.state == TrialState.COMPLETE else None
    drawn.user_attrs = {"reason": _escaped(results.reason(trial))} if results.reason(trial) else {}
    return drawn


def _choice(value: Any, distribution: BaseDistribution) -> Any:
    """The value as the figures show it: a number, or text where not all choices are numbers."""
    choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in choices):
        return value
    return _escaped(results.short(value)[:LONGEST_CHOICE])


def _parameters(found: Found, trials: Sequence[FrozenTrial]) -> list[str]:
    """Names in the figures of the parameters that one of `trials` has, the most important first."""
    names = _names(found)
    return [names[path] for path in found.parameters() if any(path in trial.params for trial in trials)]


def _objectives(found: Found) -> list[str]:
    return [_escaped(name) for name in found.objectives]


def _names(found: Found) -> dict[str, str]:
    return {path: _escaped(label) for path, label in results.labels(found.parameters()).items()}


def _finite(found: Found) -> list[FrozenTrial]:
    """The complete trials that Optuna draws."""
    return [trial for trial in found.of("complete") if all(map(math.isfinite, trial.values))]


def _escaped(text: str) -> str:
    """`text` without anything that plotly reads as markup."""
    return html.escape(escaped(text), quote=False)


def _styled(drawn: go.Figure, height: int) -> go.Figure:
    """`drawn` as wide as the page and in its colours, without a title, which the page has."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": SOFT, "automargin": True}
    look = {"colorway": [BLUE, BEST, GREEN, PURPLE, SOFT], "xaxis": axis, "yaxis": axis}
    return drawn.update_layout(
        template={"layout": look},
        font={"color": INK, "family": "system-ui, sans-serif"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": SOFT, "activecolor": INK},
        title_text="",
        width=None,
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
    )
