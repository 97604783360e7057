"""Classify a stream of pictures: threads decode the next ones while the network works on those before."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convtrack.datasets.archive import DEFAULT_CAPS
from convtrack.datasets.images import UnreadableImageError
from convtrack.errors import DataError
from convtrack.inference.classifier import BATCH, Classifier
from convtrack.inference.sources import Source
from convtrack.system.processor import usable_cores

MOST_BYTES = 32 * 2**20  # of a batch, decoded; and of its content, if that is in memory
AHEAD = 3  # batches that are decoded before the network wants them


@dataclass(frozen=True)
class Outcome:
    """probabilities: float32 (classes,), or None for a picture that cannot be read, with the problem."""

    source: Source
    probabilities: np.ndarray | None
    problem: str = ""


def outcomes(sources: Iterable[Source], classifier: Classifier) -> Iterator[list[Outcome]]:
    """Classify pictures in batches, in their order. Only a few batches are in memory at a time.

    Raises DataError if the network returns numbers that are not finite.
    """
    height, width, channels = classifier.image_shape
    most = max(1, min(BATCH, MOST_BYTES // (height * width * channels)))
    parts = max(1, usable_cores())
    batches = _batches(sources, most)
    with ThreadPoolExecutor(parts, "convtrack decoding") as pool:

        def begin(batch: list[Source]) -> list[tuple[list[Source], Future[list[np.ndarray | str]]]]:
            step = -(-len(batch) // parts)
            pieces = [batch[start : start + step] for start in range(0, len(batch), step)]
            return [(piece, pool.submit(prepared, piece, classifier)) for piece in pieces]

        coming = deque(map(begin, itertools.islice(batches, AHEAD)))
        try:
            while coming:
                pieces = coming.popleft()
                coming.extend(map(begin, itertools.islice(batches, 1)))
                results = [(piece, future.result()) for piece, future in pieces]
                yield _classified(results, classifier)
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(sources: Iterable[Source], most: int) -> Iterator[list[Source]]:
    """Lists of up to `most` sources, whose bytes in memory are at most MOST_BYTES, or those of one."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        length = len(source.content) if isinstance(source.content, bytes) else 0
        if batch and (len(batch) == most or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += length
    if batch:
        yield batch


def prepared(sources: Sequence[Source], classifier: Classifier) -> list[np.ndarray | str]:
    """The pixels of each picture, uint8 (height, width, channels), or why it cannot be read."""
    found: list[np.ndarray | str] = []
    for source in sources:
        try:
            found.append(source.problem or classifier.prepare(_checked(source.content)))
        except UnreadableImageError as error:
            found.append(str(error))
    return found


def _checked(content: Path | bytes) -> Path | bytes:
    try:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"cannot be read: {getattr(error, 'strerror', error)}") from error
    if size > DEFAULT_CAPS.member:
        raise UnreadableImageError(f"a file of {size:,} bytes (allowed: {DEFAULT_CAPS.member:,})")
    # a pipe has no size, but bytes
    if not size and (isinstance(content, bytes) or content.is_file()):
        raise UnreadableImageError("an empty file")
    return content


def _classified(pieces: list[tuple[list[Source], list[np.ndarray | str]]], classifier: Classifier) -> list[Outcome]:
    pictures = [picture for sources, decoded in pieces for picture in zip(sources, decoded, strict=True)]
    images = [pixels for _, pixels in pictures if not isinstance(pixels, str)]
    found = classifier.probabilities(np.stack(images)) if images else np.empty((0, 0))
    if not np.isfinite(found).all():
        raise DataError(
            "the model returns probabilities that are not finite. What is classified so far is kept",
            "train it again with a lower train.optimizer.learning_rate, or use another model",
        )
    rows = iter(found)
    return [
        Outcome(source, None, pixels) if isinstance(pixels, str) else Outcome(source, next(rows))
        for source, pixels in pictures
    ]
