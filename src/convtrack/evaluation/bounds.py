"""Limits on what is written and drawn for data sets with many classes.

reports/per_class.csv always has every class, and reports/predictions.csv every image.
"""

from __future__ import annotations

ALL_CLASSES = 100  # up to this number of classes, nothing is left out
MOST_PROBABLE = 5  # above it: classes per image in predictions.csv
MOST_CONFUSED = 50  # above it: classes in pictures and in MLflow's confusion matrix


def left_out(classes: int) -> str:
    """A note on what the results leave out for this number of classes; empty if nothing."""
    if classes <= ALL_CLASSES:
        return ""
    return (
        f"Of {classes:,} classes, reports/predictions.csv has the {MOST_PROBABLE} most probable for each image. The "
        f"pictures and MLflow's confusion matrix have the {MOST_CONFUSED} most confused classes, and MLflow has no "
        "recall by class. reports/per_class.csv has all classes."
    )
