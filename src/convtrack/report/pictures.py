"""All pictures by file name. A new one is a function of Results and Evaluate, and an entry in `PICTURES`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

from convtrack import files
from convtrack.params.evaluate import Evaluate
from convtrack.report import charts, results, thumbnails
from convtrack.report.style import style

PICTURES: dict[str, Callable[[results.Results, Evaluate], Figure]] = {
    "curves.png": charts.curves,
    "confusion.png": charts.confusion,
    "per_class.png": charts.per_class,
    "calibration.png": charts.calibration,
    "confused.png": thumbnails.confused,
    "ambiguous.png": thumbnails.ambiguous,
}


def draw(found: results.Results, evaluate: Evaluate) -> None:
    """Draw all pictures into reports/pictures, atomically.

    Raises StorageError if a file cannot be written.
    """
    with files.atomic_folder(files.PICTURES) as folder, mpl.rc_context(style()), warnings.catch_warnings():
        # characters that no installed font has are drawn as boxes; do not warn about each
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for name, picture in PICTURES.items():
            # without matplotlib's version in the metadata, equal pictures have equal bytes
            picture(found, evaluate).savefig(folder / name, metadata={"Software": None})
