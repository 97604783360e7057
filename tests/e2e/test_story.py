"""From two runs to a champion that is served, exported and made again. The tests share one clone, in their order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from convtrack import files
from tests.tracking import served_model

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = pytest.mark.slow

CHAMPION = "models:/digits@champion"
PICTURES = 2000
POSTED = 40
# one training hardly leaves its first weights, the other one learns the digits, on any machine
FLAWED = {
    "train.epochs": 1,
    "train.precision": "float32",
    "train.augmentation.flip": "none",
    "train.optimizer.learning_rate": 1e-6,
    "train.optimizer.muon_learning_rate": 1e-6,
    "train.optimizer.bias_learning_rate": 1e-6,
}
LEARNED = {
    "preprocess.val_fraction": 0,
    "model.filters": "[16,32]",
    "model.logit_scale": 0.111,
    "train.epochs": 4,
    "train.batch_size": 64,
    "train.optimizer.learning_rate": 1.2,
    "train.optimizer.muon_learning_rate": 0.12,
    "train.optimizer.bias_learning_rate": 4.8,
}


@pytest.fixture(scope="module")
def clone(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with a run that learned next to nothing in its workspace, and a final fit as an experiment."""
    clone = make_clone(tmp_path_factory.mktemp("story"))
    clone.change(FLAWED)
    clone.run("git", "commit", "-qam", "flawed")
    assert "test accuracy" in clone.run("convtrack", "run")
    values = [word for name, value in LEARNED.items() for word in ("-S", f"{name}={value}")]
    clone.run("dvc", "exp", "run", "--temp", "-n", "final", *values)
    return clone


