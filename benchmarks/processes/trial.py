"""One training in the current folder, which has data/processed, as that of a trial.

Settings: params (the content of a params.yaml). Prints curve (val accuracy by the percentage of the epochs), value (val
accuracy of the model that is kept; null if the loss was not finite in some epoch, which ends the training), seconds,
pflop and parameters (null, too, in that case).
"""

from __future__ import annotations

import json
import sys

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

from convtrack.errors import TrainingError  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.stages import train  # noqa: E402
from convtrack.study.trial import measure  # noqa: E402

params = schema.parse(json.loads(sys.argv[1])["params"])
curve: dict[int, float] = {}


def report(row: dict[str, float]) -> None:
    """Keep the val accuracy of an epoch."""
    curve[100 * int(row["epoch"]) // params.train.epochs] = row["val_accuracy"]


figures = dict.fromkeys(("value", "seconds", "pflop", "parameters"))
try:
    training = train.run(params.model, params.train, on_epoch=report)
    figures |= {name: training[name] for name in ("seconds", "pflop", "parameters")}
    (figures["value"],) = measure(["val_accuracy"], training)
except TrainingError as error:
    print(f"benchmark: {error}", file=sys.stderr)
print(json.dumps({"curve": curve, **figures}))
