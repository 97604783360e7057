"""One training and its evaluation, as the pipeline does both, in the current folder, which has data/processed.

Settings: params (the content of a params.yaml). Prints what models/training.json says, with test_accuracy, history,
and where evaluate.test_time_augmentation is not none, tta_accuracy.
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
result["history"] = files.read_table(files.HISTORY).to_dict("list")
print(json.dumps(result))
