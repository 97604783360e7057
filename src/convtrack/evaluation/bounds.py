"""How much is written and drawn of a data set with many classes, in one place.

Some things stay whole: reports/per_class.csv has every class, reports/predictions.csv every image.
"""

from __future__ import annotations

ALL_CLASSES = 100  # up to this number, every class is in everything
MOST_PROBABLE = 5  # beyond: the classes of each image in predictions.csv
MOST_CONFUSED = 50  # beyond: the classes in pictures and in MLflow's confusion matrix


def left_out(classes: int) -> str:
    """What the results leave out of a data set with this number of classes, in words; empty for nothing."""
    if classes <= ALL_CLASSES:
        return ""
    return (
        f"Of {classes:,} classes, reports/predictions.csv has the {MOST_PROBABLE} most probable of each image, the "
        f"pictures and MLflow's confusion matrix have the {MOST_CONFUSED} most confused, and MLflow has no recall by "
        "class. reports/per_class.csv has them all."
    )
