"""A study as one HTML page that needs no network and no other file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import plotly.offline
from markupsafe import Markup

from convtrack import files
from convtrack.pages.render import render
from convtrack.study import confirmation, figures, results
from convtrack.study.results import Found


def default_path(name: str) -> Path:
    """Where the page of study `name` goes."""
    return files.STATE / "studies" / name / "report.html"


def write(study: optuna.Study, path: Path) -> None:
    """Write the page of `study` to `path` atomically. Raises StorageError."""
    found = results.read(study)
    text = page(found, datetime.now(), confirmation.notes(study, found))
    with files.atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(found: Found, now: datetime, notes: Sequence[str] = ()) -> str:
    """The page of a study as text; `now` is local time without a zone, `notes` are about the best trials."""
    drawn = [_section(section) for section in figures.sections(found)]
    best = "Best trials" if len(found.objectives) == 1 else "Pareto front"
    content = {
        "title": f"{found.name}: study",
        "headline": found.name,
        "lead": [found.aim, *notes],
        "sections": {"best": best, **{section["id"]: section["title"] for section in drawn}, "trials": "Trials"},
        "tiles": _tiles(found),
        "best": found.comparison() if found.best else [],
        "plotly_js": Markup(plotly.offline.get_plotlyjs()),
        "figures": drawn,
        "commands": _commands(found),
        "trials": _trials(found),
        "origin": f"the study on {now:%Y-%m-%d at %H:%M}, with Optuna {optuna.__version__}",
    }
    return render("convtrack.study", "study.html", content)


def _section(section: figures.Section) -> dict[str, Any]:
    name = section.title.lower().replace(" ", "-")
    config = {
        "responsive": True,
        "displaylogo": False,
        "showSendToCloud": False,  # plotly's button that uploads a figure
        "toImageButtonOptions": {"format": "svg", "filename": name},
    }
    drawn = [
        figure.to_html(config, include_plotlyjs=False, full_html=False, div_id=f"plot-{name}-{index}")
        for index, figure in enumerate(section.figures)
    ]
    return {"id": name, "title": section.title, "caption": section.caption, "figures": list(map(Markup, drawn))}


def _tiles(found: Found) -> list[dict[str, str]]:
    """Name, value and remark of each number at the top."""
    tiles = [(name, f"{count:,}", "") for name, count in results.counts(found.trials).items() if count]
    tiles.append(("in trials", found.spent, "h:mm:ss"))
    if len(found.objectives) > 1:
        tiles.insert(0, ("on the Pareto front", str(len(found.best)), ""))
    else:
        best = [
            (f"best {found.objectives[0]}", results.short(one.values[0]), f"trial {one.number}") for one in found.best
        ]
        tiles = best + tiles
    return [{"name": name, "value": value, "remark": remark} for name, value, remark in tiles]


def _commands(found: Found) -> str:
    name = shlex.quote(found.name)
    which = f" --trial {found.best[0].number}" if found.best and len(found.objectives) > 1 else ""
    rows = [f"convtrack study run --name {name}    # more trials, with --trials or until Ctrl-C"]
    if found.best:
        rows += [f"convtrack study apply {name}{which}    # write its values into params.yaml"]
        rows += ["dvc repro    # train the final model and evaluate it on test"]
    return "\n".join(rows)


def _trials(found: Found) -> dict[str, Any]:
    """Every trial: complete ones first, the best in front."""
    names = results.labels(found.parameters())
    rows = []
    for state in results.STATES:
        for trial in found.ranked() if state == "complete" else found.of(state):
            values = trial.values if state == "complete" else [""] * len(found.objectives)
            duration = results.seconds(trial)
            cells = [trial.number, state, *values, "" if duration is None else round(duration)]
            cells += [trial.params.get(name, "") for name in names]
            rows.append([*map(results.short, cells), results.reason(trial)])
    return {"head": ["trial", "state", *found.objectives, "seconds", *names.values(), "reason"], "rows": rows}
