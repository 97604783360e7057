"""An untrained network of a preset as a model file, in the precision that a training would have here.

Settings: params (the content of a params.yaml), classes, out (the file).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import keras  # noqa: E402

from convtrack import files, models  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.training.precision import choose_precision  # noqa: E402

SHAPE = (32, 32, 3)

settings = json.loads(sys.argv[1])
params = schema.parse(settings["params"])
precision, _ = choose_precision(params.train.precision)
keras.config.set_dtype_policy(precision)
network = models.build(params.model, SHAPE, len(settings["classes"]), [0.5] * 3, [0.25] * 3)
about = files.About.of({"classes": settings["classes"], "image_shape": list(SHAPE)})
files.save_model(Path(settings["out"]), models.with_probabilities(network), about)
print(json.dumps({"precision": precision}))
