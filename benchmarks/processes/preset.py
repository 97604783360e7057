"""One training and its evaluation, as in the pipeline, in the current folder, which has data/processed.

Settings: params (the content of a params.yaml). Prints the content of models/training.json with test_accuracy, history
and, unless evaluate.test_time_augmentation is none, tta_accuracy.
"""

from __future__ import annotations

import json
import sys

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

from convtrack import files  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.stages import evaluate, train  # noqa: E402

params = schema.parse(json.loads(sys.argv[1])["params"])
result = train.run(params.model, params.train)
metrics = evaluate.run(params.evaluate)
result |= {"test_accuracy": metrics["accuracy"], "tta_accuracy": metrics.get("tta_accuracy")}
result["history"] = files.read_table(files.HISTORY).dropna(axis="columns", how="all").to_dict("list")
print(json.dumps(result))
