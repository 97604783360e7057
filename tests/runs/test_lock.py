from pathlib import Path

import pytest

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.runs import lock

LOCK = """
schema: '2.0'
stages:
  preprocess:
    params:
      params.yaml:
        preprocess: {seed: 3, val_fraction: 0.1, duplicates: keep}
    outs:
    - path: data/processed
      md5: aa.dir
  train:
    params:
      params.yaml:
        model: {name: reference, conv_dropout: 0.25, dropout: 0.5}
"""


def test_parameters_are_those_of_the_stages_and_not_what_params_yaml_says_by_now(workplace: Path) -> None:
    (workplace / files.LOCK).write_text(LOCK)
    locked = lock.stages(workplace)
    found = lock.parameters(workplace, locked)
    assert (found["preprocess.seed"], found["model.name"], found["data.name"]) == ("3", "reference", "cifar10")
    assert "model.filters" not in found  # of another network
    assert "evaluate.batch_size" in found
    assert not [name for name in found if name.startswith(("study.", "tracking."))]
    assert lock.md5(locked, files.PROCESSED) == "aa.dir"
    assert lock.md5(locked, files.PREDICTIONS) is None


def test_parameters_that_this_version_does_not_know_are_kept(workplace: Path) -> None:
    (workplace / files.LOCK).write_text(LOCK.replace("conv_dropout", "of_another_version"))
    assert lock.parameters(workplace, lock.stages(workplace))["model.of_another_version"] == "0.25"


def test_no_lock_has_no_stages_and_a_damaged_one_is_named(workplace: Path) -> None:
    assert lock.stages(workplace) == {}
    (workplace / files.LOCK).write_text("stages: [")
    with pytest.raises(ConfigError, match="dvc.lock is not valid YAML"):
        lock.stages(workplace)
