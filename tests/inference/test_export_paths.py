"""Where an exported model goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from convtrack.errors import ConfigError
from convtrack.inference import export as exporting


@pytest.mark.parametrize(
    ("name", "format_name", "path"),
    [
        ("workspace", "onnx", "models/model.onnx"),
        ("workspace", "saved_model", "models/model_saved_model"),
        ("/tmp/cats.keras", "litert", "/tmp/cats.tflite"),
        ("models:/cats@champion", "openvino", "models/cats-champion_openvino"),
        ("brave-fox-1", "onnx", "models/brave-fox-1.onnx"),
    ],
)
def test_the_name_of_the_file_says_which_model_it_is(name: str, format_name: str, path: str) -> None:
    assert exporting.path_of(name, format_name) == Path(path)


def test_nothing_but_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    for name, format_name, message in (
        ("model.bin", "onnx", r"does not end in \.onnx.*\n.*--out .*/model\.onnx"),
        ("file", "saved_model", "exists, and is not an earlier export"),
        ("folder", "openvino", "exists, and is not an earlier export"),
        ("folder.onnx", "onnx", "is a folder"),
    ):
        (tmp_path / "file").touch()
        (tmp_path / "folder.onnx").mkdir(exist_ok=True)
        (tmp_path / "folder/photos").mkdir(exist_ok=True, parents=True)
        with pytest.raises(ConfigError, match=message):
            exporting.check_path(tmp_path / name, format_name)
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        exporting.check_path(tmp_path / name, "openvino")
