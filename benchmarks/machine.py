"""Peak throughput: GFLOP/s of a large matrix product.

Takes: half a minute

In float32, and in 16-bit precision if the processor has it, by TensorFlow with the threads of a training.

    make bench NAME=machine
    .venv/bin/python benchmarks/machine.py --sizes 512 --repeat 3
"""

from __future__ import annotations

from typing import Any

import harness

SIZES, REPEAT = (2048, 4096), 7


def matrix_products(sizes: tuple[int, ...] = SIZES, repeat: int = REPEAT) -> list[dict[str, Any]]:
    """Rows of precision, size and `gflop_per_second`, one number per repetition."""
    return harness.in_process("matmul", {"sizes": sizes, "repeat": repeat})["rows"]


def peak() -> float:
    """GFLOP/s of the fastest precision and size at this moment: the median of three products."""
    return max(harness.middle(row["gflop_per_second"]) for row in matrix_products(repeat=3))


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--sizes", type=harness.positive, nargs="+", default=SIZES, help="sides of the matrices")
    options.add_argument("--repeat", type=harness.positive, default=REPEAT, help="products of each kind")
    wanted = options.parse_args()
    measured = matrix_products(tuple(wanted.sizes), wanted.repeat)
    rows = [
        [
            row["precision"],
            f"{row['size']} x {row['size']}",
            f"{harness.middle(row['gflop_per_second']):.0f}",
            f"{max(row['gflop_per_second']):.0f}",
        ]
        for row in measured
    ]
    harness.report(wanted.out, ["precision", "matrices", "GFLOP/s, median", "GFLOP/s, best"], rows, measured=measured)


if __name__ == "__main__":
    harness.run(main)
