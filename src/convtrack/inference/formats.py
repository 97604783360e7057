"""The formats that a model is exported to. A new one is a function and an entry in FORMATS.

The function gets a network from `exportable`, what describes it, and a path. It writes the exported model there, opens
it in the format's own runtime, and returns a function from images, uint8 (n, height, width, channels), to
probabilities, float32 (n, classes).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convtrack.errors import ConfigError, escaped
from convtrack.system.processor import usable_cores
from convtrack.training.native_logs import hidden

if TYPE_CHECKING:
    import keras

    from convtrack.files import About

Run = Callable[[np.ndarray], np.ndarray]
INPUT, OUTPUT = "images", "probabilities"  # what the exported model calls them
ABOUT, LABELS = "convtrack.json", "labels.txt"


@dataclass(frozen=True)
class Format:
    """suffix: of the exported file; empty for a folder, of which `content` lists the files and folders.

    extra: the extra of convtrack that installs `modules`, without which the format cannot be written or checked.
    """

    convert: Callable[[keras.Model, About, Path], Run]
    runtime: str
    suffix: str = ""
    content: frozenset[str] = frozenset()
    extra: str = ""
    modules: tuple[str, ...] = ()

    def check_installed(self) -> None:
        """Raises ConfigError if a package is missing. Imports nothing."""
        missing = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"this format needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
                "installed. Nothing was exported",
                f"make setup installs it; outside a clone, pip install 'convtrack[{self.extra}]'",
            )


def onnx(network: keras.Model, about: About, path: Path) -> Run:
    """ONNX: `about` is in metadata_props, a text for each field, JSON for those that are not text."""
    network.export(str(path), format="onnx", verbose=False)
    import onnx as library
    import onnxruntime

    model = library.load(path)
    library.helper.set_model_props(model, _fields(about))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    path.write_bytes(model.SerializeToString())

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def litert(network: keras.Model, about: About, path: Path) -> Run:
    """LiteRT: labels.txt and convtrack.json are appended as a zip archive, as is usual for associated files."""
    network.export(str(path), format="litert", verbose=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LABELS, _lines(about.classes))
        archive.writestr(ABOUT, _json(about))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=usable_cores())
    takes, gives = (each()[0]["index"] for each in (interpreter.get_input_details, interpreter.get_output_details))
    shape: tuple[int, ...] = ()

    def run(images: np.ndarray) -> np.ndarray:
        nonlocal shape
        if images.shape != shape:
            shape = images.shape
            interpreter.resize_tensor_input(takes, shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(takes, images)
        interpreter.invoke()
        return interpreter.get_tensor(gives)

    return run


def openvino(network: keras.Model, about: About, path: Path) -> Run:
    """OpenVINO: a folder with model.xml and model.bin; `about` is in rt_info, as for `onnx`."""
    with hidden("openvino_telemetry"):  # OpenVINO then has a stub that sends nothing
        import openvino as library
        import openvino.tools.ovc

    core, target = library.Core(), str(path / "model.xml")
    with tempfile.TemporaryDirectory(dir=path) as folder:  # a model that was read from a file cannot be written there
        source = str(Path(folder, "model.xml"))
        network.export(source, format="openvino", verbose=False)
        model = core.read_model(source)
        for name, text in _fields(about).items():
            model.set_rt_info(text, ["convtrack", name])
        model.outputs[0].get_tensor().set_names({OUTPUT})
        library.serialize(model, target)
        del model
    # without the hint, it computes in bfloat16 where the processor can
    compiled = core.compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: np.array(compiled(images)[OUTPUT])


def saved_model(network: keras.Model, about: About, path: Path) -> Run:
    """TensorFlow's SavedModel: labels.txt and convtrack.json are in assets.extra, which is for such files."""
    network.export(str(path), format="tf_saved_model", verbose=False)
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / LABELS).write_text(_lines(about.classes), encoding="utf-8")
    (extra / ABOUT).write_text(_json(about), encoding="utf-8")
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images)[OUTPUT].numpy()


FORMATS = {
    "onnx": Format(onnx, "ONNX Runtime", ".onnx", extra="onnx", modules=("tf2onnx", "onnx", "onnxruntime")),
    "litert": Format(litert, "LiteRT", ".tflite", extra="litert", modules=("ai_edge_litert",)),
    "openvino": Format(
        openvino, "OpenVINO", content=frozenset({"model.xml", "model.bin"}), extra="openvino", modules=("openvino",)
    ),
    "saved_model": Format(
        saved_model,
        "TensorFlow",
        content=frozenset({"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}),
    ),
}


def _fields(about: About) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in dataclasses.asdict(about).items()
    }


def _json(about: About) -> str:
    return json.dumps(dataclasses.asdict(about), indent=2, ensure_ascii=False) + "\n"


def _lines(classes: list[str]) -> str:
    return "".join(f"{escaped(name)}\n" for name in classes)
