"""Images per second of a network in plain PyTorch: forward, backward and update. Runs in its own environment.

Settings: layers, trainable (as layers.py prints them), image_shape, classes, threads, precision, optimizer (the
section of params.yaml), label_smoothing, batch_sizes, images (about how many are timed). Prints torch (its version) and
rows of batch_size and images_per_second.

Batches are ready in memory. Eager PyTorch, channels last, denormals flushed; bfloat16 by autocast.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

WARM = 3  # steps before the clock starts

# the coefficients of src/convtrack/training/muon.py
A, B, C, STEPS = 3.4445, -4.7750, 2.0315, 3

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "selu": nn.SELU, "tanh": nn.Tanh}


class Scaling(nn.Module):
    """`x * factor + addition`, by channel, in float32."""

    def __init__(self, factor: list[float], addition: list[float]) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))
        self.register_buffer("addition", torch.tensor(addition))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x.float() * self.factor.view(shape) + self.addition.view(shape)


class Maximum(nn.Module):
    """The highest value of each channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax((2, 3))


class Muon(torch.optim.Optimizer):
    """What training/muon.py does for the kernels of convolutions, in plain PyTorch."""

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(kernels, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel not in self.state:
                    self.state[kernel]["momentum"] = torch.zeros_like(kernel)
                momentum = self.state[kernel]["momentum"]
                momentum.mul_(group["momentum"]).add_(kernel.grad)
                step = kernel.grad.add(momentum, alpha=group["momentum"])
                kernel.mul_(math.sqrt(len(kernel)) / kernel.norm())
                kernel.add_(orthogonal(step.reshape(len(kernel), -1)).view_as(kernel), alpha=-group["lr"])


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """`matrix` made about orthogonal, as training/muon.py does."""
    wide = matrix.shape[0] <= matrix.shape[1]
    matrix = matrix if wide else matrix.T
    matrix = matrix / (matrix.norm() + 1e-7)
    for _ in range(STEPS):
        gram = matrix @ matrix.T
        matrix = A * matrix + (B * gram + C * gram @ gram) @ matrix
    return matrix if wide else matrix.T


LAYERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "convolution": lambda layer: nn.LazyConv2d(
        layer["filters"], layer["size"], padding=layer["padding"], bias=layer["bias"]
    ),
    "dense": lambda layer: nn.LazyLinear(layer["units"], bias=layer["bias"]),
    "normalisation": lambda layer: nn.LazyBatchNorm2d(layer["epsilon"], layer["momentum"]),
    "activation": lambda layer: ACTIVATIONS[layer["name"]](),
    "pooling": lambda layer: nn.MaxPool2d(layer["size"]),
    "maximum": lambda layer: Maximum(),
    "flatten": lambda layer: nn.Flatten(),
    "dropout": lambda layer: nn.Dropout(layer["rate"]),
    "scaling": lambda layer: Scaling(layer["factor"], layer["addition"]),
}


def module(layer: dict[str, Any]) -> nn.Module:
    """One layer; the first batch determines input sizes. Exits if the kind is unknown."""
    try:
        return LAYERS[layer["kind"]](layer)
    except KeyError as unknown:
        sys.exit(f"{layer} has no counterpart here: add {unknown} to LAYERS or ACTIVATIONS in {__file__}")


def build(settings: dict[str, Any]) -> nn.Module:
    """The untrained network. Exits if its number of trainable parameters differs from the Keras network."""
    modules = [module(layer) for layer in settings["layers"]]
    network = nn.Sequential(*modules)
    network(batch(settings, 2)[0])  # determines input sizes
    for layer, made in zip(settings["layers"], modules, strict=True):
        if not layer.get("trained", True) or not layer.get("scale_trained", True):
            made.weight.requires_grad = False
    network.to(memory_format=torch.channels_last)
    count = sum(each.numel() for each in network.parameters() if each.requires_grad)
    if count != settings["trainable"]:
        sys.exit(f"not the same network: {count} trainable parameters in PyTorch, {settings['trainable']} in Keras")
    return network


def batch(settings: dict[str, Any], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 images, channels last in memory, and labels."""
    height, width, channels = settings["image_shape"]
    images = torch.randint(0, 256, (size, channels, height, width), dtype=torch.uint8)
    return images.contiguous(memory_format=torch.channels_last), torch.randint(0, settings["classes"], (size,))


def optimizers(network: nn.Module, optimizer: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """As the section `train.optimizer` says."""
    trained = [each for each in network.parameters() if each.requires_grad]
    rate, momentum, decay = (optimizer[name] for name in ("learning_rate", "momentum", "weight_decay"))
    if optimizer["name"] in {"adam", "adamw"}:
        kind = torch.optim.Adam if optimizer["name"] == "adam" else torch.optim.AdamW
        return [kind(trained, lr=rate, betas=(momentum, 0.999), weight_decay=decay)]
    muon = optimizer["name"] == "muon"
    kernels = [each for each in trained if muon and each.ndim == 4]
    groups = [
        {
            "params": [each for each in trained if each.ndim == 1],
            "lr": optimizer["bias_learning_rate"] if muon else rate,
        },
        {"params": [each for each in trained if each.ndim > 1 and not (muon and each.ndim == 4)]},
    ]
    sgd = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay)
    return [sgd, Muon(kernels, optimizer["muon_learning_rate"], optimizer["muon_momentum"])] if muon else [sgd]


def speed(settings: dict[str, Any], size: int) -> float:
    """Images a second at batches of `size`."""
    network = build(settings).train()
    stepping = optimizers(network, settings["optimizer"])
    bfloat16 = settings["precision"] == "mixed_bfloat16"
    batches = [batch(settings, size) for _ in range(2)]
    steps = math.ceil(settings["images"] / size)
    began = 0.0
    for number in range(WARM + steps):
        if number == WARM:
            began = time.perf_counter()
        images, labels = batches[number % 2]
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(images)
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=settings["label_smoothing"])
        for each in stepping:
            each.zero_grad()
        loss.backward()
        for each in stepping:
            each.step()
    return steps * size / (time.perf_counter() - began)


settings = json.loads(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(settings["threads"])
torch.set_flush_denormal(True)
rows = [{"batch_size": size, "images_per_second": speed(settings, size)} for size in settings["batch_sizes"]]
print(json.dumps({"torch": torch.__version__, "rows": rows}))
