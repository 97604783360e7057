"""A study as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import importlib.metadata
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import optuna
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup
from optuna.trial import FrozenTrial

from convtrack import artifacts
from convtrack.study import figures, landscape, results, style
from convtrack.study.results import Found

TEMPLATE = "page.html"


@dataclass(frozen=True)
class Section:
    """A figure of the page; where it is not drawn, `missing` says why. `id` is made of letters, digits and `-`."""

    id: str
    title: str
    caption: str
    drawn: Markup | None
    missing: str


def default_path(name: str) -> Path:
    """Where the page of study `name` goes, among the repository's state."""
    return artifacts.STATE / "studies" / name / "report.html"


def write(study: optuna.Study, path: Path) -> None:
    """Write the page of `study` to `path`, whole or not at all (StorageError)."""
    text = page(results.read(study), datetime.now())
    with artifacts.whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(found: Found, now: datetime) -> str:
    """The page of a study as text; `now` is local time, without a zone, as Optuna keeps times."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        name=found.name,
        aim=_aim(found),
        plotly_js=Markup(plotly.offline.get_plotlyjs()),
        tiles=_tiles(found),
        best=_best(found),
        figures=_sections(found, now),
        trials=_trials(found),
        footer=f"Written {now:%Y-%m-%d %H:%M} by convtrack {importlib.metadata.version('convtrack')} "
        f"with Optuna {optuna.__version__}.",
    )


def _aim(found: Found) -> str:
    names = found.objectives
    verbs = ["maximize" if found.maximized[index] else "minimize" for index in range(len(names))]
    return "Study: " + ", ".join(f"{verb} {name}" for verb, name in zip(verbs, names, strict=True))


def _tiles(found: Found) -> list[dict[str, Any]]:
    counts = found.counts()
    tiles = [{"name": name, "value": f"{count:,}", "kind": ""} for name, count in counts.items() if count]
    spent = sum(results.seconds(trial) or 0 for trial in found.trials)
    tiles.append({"name": "in trials (h:m:s)", "value": str(timedelta(seconds=round(spent))), "kind": ""})
    if len(found.objectives) == 1:
        for trial in found.best:
            name = f"best {found.objectives[0]}, trial {trial.number}"
            tiles.insert(0, {"name": name, "value": results.short(trial.values[0]), "kind": "best"})
    else:
        tiles.insert(0, {"name": "on the Pareto front", "value": str(len(found.best)), "kind": "best"})
    return tiles


def _best(found: Found) -> dict[str, Any]:
    """Its parameters beside those of trial 0; of several objectives, one trial of the front in each column."""
    columns = found.best[:8]
    single = len(found.objectives) == 1
    title = "The best trial" if single else "The Pareto front"
    if not columns:
        return {"title": title, "caption": "No trial is complete yet.", "rows": []}
    first = found.trials[0]
    if single and first.number != columns[0].number and first.values:
        columns.append(first)
    shares, names = found.importances, found.parameters()
    caption = "Beside it trial 0, which is what params.yaml held; what differs is marked." if len(columns) == 2 else ""
    if not single:
        caption = f"{len(found.best)} trials that no other beats in all objectives; the first {len(columns)}."
    rows = [_row(name, columns, shares, marked=single) for name in names]
    values = [
        {"cells": [name, *(results.short(trial.values[index]) for trial in columns), ""], "differs": False}
        for index, name in enumerate(found.objectives)
    ]
    return {
        "title": title,
        "caption": caption,
        "head": ["", *(f"trial {trial.number}" for trial in columns), "importance"],
        "rows": values + rows,
        "command": _apply_command(found, columns[0]),
    }


def _row(name: str, columns: list[FrozenTrial], shares: dict[str, float], *, marked: bool) -> dict[str, Any]:
    values = [results.short(trial.params[name]) if name in trial.params else results.ABSENT for trial in columns]
    share = f"{shares[name]:.0%}" if name in shares else ""
    return {"cells": [name, *values, share], "differs": marked and len(set(values)) > 1}


def _apply_command(found: Found, trial: FrozenTrial) -> str:
    which = "" if len(found.objectives) == 1 else f" --trial {trial.number}"
    return f"convtrack study apply {shlex.quote(found.name)}{which}"


def _sections(found: Found, now: datetime) -> list[Section]:
    several = len(found.objectives) > 1
    about_curves = f"{results.followed(found.objectives)} of each trial after each of its epochs."
    few = f"Needs {results.LEAST_FOR_IMPORTANCE} complete trials."
    front = _section("Pareto front", figures.pareto_front(found), "Nothing beats these in all objectives at once.")
    return [
        *([front] if several else []),
        _section("History", figures.history(found), "Each trial's value; pruned ones at the last value they reported."),
        _section("Learning curves", figures.curves(found), about_curves, "No trial has ended an epoch."),
        _section("Importances", landscape.importances(found), _about_importances(found), few),
        *(part for index in range(len(found.objectives)) for part in _landscape(found, index)),
        _section(
            "Timeline", figures.timeline(found, now), "A gap is time between two commands.", "No trial has started."
        ),
    ]


def _landscape(found: Found, objective: int) -> list[Section]:
    of = f": {found.objectives[objective]}" if len(found.objectives) > 1 else ""
    lines = (
        "A line for each complete trial. Drag along an axis to keep some; a parameter that a trial does not have "
        f"is at the foot ({results.ABSENT}). The {landscape.MOST_AXES} most important at most."
    )
    slices = f"Each complete trial by each parameter, later ones brighter. {landscape.MOST_SLICES} at most."
    contours = "The most important parameters by twos; between trials it is a guess, weighted by their distance."
    too_few = f"Needs {landscape.LEAST_FOR_CONTOUR} complete trials that have the two parameters."
    return [
        _section(
            f"Parallel coordinates{of}",
            landscape.parallel_coordinates(found, objective),
            lines,
            "Needs two complete trials.",
            f"parallel-{objective}",
        ),
        _section(f"Slices{of}", landscape.slices(found, objective), slices, id=f"slices-{objective}"),
        _section(f"Contours{of}", landscape.contours(found, objective), contours, too_few, f"contours-{objective}"),
    ]


def _section(
    title: str, drawn: go.Figure | None, caption: str, missing: str = "No trial is complete yet.", id: str = ""
) -> Section:
    json = Markup(style.script_safe(drawn)) if drawn is not None else None
    return Section(id or title.lower().replace(" ", "-"), title, caption, json, missing)


def _about_importances(found: Found) -> str:
    complete = found.counts()["complete"]
    text = "What decides between the best tenth of the complete trials and the rest (Optuna's PED-ANOVA)."
    if complete < 5 * results.LEAST_FOR_IMPORTANCE:
        text += f" With {complete} complete trials that tenth is {-(-complete // 10)}: take it as a hint."
    return text


def _trials(found: Found) -> dict[str, Any]:
    names = found.parameters()
    short = style.labels(names)
    rows = [
        {"state": state, "cells": _cells(trial, state, len(found.objectives), names)}
        for state in results.STATES
        for trial in (found.ranked() if state == "complete" else found.of(state))
    ]
    head = ["trial", "state", *found.objectives, "seconds", *(short[name] for name in names), "why it ended"]
    caption = "Complete ones first, the best in front." if rows else "There is no trial yet."
    return {"caption": caption, "head": head, "rows": rows}


def _cells(trial: FrozenTrial, state: str, objectives: int, names: list[str]) -> list[str]:
    values = [results.short(value) for value in trial.values or []] if state == "complete" else []
    seconds = results.seconds(trial)
    return [
        str(trial.number),
        state,
        *(values or [""] * objectives),
        f"{seconds:,.0f}" if seconds is not None else "",
        *(results.short(trial.params[name]) if name in trial.params else "" for name in names),
        results.reason(trial),
    ]
