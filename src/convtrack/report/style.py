"""The style of the pictures."""

from __future__ import annotations

from typing import Any

from matplotlib import font_manager

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with any kind of colour vision
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"

# the first has Latin, Greek and Cyrillic; the others are fallbacks for class names in other scripts
FONTS = ["DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei", "Noto Sans Arabic"]


def style() -> dict[Any, Any]:
    """Settings for matplotlib."""
    installed = set(font_manager.get_font_names())
    return {
        "font.family": [name for name in FONTS if name in installed],
        "text.parse_math": False,  # a class may be called $x$
        "savefig.dpi": 110,
        "figure.titlesize": 13,
        "figure.titleweight": "bold",
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "legend.frameon": False,
        "figure.constrained_layout.w_pad": 0.1,  # inches
        "figure.constrained_layout.h_pad": 0.1,
    }
