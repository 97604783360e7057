"""One of several workers that go through trials of nothing, as fast as the storage of the study lets them.

Settings: url, storage (its kind), study, trials, reports, ready and go, the files that say so, and acknowledged, the
file that gets a line of JSON for each write that the storage has acknowledged. Prints {"seconds": [one for each trial],
"began", "ended" (seconds since 1970), "errors": [what was raised, a line each]}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import optuna
from study_trials import in_storage, one_trial


def work(study: optuna.Study, trials: int, reports: int) -> dict[str, Any]:
    """So many trials, one after the other; one that the storage refuses is counted among the errors, and lost."""
    seconds, errors = [], []
    began = time.time()
    for _ in range(trials):
        start = time.perf_counter()
        try:
            one_trial(study, reports, note)
            seconds.append(time.perf_counter() - start)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {' '.join(str(error.__cause__ or error).split())[:120]}")
    return {"seconds": seconds, "errors": errors, "began": began, "ended": time.time()}


def note(*write: Any) -> None:
    """One call of the system for each line, so that a kill leaves whole lines."""
    os.write(acknowledged, json.dumps(write).encode() + b"\n")


settings = json.loads(sys.argv[1])
acknowledged = os.open(settings["acknowledged"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
optuna.logging.set_verbosity(optuna.logging.ERROR)
sampler = optuna.samplers.RandomSampler()  # of no cost to speak of: the storage is what is measured
storage = in_storage(settings["url"], settings["storage"])
opened = optuna.load_study(study_name=settings["study"], storage=storage, sampler=sampler)
Path(settings["ready"]).touch()
while not Path(settings["go"]).exists():
    time.sleep(0.01)
print(json.dumps(work(opened, settings["trials"], settings["reports"])))
