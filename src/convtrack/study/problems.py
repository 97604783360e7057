"""What is wrong with a space, before a trial is spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convtrack.config import Study


def find(study: Study, content: dict[str, Any], image_shape: Sequence[int] | None) -> list[str]:
    """Every problem, as `where: what is allowed. Received: what was got`."""
    return []
