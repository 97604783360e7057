"""The section on confidence: calibration, and accuracy by confidence threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from convtrack.errors import counted
from convtrack.evaluation import metrics
from convtrack.params.evaluate import Evaluate
from convtrack.report.results import Results
from convtrack.report.summary import percent
from convtrack.report.svg import Bar, Line, chart, in_percent

THRESHOLDS = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])


def section(found: Results, evaluate: Evaluate) -> dict[str, Any]:
    """The variables of this section."""
    right, confidence = found.labels == found.predicted, found.probabilities[:, 0]
    mean, accuracy = float(confidence.mean()), float(right.mean())
    tendency = "overconfident" if mean > accuracy else "underconfident"
    error = metrics.calibration_error(right, confidence, evaluate.calibration_bins)
    decided = metrics.by_threshold(right, confidence, THRESHOLDS)
    rows = [
        [
            percent(row["threshold"], 0),
            f"{row['images']:,} ({percent(row['fraction'])})",
            percent(row["accuracy"], 2) if row["images"] else "",
            f"{row['mistakes']:,}",
            f"{len(right) - row['images']:,} ({percent(1 - row['fraction'])})",
        ]
        for row in decided.to_dict("records")
    ]
    return {
        "caption": (
            f"Confidence is the highest probability. On average it is {percent(mean)}, and {percent(accuracy)} of the "
            f"images are right: the model is {tendency}. The expected calibration error is {error:.4f}."
        ),
        "charts": [*_calibration(right, confidence, evaluate.calibration_bins), _thresholds(right, confidence)],
        "rows": rows,
    }


def _calibration(right: np.ndarray, confidence: np.ndarray, bins: int) -> list[dict[str, Any]]:
    table = metrics.calibration(right, confidence, bins)
    filled = table[table["images"] > 0]
    rows = [(row, counted(row["images"], "image")) for row in table.to_dict("records")]
    accuracy = [
        Bar(row["low"], row["high"], row["accuracy"], f"{count}: {percent(row['accuracy'])} right")
        for row, count in rows
        if row["images"]
    ]
    images = [Bar(row["low"], row["high"], row["images"], count) for row, count in rows]
    lines = [
        Line("perfect calibration", [0, 1], [0, 1], "grey", dashed=True),
        Line("mean confidence and accuracy", filled["confidence"].to_numpy(), filled["accuracy"].to_numpy(), "orange"),
    ]
    whole: dict[str, Any] = {"y_limits": (0.0, 1.0), "show_x": in_percent, "show_y": in_percent}
    words = "accuracy by confidence, beside the diagonal of perfect calibration"
    return [
        chart("Calibration: accuracy by confidence", words, "confidence", lines, accuracy, **whole),
        chart(
            "Test images by confidence",
            f"most images have a confidence of {percent(table['low'].iloc[int(table['images'].argmax())], 0)} or more",
            "confidence",
            bars=images,
            y_limits=(0, float(table["images"].max())),
            show_x=in_percent,
        ),
    ]


def _thresholds(right: np.ndarray, confidence: np.ndarray) -> dict[str, Any]:
    table = metrics.by_threshold(right, confidence, np.linspace(0, 1, 101))
    x = table["threshold"].to_numpy()
    lines = [
        Line("accuracy at or above the threshold", x, table["accuracy"].to_numpy(), "orange"),
        Line("fraction of the images", x, table["fraction"].to_numpy(), "blue", dashed=True),
    ]
    words = "accuracy of the images whose confidence reaches the threshold, and their fraction of all images"
    how: dict[str, Any] = {"y_limits": (0.0, 1.0), "show_x": in_percent, "show_y": in_percent}
    return chart("Accuracy by confidence threshold", words, "threshold", lines, **how)
