import hashlib
import subprocess
import sys

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


def test_a_file_that_finds_no_room_says_how_much_it_takes(tmp_path):
    size = 128 + ROWS.nbytes  # numpy's header is 128 bytes long
    program = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from convtrack.datasets.arrays import write_array\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: write_array(Path(sys.argv[1]), np.zeros((7, 3, 2), np.uint8))\n"
        "except OSError as error: sys.exit(error.__notes__[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.npy"], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == f"a.npy takes {size} bytes"
