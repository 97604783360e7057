"""A network as all that benchmarks/serving.py measures, and its answers to single pictures without a server.

Settings: params (the content of a params.yaml), pictures (the folder of JPEG files), make (or measure), seconds.
Works in the current folder. With `make`, it writes models/model.keras, model/ (MLflow's) and model.onnx, and prints
nothing of use. Otherwise it prints, for each way to ask, milliseconds (p50, p99) and pictures a second.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import keras  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from convtrack import files, models  # noqa: E402
from convtrack.params import schema  # noqa: E402

settings = json.loads(sys.argv[1])
pictures = [path.read_bytes() for path in sorted(Path(settings["pictures"]).iterdir())]
ONNX = Path("model.onnx")


def make() -> None:
    """Write the untrained network: a prediction takes as long with any weights."""
    from convtrack.tracking import payloads

    dataset = files.read_json(files.PROCESSED / files.DATASET)
    params = schema.parse(settings["params"])
    shape, classes = dataset["image_shape"], len(dataset["classes"])
    network = models.build(params.model, shape, classes, dataset["mean"], dataset["std"])
    network = models.with_probabilities(network)
    files.save_model(files.MODEL, network, files.About.of(dataset))
    payloads.model(Path())
    network.predict_on_batch(np.zeros((1, *shape), dtype=np.uint8))  # Keras exports only what was called
    network.export(ONNX, format="onnx", verbose=False)


def measure() -> dict[str, dict[str, float]]:
    """Ask in each way for `seconds`, one picture at a time."""
    import mlflow.pyfunc
    import onnxruntime
    import pandas as pd

    from convtrack.inference.classifier import Classifier

    classifier = Classifier.load(files.MODEL)
    network: keras.Model = classifier.network
    session = onnxruntime.InferenceSession(str(ONNX))
    name = session.get_inputs()[0].name
    loaded = mlflow.pyfunc.load_model("model")

    def decoded(content: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(content)))[None]

    ways: dict[str, Callable[[bytes], Any]] = {
        "ONNX Runtime": lambda content: session.run(None, {name: decoded(content)}),
        "Keras": lambda content: network.predict_on_batch(decoded(content)),
        "classifier": lambda content: classifier.classify([content]),
        "MLflow model": lambda content: loaded.predict(pd.DataFrame({"image": [content]})),
    }
    return {name: timed(ask) for name, ask in ways.items()}


def timed(ask: Callable[[bytes], Any]) -> dict[str, float]:
    """p50 and p99 in milliseconds, and pictures a second."""
    for content in pictures[:20]:
        ask(content)
    times, end = [], time.perf_counter() + settings["seconds"]
    while time.perf_counter() < end:
        began = time.perf_counter()
        ask(pictures[len(times) % len(pictures)])
        times.append(time.perf_counter() - began)
    p50, p99 = 1000 * np.percentile(times, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "per_second": len(times) / sum(times)}


if settings["make"]:
    make()
    print(json.dumps({}))
else:
    print(json.dumps(measure()))