@pytest.fixture(scope="module")
def pictures(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PNG files of the test images and, up to their number, training images, each in the folder of its class."""
    folder = tmp_path_factory.mktemp("pictures")
    raw = clone.path / files.RAW
    for number in range(10):
        (folder / str(number)).mkdir()
    left = PICTURES
    while left:
        for split in ("test", "train"):
            arrays = files.read_arrays(raw, split)
            for pixels, label in zip(arrays.images[:left], arrays.labels[:left], strict=True):
                Image.fromarray(np.asarray(pixels)[..., 0]).save(folder / f"{label}/{PICTURES - left:04d}.png")
                left -= 1
    return folder


@pytest.fixture(scope="module")
def predicted(clone: Clone, pictures: Path) -> pd.DataFrame:
    """What `convtrack predict` says of all pictures by the champion, which is the final fit, in the order of names."""
    said = clone.run("convtrack", "predict", str(pictures), "--model", CHAMPION, "--csv", "labels.csv")
    assert f"{PICTURES:,}" in said
    table = pd.read_csv(clone.path / "labels.csv", dtype={"actual": str, "label": str})
    table["file"] = [Path(name).name for name in table["name"]]
    return table.sort_values("file", ignore_index=True)


@pytest.fixture
def client(clone: Clone) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")


def aliases(client: Any) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model("digits").aliases.items()}


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[[f"{files.PROBABILITY}{number}" for number in range(10)]].to_numpy()


def test_a_final_fit_says_so_everywhere_and_is_better_by_more_than_chance(clone: Clone, tmp_path: Path) -> None:
    output = clone.run("convtrack", "compare", "workspace", "final", "--json")
    (pair,) = json.loads(output[output.index("{") :])["pairs"]
    assert pair["paired"]
    assert pair["difference"] > 0.3
    assert pair["p"] < 1e-6
    said = clone.run("convtrack", "compare", "workspace", "final", "--split", "val", expect=1)
    assert "final has no predictions on val: it was trained on train and val together" in said
    columns, *rows = [line.split(",") for line in clone.run("dvc", "exp", "show", "--csv").splitlines() if "," in line]
    (row,) = (dict(zip(columns, row, strict=False)) for row in rows if "final" in row)
    assert row["val_accuracy"] == ""
    clone.run("dvc", "plots", "diff", "HEAD", "final", "-o", str(tmp_path / "plots"))
    assert (tmp_path / "plots/index.html").is_file()


def test_only_a_better_run_becomes_champion(clone: Clone, client: Any) -> None:
    assert "there was no champion" in clone.run("convtrack", "promote", "workspace")
    assert "final is better" in clone.run("convtrack", "promote", "final")
    assert aliases(client) == {"champion": "2", "previous": "1"}
    said = clone.run("convtrack", "promote", "workspace", expect=1)
    assert "the champion (version 2) is better" in said
    assert "Traceback" not in said
    assert aliases(client) == {"champion": "2", "previous": "1"}


def test_thousands_of_files_get_the_labels_that_evaluate_gave_them(client: Any, predicted: pd.DataFrame) -> None:
    assert len(predicted) == PICTURES
    assert predicted["problem"].isna().all()
    run = client.get_run(client.get_model_version_by_alias("digits", "champion").run_id)
    evaluated = files.read_table(Path(run.info.artifact_uri) / files.PREDICTIONS, text=("actual", "predicted"))
    test = predicted[: len(evaluated)]  # its pictures were written first
    assert test["actual"].tolist() == evaluated["actual"].tolist()
    assert test["label"].tolist() == evaluated["predicted"].tolist()
    assert probabilities(test) == pytest.approx(probabilities(evaluated), abs=1e-4)


def test_a_run_by_its_id_is_the_model_that_was_registered(
    clone: Clone, client: Any, pictures: Path, predicted: pd.DataFrame
) -> None:
    run_id = client.get_model_version_by_alias("digits", "champion").run_id
    lines = clone.run("convtrack", "predict", str(pictures / "7"), "--model", run_id[:12], "--json", "-")
    rows = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    expected = predicted[predicted["actual"] == "7"]
    assert [row["label"] for row in rows] == expected["label"].tolist()
    assert [row["probability"] for row in rows] == pytest.approx(expected["probability"].tolist(), abs=1e-5)


def test_the_served_champion_answers_as_predict_does(
    clone: Clone, pictures: Path, predicted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone.path)  # the registry is mlflow.db there
    posted = predicted[:POSTED]
    paths = [pictures / label / file for label, file in zip(posted["actual"], posted["file"], strict=True)]
    records = [{"image": served_model.text(path.read_bytes())} for path in paths]
    with served_model.served(CHAMPION) as address:
        status, answer = served_model.post(address, {"dataframe_records": records})
    assert status == 200, answer
    table = pd.DataFrame(json.loads(answer)["predictions"])
    assert table["label"].tolist() == posted["label"].tolist()
    assert table["probability"].to_numpy() == pytest.approx(posted["probability"].to_numpy(), abs=1e-5)
    assert probabilities(table) == pytest.approx(probabilities(posted), abs=1e-5)


def test_the_exported_champion_agrees_in_onnx_runtime_alone(clone: Clone, predicted: pd.DataFrame) -> None:
    import onnxruntime

    said = clone.run("convtrack", "export", "onnx", "--model", CHAMPION, "--out", "champion.onnx")
    assert "labels are the same" in said
    session = onnxruntime.InferenceSession(clone.path / "champion.onnx")
    images = np.asarray(files.read_arrays(clone.path / files.RAW, "test").images)
    (found,) = session.run(["probabilities"], {"images": images})
    assert found == pytest.approx(probabilities(predicted[: len(images)]), abs=1e-4)
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    assert [classes[best] for best in found.argmax(axis=1)] == predicted["label"][: len(images)].tolist()


def test_the_champion_is_made_again_bit_for_bit(clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(clone.environment, "TMPDIR", str(tmp_path))
    output = clone.run("convtrack", "reproduce", CHAMPION, "--json")
    found = json.loads(output[output.rindex("\n{\n") :].rpartition("}")[0] + "}")
    assert found["identical"], found
    assert found["verdict"] == "identical: weights (bit for bit), predictions and metrics"
    assert not list(tmp_path.glob("convtrack-*"))


def test_a_rollback_makes_the_former_champion_champion_again(clone: Clone, client: Any) -> None:
    assert f"{CHAMPION} is version 1 again" in clone.run("convtrack", "promote", "--rollback")
    assert aliases(client) == {"champion": "1", "previous": "2"}
