"""The command that exports a model to another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from convtrack.cli.pipeline import imports
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from rich.console import RenderableType

    from convtrack.inference.export import Exported

FORMATS = ["onnx", "litert", "openvino", "saved_model"]


@click.command()
@click.argument("format_name", metavar="FORMAT", type=click.Choice(FORMATS))
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The file, or for openvino and saved_model the folder, to write.  [default: beside the model]",
)
@click.option("--model", default="workspace", metavar="MODEL", help="What to export.  [default: models/model.keras]")
def export(*, format_name: str, out: Path | None, model: str) -> None:
    """Export a model to another format, and check that it gives the same labels.

    \b
    A FORMAT is one of
      onnx         ONNX, one file                      metadata_props have the class names
      litert       LiteRT (TensorFlow Lite), one file  labels.txt is in it, as in a zip archive
      openvino     OpenVINO, a folder                  rt_info has the class names
      saved_model  TensorFlow's SavedModel, a folder   labels.txt is in assets.extra

    \b
    A MODEL is one of
      FILE.keras           a file that convtrack wrote
      NAME                 a DVC experiment, branch, tag or commit
      ID                   an MLflow run: its id, the beginning of it, or its name
      models:/NAME@ALIAS   a registered model

    The exported model computes in float32. It takes `images`, uint8 (n, height, width, channels) of the size that the
    network was trained with, any n, and returns `probabilities`, float32 (n, classes). Beside the class names it has
    image_shape, and how images were resized.

    It runs on the test images in data/processed, or on made-up images if those have another size. No probability may
    differ from one that Keras computes in float32 by more than 0.0001. A network that computes in bfloat16 may itself
    differ by 0.1, in float16 by 0.02. So labels differ only where the two best probabilities are that close. Otherwise,
    the command fails, and what was at PATH stays. Last, it prints size and latency, beside those of Keras: the median
    and the 99th percentile of 200 calls on this machine, with one image and with 64.
    """
    if out is not None:
        out = Path.cwd() / out
    model = _from_here(model)
    go_to_root()
    from rich.console import Console

    from convtrack.inference import export as exporting
    from convtrack.runs.models import model_file
    from convtrack.training import native_logs

    path = out or exporting.path_of(model, format_name)
    exporting.check_path(path, format_name)
    with model_file(model) as file:
        with imports():
            native_logs.load_tensorflow_quietly()
        with native_logs.stderr_buffered() as terminal:
            exported = exporting.export(file, format_name, path, Console(file=terminal, soft_wrap=True))
    for line in lines(exported):
        Console(soft_wrap=True).print(line, highlight=False, markup=False)


def _from_here(model: str) -> str:
    """The name of the model as it is called in the root of the repository, where commands run."""
    return str(Path.cwd() / model) if model.endswith(".keras") else model


def lines(exported: Exported) -> list[RenderableType]:
    """What the command prints: a sentence on the agreement, and a table of sizes and latencies."""
    import numpy as np
    from rich import box
    from rich.table import Table

    from convtrack.inference.export import BATCHES

    found = exported.agreement
    close = "" if found.margin is None else f" The others have two best classes within {found.margin:.2g}."
    precision = "" if found.precision == "float32" else f" (the model computes in {found.precision})"
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("MB", justify="right")
    for count in BATCHES:
        table.add_column(f"{count} image{'s' * (count > 1)}: ms p50", justify="right")
        table.add_column("p99", justify="right")
    for runtime, latency in exported.latency.items():
        values = [f"{np.percentile(latency[count], q):.2f}" for count in BATCHES for q in (50, 99)]
        table.add_row(runtime, f"{exported.bytes[runtime] / 1e6:.2f}", *values)
    return [
        f"{exported.path}: {found.same:,} of {found.count:,} labels are the same on {found.images}.{close} "
        f"Probabilities differ by at most {found.difference:.2g}{precision}.",
        table,
    ]
