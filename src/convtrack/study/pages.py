"""A study as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import importlib.metadata
import shlex
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import optuna
import plotly.offline
from markupsafe import Markup
from optuna.trial import FrozenTrial

from convtrack import files
from convtrack.study import figures, results
from convtrack.study.results import Found

TEMPLATE = "page.html"


def default_path(name: str) -> Path:
    """Where the page of study `name` goes, among the repository's state."""
    return files.STATE / "studies" / name / "report.html"


def write(study: optuna.Study, path: Path) -> None:
    """Write the page of `study` to `path`, whole or not at all (StorageError)."""
    text = page(results.read(study), datetime.now())
    with files.atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(found: Found, now: datetime) -> str:
    """The page of a study as text; `now` is local time, without a zone, as Optuna keeps times."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        name=found.name,
        aim=_aim(found),
        tiles=_tiles(found),
        best=_best(found),
        plotly_js=Markup(plotly.offline.get_plotlyjs()),
        sections=[_section(section) for section in figures.sections(found)],
        commands=_commands(found),
        trials=_trials(found),
        footer=f"Written {now:%Y-%m-%d %H:%M} by convtrack {importlib.metadata.version('convtrack')} "
        f"with Optuna {optuna.__version__}.",
    )


def _section(section: figures.Section) -> dict[str, Any]:
    name = section.title.lower().replace(" ", "-")
    config = {"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": name}}
    drawn = [
        figure.to_html(config, include_plotlyjs=False, full_html=False, div_id=f"plot-{name}-{index}")
        for index, figure in enumerate(section.figures)
    ]
    return {
        "id": name,
        "title": section.title,
        "caption": section.caption if drawn else section.missing,
        "figures": [Markup(part) for part in drawn],
        "kind": "pairs" if section.side_by_side and len(drawn) > 1 else "",
    }


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
    }


def _row(name: str, columns: list[FrozenTrial], shares: dict[str, float], *, marked: bool) -> dict[str, Any]:
    values = [results.short(trial.params[name]) if name in trial.params else results.ABSENT for trial in columns]
    share = f"{shares[name]:.0%}" if name in shares else ""
    return {"cells": [name, *values, share], "differs": marked and len(set(values)) > 1}


def _commands(found: Found) -> str:
    name = shlex.quote(found.name)
    which = f" --trial {found.best[0].number}" if found.best and len(found.objectives) > 1 else ""
    rows = [f"convtrack study run --name {name}    # more trials, with --trials or until Ctrl-C"]
    if found.best:
        rows += [f"convtrack study apply {name}{which}    # its values into params.yaml"]
        rows += ["dvc repro    # then the final model, judged on test"]
    return "\n".join(rows)


def _trials(found: Found) -> dict[str, Any]:
    names = found.parameters()
    short = results.labels(names)
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
