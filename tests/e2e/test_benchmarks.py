"""Each benchmark at its smallest, in a clone of its own: it measures, prints its table and writes its JSON."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from convtrack import files
from convtrack.params import schema
from tests import parts

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = pytest.mark.slow

TORCH = Path(__file__).parent.parent.parent / ".convtrack/benchmarks/torch-venv"


def bench(clone: Clone, name: str, *options: str) -> dict[str, Any]:
    """The JSON of `make bench NAME=name`, whose table is checked against what was printed."""
    printed = clone.run("python", "benchmarks", name, "--out", "out.json", *options)
    written = clone.json(Path("out.json"))
    assert written["benchmark"] == name
    assert written["commit"] == clone.run("git", "rev-parse", "HEAD").strip()
    assert written["machine"]["cpu"]
    for row in written["table"]["rows"]:
        assert f"| {' | '.join(row)} |" in printed
    return written


@pytest.fixture
def tiny(clone: Clone) -> Clone:
    """The clone with a preset of the network and the training that its params.yaml has."""
    content = schema.read_yaml(clone.path / schema.PARAMS_FILE)
    sections = {"description": "tiny", **{name: content[name] for name in ("model", "train")}}
    (clone.path / "presets/tiny.yaml").write_text(json.dumps(sections), encoding="utf-8")
    return clone


def test_matrix_products_are_timed_by_precision_and_size(clone: Clone) -> None:
    rows = bench(clone, "machine", "--sizes", "64", "128", "--repeat", "2")["measured"]
    assert [row["size"] for row in rows if row["precision"] == "float32"] == [64, 128]
    assert all(speed > 0 for row in rows for speed in row["gflop_per_second"])


def test_preprocess_is_measured_at_each_number_of_images(clone: Clone) -> None:
    rows = bench(clone, "memory_of_preprocess", "--images", "100", "200")["measured"]
    stages = [(row["images"], row["stage"]) for row in rows]
    assert stages == [(100, "download"), (100, "preprocess"), (200, "download"), (200, "preprocess")]
    assert all(row["peak_mib"] > 10 for row in rows)


def test_predict_is_measured_in_turns_with_decoding_and_predicting_in_series(tiny: Clone) -> None:
    written = bench(tiny, "predict", "--preset", "tiny", "--images", "60", "--repeat", "1")
    (turn,) = written["turns"]
    assert (written["pictures"], turn["series"]["pictures"]) == (60, 60)
    assert turn["series"]["seconds"] > turn["series"]["decoding"] + turn["series"]["predicting"] > 0
    assert min(turn["predict"]["peak_mib"], turn["predict"]["seconds"], *written["ratios"]["whole"]) > 0


def test_start_up_is_measured_with_the_training_taken_out(clone: Clone) -> None:
    written = bench(clone, "startup", "--repeat", "1", "--repros", "1", "--epochs", "1")
    (repro,) = written["repros"]
    assert 0 < repro["training"] < repro["all"]


def test_overhead_is_measured_in_turns_and_the_full_training_has_an_mlflow_run(tiny: Clone) -> None:
    options = ("--preset", "tiny", "--images", "256", "--epochs", "2", "--repeat", "1")
    written = bench(tiny, "overhead", *options)
    (turn,) = written["turns"]
    assert list(turn) == ["nothing", "files", "everything"]
    assert turn["nothing"]["in_callbacks"] == 0
    assert turn["files"]["in_callbacks"] > 0
    assert not (tiny.path / "mlflow.db").exists()  # it was in a clone of the clone


def test_val_accuracy_is_measured_with_moving_and_with_measured_averages(tiny: Clone) -> None:
    written = bench(tiny, "validation", "--preset", "tiny", "--drawings", "--set", "train.epochs=1")
    ((epoch,),) = [training["epochs"] for training in written["trainings"].values()]
    assert all(0 <= epoch[kind] <= 1 for kind in ("moving", "measured"))
    assert written["data"] == "drawings"


def test_a_training_step_is_measured_under_a_setting(tiny: Clone) -> None:
    options = ("--preset", "tiny", "--steps", "1", "--repeat", "1", "--setting", "op determinism off")
    assert bench(tiny, "training_step", *options)["turns"][0]["op determinism off"]["images_per_second"] > 0


def test_the_operations_of_a_step_add_up_to_it(tiny: Clone) -> None:
    rows = bench(tiny, "profile_of_step", "--preset", "tiny", "--steps", "2")["table"]["rows"]
    shares = [int(row[4].rstrip("%")) for row in rows]
    assert sum(shares[:-1]) == pytest.approx(100, abs=len(rows))
    convolutions = [row for row in rows if "convolution" in row[0]]
    assert convolutions
    assert all(int(row[5]) >= 0 and float(row[1]) > 0 for row in convolutions)
    assert float(next(row for row in rows if "XLA" in row[0])[1].removesuffix(", all")) > 0


def test_a_preset_is_trained_once_for_a_seed_and_again_when_it_changes(tiny: Clone) -> None:
    tiny.run("dvc", "repro", "preprocess")
    first = bench(tiny, "presets", "--preset", "tiny:1")["runs"]["tiny-0"]
    assert first["epochs_run"] == len(first["history"]["seconds"]) == 2
    assert 0 <= first["test_accuracy"] <= 1
    assert 0 <= first["tta_accuracy"] <= 1
    assert bench(tiny, "presets", "--preset", "tiny:1")["runs"] == {"tiny-0": first}
    path = tiny.path / "presets/tiny.yaml"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 1'))
    assert bench(tiny, "presets", "--preset", "tiny:1")["runs"]["tiny-0"]["epochs_run"] == 1


def test_a_final_fit_trains_on_all_training_images_once_for_a_seed(tiny: Clone) -> None:
    tiny.run("dvc", "repro", "download")
    options = ("--recipe", "tiny train.epochs=1", "--seeds", "1", "--images", "600")
    written = bench(tiny, "final_fit", *options)
    (run,) = written["runs"].values()
    assert (run["images"], run["epochs_run"], run["best_val_accuracy"]) == (600, 1, None)
    assert 0 <= run["test_accuracy"] <= 1
    assert "val_accuracy" not in run["history"]
    assert bench(tiny, "final_fit", *options)["runs"] == written["runs"]


def test_a_training_that_is_taken_over_is_timed_with_small_images_for_as_much_of_it(tiny: Clone) -> None:
    tiny.change({"train.epochs": 4, "train.progressive_resizing": {"scale": 0.5, "fraction": 0.5}})
    tiny.run("dvc", "repro")
    params = schema.read_yaml(tiny.path / schema.PARAMS_FILE)
    sections = {"description": "tiny", **{name: params[name] for name in ("model", "train")}}
    (tiny.path / "presets/tiny.yaml").write_text(json.dumps(sections), encoding="utf-8")
    runs = bench(tiny, "presets", "--preset", "tiny:1", "--history", "tiny=models/history.csv")["runs"]
    there = tiny.json(files.TRAINING)
    assert runs["tiny, 2 epochs"]["epochs_run"] == 2
    assert runs["tiny, 2 epochs"]["gflop_per_image"] == pytest.approx(there["gflop_per_image"], rel=0.05)
    assert runs["tiny-0"]["best_val_accuracy"] == there["best_val_accuracy"]
    assert runs["tiny-0"]["seconds"] == pytest.approx(2 * sum(runs["tiny, 2 epochs"]["history"]["seconds"]))


def test_searches_end_together_and_their_winners_are_trained_on_all_images_and_judged_on_test(tiny: Clone) -> None:
    tiny.run("dvc", "repro", "preprocess")
    content = schema.read_yaml(tiny.path / schema.PARAMS_FILE)
    content["study"]["space"] = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
    (tiny.path / schema.PARAMS_FILE).write_text(json.dumps(content), encoding="utf-8")
    options = ("--trials", "2", "--images", "300", "--epochs", "2", "--seeds", "1", "--workers", "1")
    written = bench(tiny, "searches", "--preset", "tiny", *options, "--picture", "searches.png")
    assert list(written["searches"]) == ["TPE, halving", "random, halving", "TPE, no pruning"]
    first, *others = written["searches"].values()
    assert len(first) == 2
    end = max(trial["ended"] for trial in first)
    assert all(0 < trial["ended"] <= end + 60 for other in others for trial in other)
    start, *winners = written["table"]["rows"]
    assert start[1:4] == ["", "", ""]
    assert all(0 <= float(row[-1]) <= 1 for row in (start, *winners))
    for found, (_, trials, pruned, best, *_) in zip(written["searches"].values(), winners, strict=True):
        assert (int(trials), int(pruned)) == (len(found), sum(trial["state"] == "PRUNED" for trial in found))
        assert float(best) == pytest.approx(max(trial["value"] or 0 for trial in found), abs=1e-4)
    assert {run["images_per_second"] > 0 for run in written["runs"].values()} == {True}
    assert (tiny.path / "searches.png").read_bytes().startswith(b"\x89PNG")
    again = bench(tiny, "searches", "--preset", "tiny", *options, "--picture", "searches.png")
    assert (again["searches"], again["runs"]) == (written["searches"], written["runs"])
    alone = ("--search", "random, halving", "--picture", "alone.png")
    assert list(bench(tiny, "searches", "--preset", "tiny", *options, *alone)["searches"]) == ["random, halving"]


def test_ctrl_c_ends_a_benchmark_and_what_it_runs_without_a_traceback(tiny: Clone) -> None:
    overhead = ("python", "benchmarks", "overhead", "--preset", "tiny", "--images", "256")
    seen = tiny.stop(signal.SIGINT, *overhead, expect=130)
    assert "benchmark: stopped" in seen
    assert "Traceback" not in seen


@pytest.mark.skipif(not (TORCH / ".ready").exists(), reason=parts.missing("pytorch"))
def test_the_same_network_trains_in_keras_and_in_pytorch(tiny: Clone) -> None:
    link = tiny.path / TORCH.relative_to(TORCH.parent.parent.parent)
    link.parent.mkdir(parents=True)
    link.symlink_to(TORCH)
    options = ("--images", "64", "--repeat", "1", "--batch-sizes", "32", "64")
    written = bench(tiny, "pytorch", "--preset", "tiny", *options)
    assert [row["batch_size"] for row in written["batch_sizes"]["rows"]] == [32, 64]
    assert set(written["turns"][0]) == {"convtrack", "pytorch"}
