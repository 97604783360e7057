"""From what a user calls a run to the run."""

from __future__ import annotations

import difflib
import re

from convtrack.errors import ConfigError, DataError
from convtrack.runs import recorded, revisions, workspace
from convtrack.runs.finished import FinishedRun
from convtrack.runs.revisions import Revision
from convtrack.tracking import reading
from convtrack.tracking.reading import RecordedRun

MOST_LISTED = 10


def load(name: str) -> FinishedRun:
    """The finished run that `name` means.

    `workspace`; a DVC experiment or Git revision; the id of an MLflow run or its beginning; the name of an MLflow run;
    or models:/NAME@ALIAS. Of a DVC experiment and an MLflow run of one name, which are the same run, DVC's is read.
    Raises ConfigError where the name is unknown or means several runs, TrackingError where MLflow's store does not
    answer, DataError where the run has no results or they are damaged.
    """
    if name == workspace.NAME:
        return _with_results(workspace.load())
    found = find(name)
    if isinstance(found, Revision):
        return _with_results(revisions.load(found, name))
    return _with_results(recorded.load(found, name))


def find(name: str) -> Revision | RecordedRun:
    """What `load` reads for a `name` other than `workspace`, without reading it. Raises what `load` raises."""
    revision = None if name.startswith(reading.MODELS) else revisions.find(name)
    shortened = revision is not None and re.fullmatch("[0-9a-f]{4,31}", name) and revision.commit.startswith(name)
    if revision and not shortened:
        return revision
    found = reading.find(name)
    if revision and not found:
        return revision
    if revision:
        listed = [f"{revision.commit[:12]}  a Git revision", *map(str, found)]
        raise _ambiguous(name, listed)
    if not found:
        raise _unknown(name)
    exact = [run for run in found if run.run_id == name]
    if len(found) > 1 and not exact:
        raise _ambiguous(name, list(map(str, found)))
    return (exact or found)[0]


def _with_results(run: FinishedRun) -> FinishedRun:
    """Raises DataError where there is nothing to compare."""
    if run.metrics or run.predictions:
        return run
    raise DataError(f"{run.name} has no results: {run.missing['test']}", "name a run that evaluate has finished")


def _ambiguous(name: str, listed: list[str]) -> ConfigError:
    lines = [f"  {line}" for line in listed[:MOST_LISTED]]
    if len(listed) > MOST_LISTED:
        lines.append(f"  and {len(listed) - MOST_LISTED} more")
    return ConfigError(
        f"{name} means {len(listed)} runs:\n" + "\n".join(lines), "use a longer beginning of the id that you mean"
    )


def _unknown(name: str) -> ConfigError:
    experiments, runs = revisions.experiments(), reading.recent(MOST_LISTED)
    close = difflib.get_close_matches(name, experiments, n=MOST_LISTED, cutoff=0) or experiments[:MOST_LISTED]
    lines = [f"  {one}  a DVC experiment" for one in close]
    lines += [f"  {run}" for run in runs]
    there = "There are:\n" + "\n".join(lines) if lines else "There are neither experiments nor MLflow runs here"
    return ConfigError(
        f"no run is called {name}. {there}",
        "use one of these, `workspace`, a Git revision, the id of an MLflow run, or models:/NAME@ALIAS",
    )
