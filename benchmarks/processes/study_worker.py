"""One of several workers that run empty trials as fast as the storage of the study allows.

Settings: url, storage (its kind), study, trials, reports, ready (file that this worker creates when it is ready), go
(file that it waits for), and acknowledged (file that gets a line of JSON for each acknowledged write). Prints
{"seconds": [one per trial], "began", "ended" (seconds since 1970), "errors": [one line each]}.
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
    """Run the trials one after the other; a trial that the storage rejects counts as an error."""
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
    """Write each line with one system call, so that a kill leaves complete lines."""
    os.write(acknowledged, json.dumps(write).encode() + b"\n")


settings = json.loads(sys.argv[1])
acknowledged = os.open(settings["acknowledged"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
optuna.logging.set_verbosity(optuna.logging.ERROR)
sampler = optuna.samplers.RandomSampler()  # costs nothing: the storage is measured
storage = in_storage(settings["url"], settings["storage"])
opened = optuna.load_study(study_name=settings["study"], storage=storage, sampler=sampler)
Path(settings["ready"]).touch()
while not Path(settings["go"]).exists():
    time.sleep(0.01)
print(json.dumps(work(opened, settings["trials"], settings["reports"])))
