"""What a data set asks of whoever trains on it. Each source states it in its own module, as ABOUT."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """mirrored: whether an image seen in a mirror still belongs to its class; True also where nobody can know.

    batch_size: the largest one that trains well, in images, where that was measured.
    own: the images are the user's, at data.path.
    """

    mirrored: bool = True
    batch_size: int | None = None
    own: bool = False
