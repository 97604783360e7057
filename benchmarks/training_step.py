"""A training step under the settings that docs/decisions/cpu-speed.md chooses from.

Takes: 10 minutes

Each setting runs in its own process, all in turn, several times. The ratio is to the first setting.

    make bench NAME=training_step
    .venv/bin/python benchmarks/training_step.py --preset fast --steps 10 --repeat 3
"""

from __future__ import annotations

import harness

SETTINGS: dict[str, dict[str, str]] = {
    "as convtrack trains": {},
    "op determinism off": {"BENCH_DETERMINISM": "0"},
    "TensorFlow's own threads": {"BENCH_DETERMINISM": "0", "BENCH_THREADS": "0"},
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "small images without products": {"BENCH_PRODUCTS": "0"},
    "Keras's own layers": {"BENCH_FUSED": "0"},
    "XLA": {"BENCH_DETERMINISM": "0", "BENCH_XLA": "1"},
}


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", default="fast")
    options.add_argument("--steps", type=harness.positive, default=20, help="that are timed, after as many to warm up")
    options.add_argument("--repeat", type=harness.positive, default=3, help="turns")
    options.add_argument("--setting", choices=SETTINGS, nargs="+", default=list(SETTINGS), help="default: all")
    wanted = options.parse_args()
    settings = {"params": harness.params(harness.preset(wanted.preset)), "steps": wanted.steps}
    turns: list[dict[str, dict[str, float]]] = []
    for number in range(wanted.repeat):
        turns.append({})
        for name in wanted.setting:
            harness.say(f"turn {number + 1} of {wanted.repeat}: {name}")
            turns[-1][name] = harness.in_process("step", settings, environment=SETTINGS[name])
    rows = [row(name, wanted.setting[0], turns) for name in wanted.setting]
    harness.report(
        wanted.out, ["setting", "images a second", "ratio", "CPU ms an image"], rows, preset=wanted.preset, turns=turns
    )


def row(name: str, first: str, turns: list[dict[str, dict[str, float]]]) -> list[str]:
    """A row of the table: medians, and the median of the ratios within a turn."""
    speed = harness.middle(turn[name]["images_per_second"] for turn in turns)
    ratio = harness.middle(turn[name]["images_per_second"] / turn[first]["images_per_second"] for turn in turns)
    cpu = harness.middle(turn[name]["cpu_ms_per_image"] for turn in turns)
    return [name, f"{speed:.0f}", f"{ratio:.2f}", f"{cpu:.2f}"]


if __name__ == "__main__":
    harness.run(main)
