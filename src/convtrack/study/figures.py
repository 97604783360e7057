"""The figures of a study, drawn by optuna.visualization.

They are drawn from copies of the study in memory, whose parameters have short names, since Optuna cuts long ones, and
whose text is escaped, since plotly reads markup in it.
"""

from __future__ import annotations

import contextlib
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

from convtrack.study import results
from convtrack.study.results import Found

MOST_AXES, MOST_SLICES, SLICES_IN_A_ROW = 12, 24, 4
LEAST_FOR_CONTOUR = 6  # trials
MOST_IN_CONTOUR = 100  # trials: a contour has a cell for each two of them
LONGEST_CHOICE = 24  # letters
WIDE_RANGE = 20  # ratio of the largest to the smallest value from which an axis is logarithmic
# Okabe and Ito, "Color Universal Design" (2008): distinct with any kind of colour vision
COLOURS = {"COMPLETE": "#0072B2", "PRUNED": "#A6A6A6", "FAIL": "#CC79A7", "RUNNING": "#009E73", "WAITING": "#D9D9D9"}
BEST = "#D55E00"


@dataclass(frozen=True)
class Section:
    """Figures of one kind. Where there are none, `missing` says why."""

    title: str
    caption: str
    figures: list[go.Figure]
    missing: str = "No trial is complete yet."
    side_by_side: bool = False


def sections(found: Found) -> list[Section]:
    """All figures of a study, in the order of the page."""
    with _quiet():
        objectives = range(len(found.objectives))
        whole = _copy(found, objectives, found.trials)
        single = [_copy(found, [index], found.trials) for index in objectives] if len(objectives) > 1 else [whole]
        return [
            *([_pareto_front(found, whole)] if len(objectives) > 1 else []),
            _history(found, single),
            _learning_curves(found, whole),
            _importances(found, whole),
            _parallel_coordinates(found, whole),
            _slices(found, single),
            _contours(found),
            _timeline(found, whole),
        ]


def _pareto_front(found: Found, study: optuna.Study) -> Section:
    names, complete = _objectives(found), _finite(found)
    figures = []
    for one, other in itertools.combinations(range(len(names)), 2) if complete else ():
        targets = functools.partial(_values, (one, other))
        drawn = visualization.plot_pareto_front(study, targets=targets, target_names=[names[one], names[other]])
        drawn.update_traces(marker_showscale=False)
        drawn.update_xaxes(type=_scale(complete, one)).update_yaxes(type=_scale(complete, other))
        figures.append(_styled(drawn, 400))
    caption = "No other trial is better than the red ones in all objectives at once. Later trials are darker."
    return Section("Pareto front", caption, figures, side_by_side=True)


def _values(objectives: Sequence[int], trial: FrozenTrial) -> list[float]:
    return [trial.values[index] for index in objectives]


def _scale(trials: Sequence[FrozenTrial], objective: int) -> str:
    values = [trial.values[objective] for trial in trials]
    return "log" if min(values) > 0 and max(values) > WIDE_RANGE * min(values) else "linear"


def _history(found: Found, single: list[optuna.Study]) -> Section:
    figures = []
    for index, study in enumerate(single if found.of("complete", "pruned", "failed") else ()):
        drawn = visualization.plot_optimization_history(study, target_name=_objectives(found)[index])
        last = {trial.number: _reported(trial)[-1:] for trial in found.of("pruned", "failed")}
        if len(single) > 1 and found.objectives[index] != results.followed(found.objectives):
            last = {}  # what trials report is another objective
        values = [[trial.values[index]] for trial in _finite(found)]
        bottom = min(itertools.chain(*values, *last.values()), default=0.0)
        for state, symbol in (("pruned", "circle-open"), ("failed", "x")):
            trials = found.of(state)
            drawn.add_scatter(
                x=[trial.number for trial in trials],
                y=[(last.get(trial.number) or [bottom])[0] for trial in trials],
                mode="markers",
                name=state,
                marker={"symbol": symbol, "color": COLOURS[results.STATES[state].name]},
                hovertext=[_words(f"trial {trial.number}, {state}: {results.reason(trial)[:200]}") for trial in trials],
                hoverinfo="text",
            )
        figures.append(_styled(drawn, 340))
    caption = "The value of each trial. Pruned and failed ones are at the last value they reported, else at the bottom."
    return Section("History", caption, figures, "No trial has ended yet.")


def _reported(trial: FrozenTrial) -> list[float]:
    """The values that a trial reported, in order, without those that cannot be drawn."""
    return [value for _, value in sorted(results.curve(trial).items()) if math.isfinite(value)]


