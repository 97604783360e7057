"""Where the time of a training step goes, operation by operation.

Takes: a minute

Uses TensorFlow's profiler on steps with images of full size. A convolution has three parts: forward, gradient of its
input, gradient of its weights. GFLOP/s count all three, two operations per multiplication. The operations of a step run
one after the other, so the rows add up to the step; the rest is small operations and gaps.

    make bench NAME=profile_of_step
    .venv/bin/python benchmarks/profile_of_step.py --preset best --steps 10
"""

from __future__ import annotations

import re
from typing import Any

import harness

LAYER = re.compile(r"/(conv2d|whitening)[^/]*/")
PRODUCT = re.compile("(Conv2D|MatMul)$")  # weights are cast earlier, and in another order
PARTS = {  # of a convolution, by what the name of an operation has
    "gradient of its input": re.compile("gradient_of_input|BackpropInput"),
    "of its weights": re.compile("gradient_of_kernel|BackpropFilter"),
    "forward": re.compile(""),
}
GROUPS = {  # by the name of an operation
    "batch normalisation": re.compile(":.*BatchNorm"),
    "pooling": re.compile(":.*MaxPool"),
    "activation, pooling's gradient, optimizer (compiled by XLA)": re.compile("^CpuExecutable::"),
}
COLUMNS = ["operation", "forward, ms", "gradient of input, ms", "of weights, ms", "share of the step", "GFLOP/s"]


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", default="sprint")
    options.add_argument("--steps", type=harness.positive, default=20, help="that are timed, after as many to warm up")
    wanted = options.parse_args()
    params = harness.params(harness.preset(wanted.preset))
    found = harness.in_process("step", {"params": params, "steps": wanted.steps, "profile": True})
    size = params["train"]["batch_size"]
    harness.report(wanted.out, COLUMNS, table(found, size), preset=wanted.preset, found=found)


def table(found: dict[str, Any], batch_size: int) -> list[list[str]]:
    """The rows: convolutions in order, then the other groups, then the rest of a step."""
    step = found["step"]
    operations = sorted(found["operations"], key=lambda operation: operation[1])
    layers = [layer[0] for name, _, _ in operations if (layer := LAYER.search(name)) and PRODUCT.search(name)]
    parts = {layer: dict.fromkeys(PARTS, 0.0) for layer in layers}  # milliseconds, in the order of the network
    others = dict.fromkeys(GROUPS, 0.0)
    for name, _, milliseconds in operations:
        if layer := LAYER.search(name):
            part = next(part for part, pattern in PARTS.items() if pattern.search(name))
            parts[layer[0]][part] += milliseconds
        else:
            for group, pattern in GROUPS.items():
                others[group] += milliseconds if pattern.search(name) else 0.0
    rows = []
    for times, shape in zip(parts.values(), found["convolutions"], strict=True):
        milliseconds = [times[part] for part in ("forward", "gradient of its input", "of its weights")]
        high, wide, inputs, filters, height, width = shape
        gflop = 2e-9 * high * wide * inputs * filters * height * width * batch_size
        done = gflop * sum(part > 0 for part in milliseconds)
        name = f"{high}x{wide} convolution, {inputs} to {filters}, to {height}x{width}"
        cells = [f"{part:.1f}" if part else "" for part in milliseconds]
        rows.append([name, *cells, f"{sum(milliseconds) / step:.0%}", f"{1000 * done / sum(milliseconds):.0f}"])
    for group, total in others.items():
        rows.append([group, f"{total:.1f}, all", "", "", f"{total / step:.0%}", ""])
    rest = step - sum(sum(times.values()) for times in parts.values()) - sum(others.values())
    rows.append(["the rest", f"{rest:.1f}, all", "", "", f"{rest / step:.0%}", ""])
    return [*rows, ["a step", f"{step:.0f}", "", "", "100%", ""]]


if __name__ == "__main__":
    harness.run(main)
