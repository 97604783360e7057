"""One training in the current folder, which has data/processed, and the curve that a study would see of it.

Settings: params, the content of a params.yaml. Prints {"values": [val_accuracy of each epoch], "final": that of the
weights that the model has, "seconds"}.
"""

from __future__ import annotations

import json
import sys

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

from convtrack import config  # noqa: E402
from convtrack.stages import train  # noqa: E402

params = config.parse(json.loads(sys.argv[1])["params"])
rows: list[dict[str, float]] = []
result = train.run(params.model, params.train, on_epoch=rows.append)
values = [float(row["val_accuracy"]) for row in rows]
kept = result["restored_epoch"] or result["epochs_run"]
print(json.dumps({"values": values, "final": values[kept - 1], "seconds": result["seconds"]}))
