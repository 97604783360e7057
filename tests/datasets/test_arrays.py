import hashlib

import numpy as np
import pytest

from convtrack.datasets import arrays
from convtrack.datasets.arrays import ArrayWriter, block_count, blocks, write_array

ROWS = np.arange(7 * 3 * 2, dtype=np.uint8).reshape(7, 3, 2)


def test_an_array_written_in_parts_is_read_back_and_its_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "a.npy"
    with ArrayWriter(path, ROWS.shape) as writer:
        writer.append(ROWS[:4])
        writer.append(ROWS[4:])
        digest = writer.digest()
    assert (np.load(path) == ROWS).all()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_the_file_is_the_one_that_numpy_writes(tmp_path):
    write_array(tmp_path / "ours.npy", ROWS)
    np.save(tmp_path / "numpys.npy", ROWS)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


def test_rows_that_do_not_fit_or_are_missing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="do not fit"), ArrayWriter(tmp_path / "a.npy", ROWS.shape) as writer:
        writer.append(ROWS.astype(np.int64))
    missing = pytest.raises(ValueError, match="4 rows were written into an array of 7")
    with missing, ArrayWriter(tmp_path / "a.npy", ROWS.shape) as writer:
        writer.append(ROWS[:4])


@pytest.mark.parametrize("mapped", [True, False])
def test_blocks_put_together_are_the_array(mapped, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * ROWS[0].nbytes)
    write_array(tmp_path / "a.npy", ROWS)
    array = np.load(tmp_path / "a.npy", mmap_mode="r") if mapped else ROWS
    for part in (array, array[3:], array[:0]):  # a part of a map must not be taken for the whole
        found = list(blocks(part))
        assert len(found) == block_count(part)
        for place, rows in found:
            assert (rows == part[place]).all()
        assert sum(len(rows) for _, rows in found) == len(part)
