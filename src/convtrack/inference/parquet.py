"""Rows of predictions as a Parquet file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convtrack.inference.rows import PROBABILITY

GROUP = 10_000  # rows of a row group, of which one is in memory


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows with these columns: probabilities as float32, everything else as strings."""
    import pyarrow as arrow
    import pyarrow.parquet

    numbers = {PROBABILITY} | {at for at, name in enumerate(columns) if "probability" in name and at > PROBABILITY}
    types = [arrow.float32() if at in numbers else arrow.string() for at in range(len(columns))]
    schema = arrow.schema(list(zip(columns, types, strict=True)))
    remaining = iter(rows)
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(remaining, GROUP)):
            arrays = [arrow.array(cells, kind) for cells, kind in zip(zip(*group, strict=True), types, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
