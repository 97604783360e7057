"""Decoding and evaluate's prediction one after the other, as what `convtrack predict` is measured against.

Settings: folder (of pictures), model (its file), batch_size. Prints pictures, and the seconds decoding and predicting.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import numpy as np  # noqa: E402

from convtrack.inference.classifier import Classifier  # noqa: E402
from convtrack.stages.evaluate import predict  # noqa: E402
from convtrack.system.processor import usable_cores  # noqa: E402
from convtrack.training.threads import limit_threads  # noqa: E402

settings = json.loads(sys.argv[1])
warnings.simplefilter("ignore")
limit_threads(usable_cores())
classifier = Classifier.load(Path(settings["model"]))
paths = sorted(Path(settings["folder"]).rglob("*.jpg"))
began = time.perf_counter()
images = np.empty((len(paths), *classifier.image_shape), dtype=np.uint8)
for number, path in enumerate(paths):
    images[number] = classifier.prepare(path)
decoded = time.perf_counter()
predict(classifier.network, images, settings["batch_size"])
ended = time.perf_counter()
print(json.dumps({"pictures": len(paths), "decoding": decoded - began, "predicting": ended - decoded}))
