"""One training by airbench94_muon.py, unchanged, on the CPU. Runs in an environment with PyTorch alone.

Settings: file (of the program), data (a folder as data/processed), precision (float32 or bfloat16), threads, seed.
Prints seconds (of the training, without evaluation), test_accuracy, tta_accuracy, pflop and torch (its version).

The program is written for CUDA. Its names are given other meanings here: half is float32, with bfloat16 by autocast,
`cuda` is the CPU, `compile` does nothing, torchvision is the one transformation that the program uses, and its clock is
this machine's. The covariance that whitens stays float32, or its eigenvalues become negative. The current folder gets
the images as the program reads them.
"""

from __future__ import annotations

import contextlib
import json
import math
import runpy
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

BACKWARD = 2  # as in convtrack's models/flops.py


class Event:
    """torch.cuda.Event by this machine's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds until `end`."""
        return 1000 * (end.at - self.at)


class Normalize:
    """torchvision.transforms.Normalize."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        self.mean, self.std = mean.view(-1, 1, 1), std.view(-1, 1, 1)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


def prepare() -> None:
    """Give the names that the program uses their meanings on a CPU."""
    read = torch.load
    torch.load = lambda file, **_: read(file, map_location="cpu", weights_only=False)
    torch.compile = lambda function=None, **_: function
    torch.cuda.Event, torch.cuda.synchronize = Event, lambda: None
    nn.Module.half, torch.Tensor.half = nn.Module.float, torch.Tensor.float
    vision, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
    transforms.Normalize, vision.transforms = Normalize, transforms
    sys.modules |= {"torchvision": vision, "torchvision.transforms": transforms}


def write_images(data: Path) -> int:
    """Write the images for the program; returns the number of training images."""
    Path("cifar10").mkdir(exist_ok=True)
    sizes = {}
    for split in ("train", "test"):
        images, labels = (np.load(data / f"{split}_{what}.npy") for what in ("images", "labels"))
        content = {"images": torch.tensor(images), "labels": torch.tensor(labels), "classes": []}
        torch.save(content, f"cifar10/{split}.pt")
        sizes[split] = len(labels)
    return sizes["train"]


def forward_flops(model: nn.Module) -> int:
    """Operations of the convolutions and dense layers for one image; a multiply-add counts as two."""
    total = 0

    def count(layer: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        places = math.prod(output.shape[2:])
        total += 2 * layer.weight.numel() * places

    hooks = [each.register_forward_hook(count) for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    whiten = model.whiten  # called by function, not as a layer
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total + 2 * whiten.weight.numel() * 31 * 31


settings = json.loads(sys.argv[1])
torch.set_num_threads(settings["threads"])
torch.set_flush_denormal(True)
torch.manual_seed(settings["seed"])
prepare()
images = write_images(Path(settings["data"]))
program = runpy.run_path(settings["file"], run_name="airbench")
entries: list[dict[str, Any]] = []


def keep(variables: dict[str, Any], is_final_entry: bool) -> None:
    names = ("epoch", "train_acc", "val_acc", "tta_val_acc", "time_seconds", "batch_size")
    entries.append({name: variables[name] for name in names if name in variables})
    print(entries[-1], file=sys.stderr)


run = program["main"]
run.__globals__["print_training_details"] = keep
network = program["CifarNet"]
network.init_whiten = torch.autocast("cpu", enabled=False)(network.init_whiten)
model = network().to(memory_format=torch.channels_last)
flops = forward_flops(model)
# a cache would keep the first weights until the end of the block, which is that of the training
bfloat16 = torch.autocast("cpu", torch.bfloat16, cache_enabled=False)
with bfloat16 if settings["precision"] == "bfloat16" else contextlib.nullcontext():
    tta = run(0, model)
*epochs, _ = entries
size = epochs[-1]["batch_size"]
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "seconds": epochs[-1]["time_seconds"],
            "epochs_run": len(epochs),
            "test_accuracy": epochs[-1]["val_acc"],
            "tta_accuracy": tta,
            "pflop": (1 + BACKWARD) * flops * len(epochs) * (images // size) * size / 1e15,
        }
    )
)