def _learning_curves(found: Found, study: optuna.Study) -> Section:
    drawn = visualization.plot_intermediate_values(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if curve := trial.intermediate_values:  # Optuna leaves these out
            x, y = zip(*sorted(curve.items()), strict=True)
            drawn.add_scatter(x=x, y=y, name=f"Trial{trial.number}")
    best = {f"Trial{trial.number}" for trial in found.best}
    colours = {f"Trial{trial.number}": COLOURS[trial.state.name] for trial in found.trials}
    for trace in drawn.data:
        first = trace.name in best
        trace.line = {"color": BEST if first else colours[trace.name], "width": 3 if first else 1.2}
        trace.opacity = 1 if first else 0.65
    drawn.data = sorted(drawn.data, key=lambda trace: trace.name in best)
    name = results.followed(found.objectives)
    drawn.update_xaxes(title_text="percent of the trial's epochs").update_yaxes(title_text=_words(name))
    caption = f"{name} of each trial after each of its epochs: complete blue, best orange, pruned grey, failed pink."
    figures = [_styled(drawn, 460)] if drawn.data else []
    return Section("Learning curves", caption, figures, "No trial has finished an epoch.")


def _importances(found: Found, study: optuna.Study) -> Section:
    complete = len(found.of("complete"))
    caption = "What decides between the best tenth of the complete trials and the rest (Optuna's PED-ANOVA)."
    if complete < 5 * results.LEAST_FOR_IMPORTANCE:
        caption += f" With {complete} complete trials that tenth is {math.ceil(complete / 10)}: take it as a hint."
    figures = []
    if found.importances and _finite(found):
        drawn = visualization.plot_param_importances(study)
        figures = [_styled(drawn, 120 + 26 * len(found.importances) * len(found.objectives))]
    return Section("Importances", caption, figures, f"Needs {results.LEAST_FOR_IMPORTANCE} complete trials.")


def _parallel_coordinates(found: Found, study: optuna.Study) -> Section:
    trials = _finite(found)
    names = [_names(found)[path] for path in _parameters(found, trials)[:MOST_AXES]]
    figures = []
    if len(trials) >= 2 and names:
        objectives = _objectives(found)
        drawn = visualization.plot_parallel_coordinate(study, params=names, target_name=objectives[0])
        drawn.update_xaxes(ticktext=[*objectives, *sorted(names)])  # Optuna cuts these
        figures = [_styled(drawn, 480)]
    caption = f"A line for each complete trial; None: it lacks the parameter. The {MOST_AXES} most important."
    return Section("Parallel coordinates", caption, figures, "Needs two complete trials that have parameters.")


def _slices(found: Found, single: list[optuna.Study]) -> Section:
    names = [_names(found)[path] for path in _parameters(found, _finite(found))[:MOST_SLICES]]
    rows = math.ceil(len(names) / SLICES_IN_A_ROW)
    figures = []
    for (study, objective), row in itertools.product(zip(single, _objectives(found), strict=True), range(rows)):
        some = names[row * len(names) // rows : (row + 1) * len(names) // rows]
        drawn = visualization.plot_slice(study, params=some, target_name=objective)
        figures.append(_styled(drawn, 300))
    caption = f"Each complete trial by each parameter; later ones are darker. The {MOST_SLICES} most important."
    return Section("Slices", caption, figures, "Needs a complete trial that has a parameter.")


def _contours(found: Found) -> Section:
    complete, names = _finite(found), _names(found)
    trials = complete[:: math.ceil(len(complete) / MOST_IN_CONTOUR) or 1]
    values = {name: {repr(t.params[name]) for t in trials if name in t.params} for name in _parameters(found, trials)}
    varied = [name for name, different in values.items() if len(different) > 1]
    figures = []
    for index, objective in enumerate(_objectives(found)):
        study = _copy(found, [index], trials)
        for pair in itertools.combinations(varied[:3], 2):
            if sum(set(pair) <= trial.params.keys() for trial in trials) >= LEAST_FOR_CONTOUR:
                params = [names[path] for path in pair]
                drawn = visualization.plot_contour(study, params=params, target_name=objective)
                figures.append(_styled(drawn, 380))
    caption = "The three most important parameters by twos. Between trials it is a guess."
    missing = f"Needs {LEAST_FOR_CONTOUR} complete trials that have the two parameters."
    return Section("Contours", caption, figures, missing, side_by_side=True)


def _timeline(found: Found, study: optuna.Study) -> Section:
    figures = []
    if any(trial.datetime_start for trial in found.trials):
        drawn = visualization.plot_timeline(study)
        drawn.for_each_trace(lambda trace: trace.update(marker_color=COLOURS.get(trace.name)))
        figures = [_styled(drawn, max(260, min(700, 160 + 10 * len(found.trials))))]
    return Section("Timeline", "A gap is time between two commands.", figures, "No trial has started.")


def _copy(found: Found, objectives: Sequence[int], trials: Sequence[FrozenTrial]) -> optuna.Study:
    """A study in memory with these objectives and trials, to be drawn; trials are numbered in their order."""
    storage = InMemoryStorage()
    ways = [StudyDirection.MAXIMIZE if found.maximized[index] else StudyDirection.MINIMIZE for index in objectives]
    study_id = storage.create_new_study(ways)
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
    drawn.intermediate_values = results.curve(trial)
    drawn.user_attrs = {"reason": _words(results.reason(trial))} if results.reason(trial) else {}
    return drawn


def _choice(value: Any, distribution: BaseDistribution) -> Any:
    """The value as the figures show it: a number, or text where not all choices are numbers."""
    choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in choices):
        return value
    return _words(results.short(value)[:LONGEST_CHOICE])


def _parameters(found: Found, trials: Sequence[FrozenTrial]) -> list[str]:
    """Parameters that one of `trials` has, the most important first."""
    return [name for name in found.parameters() if any(name in trial.params for trial in trials)]


def _objectives(found: Found) -> list[str]:
    return [_words(name) for name in found.objectives]


def _names(found: Found) -> dict[str, str]:
    """What each parameter is called in the figures."""
    return {path: _words(label) for path, label in results.labels(found.parameters()).items()}


def _finite(found: Found) -> list[FrozenTrial]:
    """The complete trials that Optuna draws."""
    return [trial for trial in found.of("complete") if all(map(math.isfinite, trial.values))]


def _words(text: str) -> str:
    """`text` without anything that plotly would take for markup."""
    return html.escape(results.printable(text), quote=False)


def _styled(drawn: go.Figure, height: int) -> go.Figure:
    """Without a title, since the page has one, and as wide as the page."""
    return drawn.update_layout(
        template="plotly_white", title_text="", width=None, height=height, margin={"l": 60, "r": 20, "t": 30, "b": 50}
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's messages about the copies."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
