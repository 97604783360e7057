"""Several real processes at the same work at once: both do it, or the second says who is at it. Nothing is damaged."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from convtrack.params.schema import load
from convtrack.study import storage
from tests import processes
from tests.faults.pipeline import OUTS, Undisturbed, made, recorded
from tests.soak import LONG, ROUNDS

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

WRITERS = 20 if LONG else 6
HELD = (
    "is busy, it is being blocked by",
    "Unable to acquire lock",
    "is already running ",
)  # how one says that another one is at it
PRINTED: dict[str, Any] = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
STUDY = {
    "study.space": {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}},
    "study.pruner": "none",
    "study.sampler": "random",
    "tracking.log_model": False,
    "tracking.system_metrics": False,
}


@pytest.fixture(scope="module")
def undisturbed(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    clone = make_clone(tmp_path_factory.mktemp("two"))
    clone.change(STUDY)
    return Undisturbed(clone)


def together(clone: Clone, *commands: list[str], apart: float = 0.0) -> list[tuple[int, str]]:
    """The exit codes of commands that run at once, the later ones begun so many seconds later, and what they said."""
    started = []
    for command in commands:
        started.append(processes.start(command, cwd=clone.path, env=clone.environment, **PRINTED))
        time.sleep(apart)
    return [(process.wait(), said) for process in started for said, _ in [process.communicate()]]


def done_or_named(results: list[tuple[int, str]]) -> None:
    """See to it that each has worked, or says who holds what."""
    for code, said in results:
        print(code, said)  # noqa: T201
        assert "Traceback" not in said, said
        assert code == 0 or any(words in said for words in HELD), said


@pytest.mark.soak
@pytest.mark.parametrize("stage", [None, "train"])
def test_of_two_repros_each_works_or_names_the_other_and_a_third_has_the_rest(
    stage: str | None, undisturbed: Undisturbed
) -> None:
    clone = undisturbed.clone
    for number in range(ROUNDS):
        for each in [stage] if stage else OUTS:
            undisturbed.forget(each)
        command = clone.command("dvc", "repro", *([stage] if stage else []))
        done_or_named(together(clone, command, command, apart=number and random.uniform(0, 10)))
        clone.run("dvc", "repro")
        assert recorded(clone) == ["FINISHED"]
        assert {each: made(clone.path / folder) for each, folder in OUTS.items()} == undisturbed.made


def test_of_two_trainings_by_hand_the_second_waits_for_the_first(undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    undisturbed.forget("train")
    command = clone.command("convtrack", "train")
    (first, _), (second, said) = results = together(clone, command, command)
    assert (first, second) == (0, 0), said
    print(*results, sep="\n")  # noqa: T201
    assert recorded(clone) == ["FINISHED"] * 2
    del undisturbed.made["train"]["model.keras"]
    made_here = made(clone.path / "models")
    assert made_here.items() >= undisturbed.made["train"].items()


def test_a_repro_beside_a_study_and_two_studies_in_one_file_all_come_to_their_ends(undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    clone.run("dvc", "repro")

    def study(name: str) -> list[str]:
        return clone.command("convtrack", "study", "run", "--name", name, "--trials", "2")

    clone.change({"train.seed": 7})
    done_or_named(together(clone, study("one"), study("two"), clone.command("dvc", "repro")))
    clone.run("dvc", "repro")  # where it was refused, or a study was
    done_or_named(together(clone, study("one"), study("two")))
    for name in ("one", "two"):
        clone.run(*("convtrack", "study", "run", "--name", name, "--trials", "2"))
        assert "2 complete" in clone.run("convtrack", "study", "show", name)
    assert set(recorded(clone)) == {"FINISHED"}


def at_once(folder: Path, program: str) -> list[str]:
    """What WRITERS processes say that run `program` in `folder`, all from the same moment on; each ends well."""
    code = "import sys, time\nfrom pathlib import Path\nnumber = int(sys.argv[1])\n" + textwrap.dedent(program)
    started = [
        processes.start([sys.executable, "-c", code, str(number)], cwd=folder, **PRINTED) for number in range(WRITERS)
    ]
    while len(list(folder.glob("ready-*"))) < WRITERS:
        assert not any(process.poll() for process in started)
        time.sleep(0.1)
    (folder / "go").touch()
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * WRITERS, said
    return said


READY = """
def wait_for_all():
    Path(f"ready-{number}").touch()
    while not Path("go").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def folder(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing was ever recorded: no store, no study, no .convtrack."""
    shutil.copy(root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.soak
def test_processes_that_make_a_store_and_write_into_it_at_once_lose_nothing_and_warn_of_nothing(folder: Path) -> None:
    said = at_once(
        folder,
        READY
        + """
        from convtrack import files
        from convtrack.params import schema
        from convtrack.tracking.run import TrackedRun, opened
        from convtrack.tracking import payloads, store
        from convtrack.tracking.records import Payload
        store.set_patience()
        import mlflow
        params = schema.load()
        quiet = params.tracking.model_copy(update={"log_model": False, "system_metrics": False})
        params = params.model_copy(update={"tracking": quiet})
        payloads.setup = lambda params, *_: Payload(params=payloads.parameters(params))  # there is no data here
        wait_for_all()
        run = TrackedRun(params, f"run-{number}")
        with opened(run.open, run.end):
            for epoch in range(1, 21):
                run.log_epoch({"epoch": epoch, "loss": number + epoch / 100})
        """.replace("\n        ", "\n"),
    )
    assert said == [""] * WRITERS
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert sorted(run.data.tags["convtrack.run"] for run in runs) == sorted(f"run-{n}" for n in range(WRITERS))
    for run in runs:
        number = int(run.data.tags["convtrack.run"].removeprefix("run-"))
        points = client.get_metric_history(run.info.run_id, "loss")
        assert {point.step: point.value for point in points} == {n: number + n / 100 for n in range(1, 21)}
        assert run.info.status == "FINISHED"
        assert run.data.params["model.name"] == load().model.name
    assert not list(folder.glob(".mlflow-*"))


@pytest.mark.soak
def test_processes_that_begin_one_study_at_once_agree_on_it_and_lose_no_trial(folder: Path) -> None:
    said = at_once(
        folder,
        READY
        + """
        import optuna
        from convtrack.params import schema
        from convtrack.study import session, storage
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        params = schema.load()
        fixed = {"objectives": ["val_accuracy"], "space": {}, "fixed": {}, "data": {}}
        wait_for_all()
        study = session.open_study(params, storage.open_storage(None), fixed)
        print(storage.identity(study))
        for _ in range(5):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(number, 1)
            study.tell(trial, number)
        """.replace("\n        ", "\n"),
    )
    assert len(set(said)) == 1, said
    (summary,) = storage.open_storage(None).get_all_studies()
    trials = storage.open_storage(None).get_all_trials(summary._study_id)
    assert [trial.number for trial in trials] == list(range(5 * WRITERS))
    assert sorted(trial.values[0] for trial in trials if trial.values) == sorted(5 * [float(n) for n in range(WRITERS)])
