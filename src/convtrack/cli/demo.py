"""`convtrack demo`: a page on which one drops a picture."""

from __future__ import annotations

from pathlib import Path

import click

from convtrack.cli.predict import load, progress
from convtrack.errors import DataError, StorageError
from convtrack.system.root import go_to_root


@click.command()
@click.option("--model", metavar="MODEL", help="A .keras file or a run, as for predict.  [default: models/model.keras]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port on 127.0.0.1; 0: a free one."
)
def demo(*, model: str | None, port: int) -> None:
    """Open a page on which you drop a picture and see what the model makes of it.

    The page shows the most probable classes and the most similar training images of data/processed. What the network
    sees in these is computed once for each model and kept in .convtrack/features.

    Only this machine can open the page (127.0.0.1). Ctrl-C ends it.
    """
    if model is not None and model.endswith(".keras"):
        model = str(Path.cwd() / model)
    go_to_root()
    classifier, digest = load(model)
    from rich.console import Console

    from convtrack.inference import neighbours
    from convtrack.inference.demo import Demo
    from convtrack.inference.demo_server import ADDRESS, Server

    errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    features = neighbours.Features(classifier)
    found, why = None, ""
    try:
        count = neighbours.check(classifier)
    except (DataError, StorageError) as error:
        why = f"There are none: {error.message}."
        errors.print(f"no similar training images: {error}")
    else:
        with progress(errors, "training images", count) as advance:
            found = neighbours.load(classifier, features, digest, advance)
    page = Demo(classifier, features, found, model=model or "models/model.keras", why=why)
    with Server(page, port) as server:
        errors.print(f"Open http://{ADDRESS}:{server.server_port} in a browser. Ctrl-C ends it")
        server.serve_forever()
