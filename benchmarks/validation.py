"""Val accuracy with moving averages of batch normalization, and with statistics measured before each validation.

Takes: ten minutes, with best among the presets half an hour

Each training runs in its own process, on data/processed (made by `dvc repro preprocess`) or on 3,600 drawings of
circles, squares, stars and triangles on white (--drawings). The last columns are the percentage of the training's time
that measuring takes, and test accuracy.

    make bench NAME=validation
    make bench NAME=validation ARGS="--preset fast --preset best"
    make bench NAME=validation ARGS="--drawings"
"""

from __future__ import annotations

import math
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np
from PIL import Image, ImageDraw

from convtrack import files

SHAPES = ("circle", "square", "star", "triangle")
IMAGES = {"train": 650, "val": 75, "test": 175}  # of each shape


def main() -> None:
    """Train, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", action="append", help="of presets/; may be given again (default: fast)")
    options.add_argument("--drawings", action="store_true", help="on outlines that are drawn here")
    options.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="another value, as in dvc -S")
    wanted = options.parse_args()
    trainings = {}
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        folder = Path(name)
        if wanted.drawings:
            draw(folder / files.PROCESSED)
        else:
            (folder / "data").mkdir()
            (folder / files.PROCESSED).symlink_to(harness.ROOT / files.PROCESSED)
        data = files.read_json(folder / files.PROCESSED / files.DATASET)["source"]["name"]
        for preset in wanted.preset or ["fast"]:
            harness.say(f"training {preset} on {data}")
            content = harness.params(changed(harness.preset(preset), wanted.set))
            trainings[preset] = harness.in_process("validation", {"params": content}, folder=folder)
            shutil.rmtree(folder / files.STATE, ignore_errors=True)
    columns = ["data", "preset", "val accuracy", *(str(epoch + 1) for epoch in range(longest(trainings)))]
    rows = [row for preset, training in trainings.items() for row in lines(data, preset, training)]
    columns += ["measuring, % of seconds", "test"]
    width = len(columns)
    rows = [row[:-2] + [""] * (width - len(row)) + row[-2:] for row in rows]
    harness.report(wanted.out, columns, rows, data=data, trainings=trainings)


def changed(sections: dict[str, Any], values: list[str]) -> dict[str, Any]:
    """`sections` with each PATH=VALUE set; values are YAML."""
    import yaml

    for value in values:
        path, _, text = value.partition("=")
        *parents, name = path.split(".")
        section = sections
        for parent in parents:
            section = section[parent]
        section[name] = yaml.safe_load(text)
    return sections


def longest(trainings: dict[str, Any]) -> int:
    """The number of epochs of the longest training."""
    return max(len(training["epochs"]) for training in trainings.values())


def lines(data: str, preset: str, training: dict[str, Any]) -> list[list[str]]:
    """The two rows of a training."""
    share = f"{100 * training['measuring'] / training['seconds']:.2f}"
    return [
        [data, preset, what, *(f"{epoch[kind]:.3f}" for epoch in training["epochs"]), *last]
        for kind, what, last in (
            ("moving", "moving averages", ["", ""]),
            ("measured", "measured", [share, f"{training['test_accuracy']:.4f}"]),
        )
    ]


def draw(processed: Path) -> None:
    """Write data/processed with outlines of SHAPES, black on white, 32x32 pixels."""
    chance = random.Random(0)
    processed.mkdir(parents=True)
    for split, count in IMAGES.items():
        images = np.stack([np.asarray(outline(shape, chance)) for shape in SHAPES for _ in range(count)])
        np.save(files.images_path(processed, split), images)
        np.save(files.labels_path(processed, split), np.repeat(np.arange(len(SHAPES)), count))
        if split == "train":
            pixels = images / 255
            mean, std = ([float(value) for value in each] for each in (pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))))
    dataset = {"classes": list(SHAPES), "image_shape": [32, 32, 3], "counts": IMAGES, "mean": mean, "std": std}
    files.write_json(processed / files.DATASET, dataset | {"source": {"name": "drawings"}})


def outline(shape: str, chance: random.Random) -> Image.Image:
    """One of SHAPES with random position, size, angle and line width."""
    image = Image.new("RGB", (128, 128), "white")
    pen, width = ImageDraw.Draw(image), chance.choice([4, 6, 8])
    x, y, radius, turn = chance.uniform(45, 83), chance.uniform(45, 83), chance.uniform(20, 42), chance.uniform(0, 7)
    if shape == "circle":
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline="black", width=width)
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[shape]
        points = []
        for corner in range(corners):
            reach = radius * (0.45 if shape == "star" and corner % 2 else 1)
            angle = turn + 2 * math.pi * corner / corners
            points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        pen.line([*points, points[0]], fill="black", width=width, joint="curve")
    return image.resize((32, 32), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    harness.run(main)
