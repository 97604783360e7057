"""How much is written and drawn of a data set with many classes, in one place.

Some things stay whole: reports/per_class.csv has every class, reports/predictions.csv every image.
"""

from __future__ import annotations

ALL_CLASSES = 100  # up to so many classes, everything has all of them
MOST_PROBABLE = 5  # beyond: so many classes of each image in predictions.csv, the most probable ones
MOST_CONFUSED = 50  # beyond: so many classes in pictures and in MLflow's confusion matrix


def left_out(classes: int) -> str:
    """What the results of a data set with so many classes leave out, in a sentence or two; empty for nothing."""
    if classes <= ALL_CLASSES:
        return ""
    return (
        f"Of {classes:,} classes, reports/predictions.csv has the {MOST_PROBABLE} most probable of each image, the "
        f"pictures and MLflow's confusion matrix have the {MOST_CONFUSED} most confused, and MLflow has no recall by "
        "class. reports/per_class.csv has them all."
    )
