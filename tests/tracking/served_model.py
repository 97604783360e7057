"""The MLflow model of a small network, served."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from convtrack import files
from convtrack.tracking import payloads
from convtrack.tracking.outbox.folder import MODEL
from tests.inference.samples import saved
from tests.tracking.servers import free_port, serving

SHAPE = (4, 6, 3)


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[Path]:
    """`folder` as the current one, with models/model.keras; yields the MLflow model of it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        saved(files.MODEL, SHAPE)
        files.PROCESSED.mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
        np.save(files.images_path(files.PROCESSED, "train"), pixels)
        np.save(files.labels_path(files.PROCESSED, "train"), np.zeros(2, dtype=np.int64))
        payloads.model(folder)
        yield folder / MODEL
    finally:
        os.chdir(before)


@contextlib.contextmanager
def served(model: Path | str) -> Iterator[str]:
    """The address of `mlflow models serve` for a model, by its folder or its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # it starts uvicorn by its name
        command = ("models", "serve", "-m", str(model), "--env-manager", "local")
        with serving(*command, port=free_port()) as address:
            yield address


def post(address: str, body: object, kind: str | None = "application/json") -> tuple[int, str]:
    """The status and the text of the answer to a body, which is bytes or becomes JSON. kind: its Content-Type."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/invocations", content, {} if kind is None else {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()
