"""Each stage, killed at a random moment of its life (SIGKILL, with DVC and all they started), and then run again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.pipeline import OUTS, Undisturbed, killed, made, recorded, repro_again

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("CONVTRACK_STAGE_KILLS", "3"))  # of each stage


@pytest.fixture(scope="module")
def undisturbed(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    clone = make_clone(tmp_path_factory.mktemp("kills"))
    clone.change({"train.epochs": 60})
    return Undisturbed(clone)


@pytest.mark.parametrize("stage", OUTS)
def test_a_stage_that_is_killed_and_run_again_makes_what_it_would_have_made(
    stage: str, undisturbed: Undisturbed
) -> None:
    clone = undisturbed.clone
    for number in range(KILLS):
        after, met = undisturbed.seconds[stage], False
        while not met:  # one that came too late says nothing
            undisturbed.forget(stage)
            after = random.uniform(0, after)
            met = killed(clone, stage, after)
        output = repro_again(clone, stage)
        assert "Traceback" not in output
        assert made(clone.path / OUTS[stage]) == undisturbed.made[stage], f"killed after {after:.2f} s"
        if stage == "train":
            assert recorded(clone) == ["FINISHED"]
        went_on = "going on after" in output
        print(f"{stage} {number + 1}: {after:.2f} s, {went_on=}")  # noqa: T201


def test_a_lock_file_that_a_kill_has_cut_is_refused_by_dvc_and_may_be_deleted(undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    undisturbed.forget("preprocess")
    lock = clone.path / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: whole.index(b"md5:", len(whole) // 2) + len(b"md5")])  # elsewhere it may still be YAML
    assert "dvc.lock" in clone.run("dvc", "repro", "--single-item", "preprocess", expect=255)
    lock.unlink()
    clone.run("dvc", "repro", "--single-item", "preprocess")
    assert made(clone.path / OUTS["preprocess"]) == undisturbed.made["preprocess"]
