"""How the benchmarks are called, and what they make of figures; what they measure is tests/e2e/test_benchmarks.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convtrack import files
from convtrack.params import presets, schema

pytestmark = pytest.mark.slow  # each test starts a program

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "harness.run(main)" in path.read_text(encoding="utf-8")
)


def bench(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the folder benchmarks/ as `make bench` does, or one of its files."""
    first, *rest = map(str, arguments) if arguments else [""]
    target = ["benchmarks"] if not first else [f"benchmarks/{first}.py", *rest]
    done = subprocess.run([sys.executable, *target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return done


def history(accuracies: list[float], seconds: float) -> dict[str, list[float]]:
    return {
        "epoch": list(range(1, len(accuracies) + 1)),
        "val_accuracy": accuracies,
        "seconds": [seconds] * len(accuracies),
    }


def finished(preset: str, accuracies: list[float], seconds: float, **figures: Any) -> dict[str, Any]:
    """A run as benchmarks/presets.py keeps it, whose preset is as it is in presets/ now."""
    content = schema.resolved(presets.sections(preset, ROOT / "presets"))
    return {
        "preset": preset,
        "recipe": json.dumps({name: content[name] for name in ("model", "train")}, sort_keys=True),
        "peak": 200.0,
        "epochs_run": len(accuracies),
        "seconds": seconds * len(accuracies),
        "gflop_per_second": 100.0,
        "pflop": 0.005,
        "best_val_accuracy": max(accuracies),
        "test_accuracy": max(accuracies),
        "tta_accuracy": max(accuracies),
        "history": history(accuracies, seconds),
        **figures,
    }


@pytest.fixture
def repro(tmp_path: Path) -> Path:
    """What `dvc repro` leaves: a history, and the other documents of its training. The best epoch is the third."""
    import pandas as pd

    path = tmp_path / "repro" / files.HISTORY
    files.write_table(path, pd.DataFrame(history([0.5, 0.6, 0.76, 0.7], seconds=90.0)))
    training = {"seed": 0, "epochs_run": 4, "seconds": 360.0, "gflop_per_second": 50.0, "pflop": 0.5}
    files.write_json(path.with_name("training.json"), training | {"best_val_accuracy": 0.76})
    files.write_json(tmp_path / "repro" / files.METRICS, {"test_accuracy": 0.75})
    return path


# that repro's machine was busy; this is how long its epochs take when nothing else runs
TIMED = {
    "preset": "reference, 2 epochs",
    "recipe": "",
    "history": {"seconds": [41.0, 39.0]},
    "peak": 100.0,
    "images_per_second": 1200.0,
    "gflop_per_second": 70.0,
}


def table(output: str) -> dict[str, list[str]]:
    """A Markdown table's rows by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines()]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_without_a_name_each_benchmark_is_listed_with_what_it_measures_and_how_long_it_takes() -> None:
    lines = [line for line in bench().stdout.splitlines() if line.startswith("make bench NAME=")]
    named = {line.split()[2].removeprefix("NAME="): line for line in lines}
    assert set(named) == {*PROGRAMS, "all"}
    assert [name for name in PROGRAMS if not named[name].endswith(")")] == []


def test_an_unknown_benchmark_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks", "memory"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'memory'" in done.stderr
    assert "memory_of_preprocess" in done.stderr


def test_the_page_of_a_run_is_measured_for_each_number_of_images_and_classes(tmp_path: Path) -> None:
    out = tmp_path / "report_page.json"
    bench("report_page", "--images", "40", "60", "--classes", "3", "--out", out)
    measured = files.read_json(out)["measured"]
    assert [(each["images"], each["classes"]) for each in measured] == [(40, 3), (60, 3)]
    assert all(0 < each["mb"] < 1 for each in measured)


def test_each_benchmark_shows_a_command_in_its_help() -> None:
    # in one process, since each loads the same libraries
    helps = (
        "import contextlib, runpy, sys\n"
        "for sys.argv in [[f'benchmarks/{name}.py', '--help'] for name in sys.argv[1:]]:\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", helps, *PROGRAMS]
    environment = os.environ | {"PYTHONPATH": "benchmarks"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert list(dict.fromkeys(re.findall(r"(?m)^ +make bench NAME=(\w+)", done.stdout))) == PROGRAMS


def test_a_preset_is_timed_to_the_best_val_accuracy_of_a_history_that_is_taken_over(
    repro: Path, tmp_path: Path
) -> None:
    out = tmp_path / "presets.json"
    runs = {
        "sprint-0": finished("sprint", [0.7, 0.77], seconds=6.0),
        "sprint-1": finished("sprint", [0.765, 0.78], seconds=8.0),
        TIMED["preset"]: TIMED,
    }
    files.write_json(out, {"runs": runs})
    shown = table(bench("presets", "--preset", "sprint:2", "--history", f"reference={repro}", "--out", out).stdout)
    # reference: its third epoch ends after 120 s; sprint: 12 s, and 8 s
    assert shown["sprint"][-2:] == ["10", "12.0"]
    assert shown["sprint"][4] == "0.50"
    assert shown["reference"][-2:] == ["120", "1.0"]
    assert shown["reference"][2:5] == ["160", "70", "0.70"]
    assert shown["reference"][7] == "0.7500"
    written = files.read_json(out)
    assert set(written["runs"]) == {*runs, "reference-0"}
    assert written["machine"]["cores"] >= 1
    assert written["table"]["rows"][0][0] == "`sprint`"


def test_several_seeds_of_the_reference_count_by_their_middle(repro: Path, tmp_path: Path) -> None:
    import pandas as pd

    paths = [repro]
    for seed, accuracies in ((1, [0.74, 0.7, 0.7, 0.7]), (2, [0.5, 0.6, 0.7, 0.78])):
        path = tmp_path / f"repro{seed}" / files.HISTORY
        files.write_table(path, pd.DataFrame(history(accuracies, seconds=90.0)))
        files.write_json(
            path.with_name("training.json"), files.read_json(repro.with_name("training.json")) | {"seed": seed}
        )
        files.write_json(tmp_path / f"repro{seed}" / files.METRICS, {"test_accuracy": 0.7 + seed / 100})
        paths.append(path)
    out = tmp_path / "presets.json"
    runs = {"sprint-0": finished("sprint", [0.75, 0.77], seconds=6.0), TIMED["preset"]: TIMED}
    files.write_json(out, {"runs": runs})
    histories = [argument for path in paths for argument in ("--history", f"reference={path}")]
    shown = table(bench("presets", "--preset", "sprint:1", *histories, "--out", out).stdout)
    # to 0.76 after 120 s, 0.74 after 40 and 0.78 after 160; sprint to 0.76 after 12
    assert shown["sprint"][-2:] == ["12", "10.0"]
    assert shown["reference"][0] == "3"
    assert shown["reference"][7] == "0.7267 ± 0.0208"
    assert set(files.read_json(out)["runs"]) == {*runs, "reference-0", "reference-1", "reference-2"}


def test_a_preset_that_stays_below_the_reference_is_said_to(repro: Path, tmp_path: Path) -> None:
    out = tmp_path / "presets.json"
    runs = {"sprint-0": finished("sprint", [0.7], seconds=6.0), TIMED["preset"]: TIMED}
    files.write_json(out, {"runs": runs})
    shown = table(bench("presets", "--preset", "sprint:1", "--history", f"reference={repro}", "--out", out).stdout)
    assert shown["sprint"][-2:] == ["not reached by 1 of 1", ""]


def test_runs_of_another_state_of_a_preset_do_not_count(tmp_path: Path) -> None:
    runs = {
        "sprint-0": finished("sprint", [0.7], seconds=6.0),
        "sprint-1": finished("sprint", [0.9], seconds=6.0, recipe="before"),
    }
    files.write_json(tmp_path / "presets.json", {"runs": runs})
    shown = table(bench("presets", "--preset", "sprint:1", "--out", tmp_path / "presets.json").stdout)
    assert shown["sprint"][0] == "1"
    assert shown["sprint"][7] == "0.7000"


def test_a_history_without_its_metrics_is_refused_by_name(repro: Path, tmp_path: Path) -> None:
    (tmp_path / "repro" / files.METRICS).unlink()
    done = bench("presets", "--history", f"reference={repro}", "--out", tmp_path / "presets.json", expect=1)
    assert "metrics.json. Nothing was measured" in done.stderr
    assert not (tmp_path / "presets.json").exists()


def test_the_picture_shows_what_the_presets_came_to(tmp_path: Path) -> None:
    runs = {
        "sprint-0": finished("sprint", [0.77], seconds=6.0),
        "fast-0": finished("fast", [0.7, 0.87], seconds=20.0, pflop=0.05),
        "best-0": finished("best", [0.7, 0.89], seconds=60.0, pflop=0.2),
        "reference-0": finished("reference", [0.5, 0.7, 0.76], seconds=40.0, pflop=0.5),
    }
    files.write_json(tmp_path / "presets.json", {"runs": runs})
    picture = tmp_path / "compute.png"
    options = ("--runs", tmp_path / "presets.json", "--picture", picture, "--out", tmp_path / "curve.json")
    shown = table(bench("curve", *options).stdout)
    assert shown["sprint"] == ["0.0050", "6", "0.7700", "JPEG, here"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 150_000


def test_the_picture_wants_the_presets_first(tmp_path: Path) -> None:
    done = bench("curve", "--runs", tmp_path / "none.json", "--picture", tmp_path / "none.png", expect=1)
    assert "make bench NAME=presets" in done.stderr
    assert not (tmp_path / "none.png").exists()


def searched(curves: list[list[float]]) -> dict[str, Any]:
    """What benchmarks/searches.py keeps of a search without pruning: val accuracy after each epoch of each trial."""
    shares = [100 * epoch // len(curves[0]) for epoch in range(1, len(curves[0]) + 1)]
    trials = [{"value": curve[-1], "curve": dict(zip(shares, curve, strict=True))} for curve in curves]
    return {"searches": {"TPE, no pruning": trials}}


def replayed(curves: Path, out: Path) -> tuple[dict[str, list[str]], dict[str, float]]:
    """The numbers of each pruner, and the rank correlations, of the one search in `curves`."""
    bench("rank_correlation", "--curves", curves, "--rung", "33", "--rung", "66", "--out", out)
    written = files.read_json(out)
    (about,) = written["searches"].values()
    return {pruner: numbers for _, pruner, *numbers in written["table"]["rows"]}, about["correlations"]


def test_pruners_keep_the_best_of_trials_that_never_overtake_one_another(tmp_path: Path) -> None:
    curves = [[0.1 + 0.02 * trial, 0.3 + 0.02 * trial, 0.5 + 0.02 * trial] for trial in range(16)]
    files.write_json(tmp_path / "searches.json", searched(curves))
    out = tmp_path / "out.json"
    shown, correlations = replayed(tmp_path / "searches.json", out)
    assert correlations == {"33": 1.0, "66": 1.0, "100": 1.0}
    assert shown["`none`"] == ["100", "0", "0", "0.0000", shown["`none`"][-1]]
    early, late = (shown[f"`halving`, first rung at {rung} %"] for rung in (33, 66))
    assert (late[1], late[3]) == ("0", "0.0000")
    assert int(early[0]) < int(late[0]) < 90  # behind one and two of three epochs
    assert float(late[-1]) < float(shown["`none`"][-1])  # it has seen more of them by then


def test_pruners_stop_the_best_of_trials_that_all_overtake_one_another(tmp_path: Path) -> None:
    curves = [[0.4 - 0.02 * trial, 0.5 - 0.02 * trial, 0.5 + 0.02 * trial] for trial in range(16)]
    files.write_json(tmp_path / "searches.json", searched(curves))
    out = tmp_path / "out.json"
    shown, correlations = replayed(tmp_path / "searches.json", out)
    assert correlations == {"33": -1.0, "66": -1.0, "100": 1.0}
    late = shown["`halving`, first rung at 66 %"]
    assert int(late[1]) > 50
    assert float(late[3]) > 0.01
