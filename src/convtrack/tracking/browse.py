"""Opens the view of the runs once MLflow's server answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import click

from convtrack.tracking import store, views

PATIENCE = 120.0  # seconds that a server may take to start


def browse(server: str, experiment: store.Experiment) -> None:
    """Print the address of the view in `experiment`, and open it in a browser where there is a display."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(urllib.error.URLError, http.client.HTTPException, OSError):
            address = f"{server}/{_of_view(server, experiment)}"
            click.echo(f"\nconvtrack: open {address}\n")
            if sys.platform in {"darwin", "win32"} or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
                click.launch(address)
            return
        time.sleep(0.5)


def _of_view(server: str, experiment: store.Experiment) -> str:
    """The view's address on the server; without a view that of the runs, without any runs that of MLflow's home."""
    chosen = {"experiment_name": experiment} if isinstance(experiment, str) else {"experiment_id": experiment.id}
    method = "get-by-name" if isinstance(experiment, str) else "get"
    query = f"{server}/api/2.0/mlflow/experiments/{method}?{urllib.parse.urlencode(chosen)}"
    try:
        with urllib.request.urlopen(query, timeout=10) as answer:
            found = json.load(answer)["experiment"]
    except urllib.error.HTTPError:  # it has no such experiment yet
        return ""
    saved = views.VIEW_TAG in {tag["key"] for tag in found.get("tags", [])}
    return views.address(found["experiment_id"], saved=saved)
