import json
import resource
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

import pytest
from PIL import Image

from convtrack import files
from convtrack.datasets import SOURCES
from convtrack.errors import DataError
from convtrack.params.data import Data
from convtrack.stages import download

# the stage in a process of its own, for the sake of what is done to that process: in each folder, with a section `data`
RUN = """
import json, os, sys
from convtrack.params.data import Data
from convtrack.errors import ConvtrackError
from convtrack.datasets import SOURCES, source
from convtrack.stages import download
loaded = [source(name) for name in SOURCES]  # the others may not read Python's own files
if sys.argv[1] == "nobody" and os.geteuid() == 0:  # nothing is read-only for root
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for folder, given in json.loads(sys.argv[2]):
    os.chdir(folder)
    try:
        download.run(Data.model_validate(given))
    except ConvtrackError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def errors(folders, *, user="us", **options):
    """What a process of `user` says that downloads in each folder, with what the section `data` has there."""
    given = [(str(folder), data(**{"name": "image_folder"} | changes).model_dump()) for folder, changes in folders]
    command = [sys.executable, "-B", "-c", RUN, user, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def data(name="digits", **changes):
    parameters = {"path": "images", "archive": None, "image_size": None, "test_fraction": 0.25, "seed": 0}
    return Data.model_validate({"name": name, "unreadable": "refuse", **parameters, **changes})


@pytest.fixture(autouse=True)
def at_an_empty_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def images(tmp_path):
    """A folder of six images in two classes."""
    for name in ("cat", "dog"):
        (tmp_path / "images/train" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4), (number, 2, 3)).save(tmp_path / "images/train" / name / f"{number}.png")
    return tmp_path / "images"


def test_every_name_that_params_allow_has_a_source():
    assert set(SOURCES) == set(typing.get_args(Data.model_fields["name"].annotation))


def test_the_stage_writes_its_arrays_and_what_is_in_them(tmp_path, capsys):
    download.run(data())
    source = files.read_json(files.RAW / files.SOURCE)
    assert sorted(path.name for path in files.RAW.iterdir()) == [
        "source.json",
        "test_images.npy",
        "test_labels.npy",
        "test_names.jsonl",
        "train_images.npy",
        "train_labels.npy",
        "train_names.jsonl",
    ]
    for split, count in source["counts"].items():
        arrays = files.read_arrays(files.RAW, split)
        assert arrays.images.shape == (count, *source["image_shape"])
        assert (arrays.images.dtype.name, arrays.labels.dtype.name) == ("uint8", "int64")
        assert len(list(files.read_names(files.RAW, split))) == count
    assert list(source) == ["name", "classes", "counts", "image_shape", "files", "left_out"]
    printed = capsys.readouterr().out
    assert "digits: 1,346 train and 451 test images of 32x32x1 in 10 classes: 0, 1, 2" in printed


def test_what_was_left_out_is_said(images, capsys):
    (images / "notes.txt").write_text("hello")
    (images / "train/cat/broken.png").write_bytes(b"")
    download.run(data("image_folder", unreadable="skip"))
    assert "skipped 1 file that is not an image, 1 unreadable image" in capsys.readouterr().out


def test_names_of_classes_are_escaped_when_they_are_printed(images, capsys):
    (images / "train/cat").rename(images / "train/c\u202eat")
    download.run(data("image_folder"))
    assert "2 classes: c\\u202eat, dog" in capsys.readouterr().out
    assert files.read_json(files.RAW / files.SOURCE)["classes"] == ["c\u202eat", "dog"]


def test_the_same_input_gives_the_same_bytes(images, tmp_path):
    for folder in ("one", "two"):
        download.download(data("image_folder"), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_bad_data_leaves_nothing_half_written_and_what_was_there_before(images):
    download.run(data("image_folder"))
    before = (files.RAW / files.SOURCE).read_bytes()
    (images / "train/dog/2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"train/dog/2\.png"):
        download.run(data("image_folder"))
    assert (files.RAW / files.SOURCE).read_bytes() == before
    assert [path.name for path in files.RAW.parent.iterdir()] == ["raw"]


def test_with_no_space_left_the_error_names_the_place_and_nothing_is_written(images, tmp_path):
    for path in images.rglob("*.png"):  # larger than what is gathered before it is written
        Image.new("RGB", (64, 64)).save(path)

    def little_space():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    (said,) = errors([(".", {})], preexec_fn=little_space)
    assert said.startswith("StorageError: data/raw cannot be written: File too large")
    assert "a temporary copy of the decoded images takes 73,728 bytes" in said
    assert "next: raise the limit on file sizes" in said
    assert list((tmp_path / "data").iterdir()) == []


CLOSED = [
    ({"name": "cifar10", "archive": "data/raw.tar.gz"}, "data/raw.tar.gz", "data.archive: data/raw.tar.gz"),
    ({"name": "cifar10", "archive": "own/a.tar.gz"}, "own", "data.archive: own/a.tar.gz"),
    ({"path": "data/raw.tar.gz"}, "data/raw.tar.gz", "data/raw.tar.gz"),
    ({"path": "own/images"}, "own", "data.path: own/images"),
    ({"path": "own"}, "own/train", "own/train"),
    ({"path": "linked"}, "own", "linked has train, a link to ../own/train: Permission denied"),
]


def test_what_may_not_be_read_or_written_is_named():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        folders = []
        Path(folder).chmod(0o755)
        for number, (given, closed, _) in enumerate(CLOSED):
            root = Path(folder) / str(number)
            (root / "own/train/cat").mkdir(parents=True)
            (root / "data").mkdir()
            (root / "data").chmod(0o777)
            (root / "data/raw.tar.gz").write_bytes(b"packed")
            (root / "linked").mkdir()
            (root / "linked/train").symlink_to("../own/train")
            (root / closed).chmod(0)
            folders.append((root, given))
        (read_only := Path(folder) / "read-only" / "data").mkdir(parents=True)
        read_only.chmod(0o555)
        *unread, unwritten = errors([*folders, (read_only.parent, {})], user="nobody")
        for (root, _), (_, closed, expected), said in zip(folders, CLOSED, unread, strict=True):
            (root / closed).chmod(0o755)
            assert said.startswith(f"DataError: {expected}")
            assert "Permission denied" in said
            assert "data/raw cannot be written" not in said
        assert unwritten.startswith("StorageError: data/raw cannot be written: Permission denied")
        assert "next: give yourself permission to write data" in unwritten
        assert list(read_only.iterdir()) == []


def test_a_val_folder_is_said_to_be_unused_and_recorded(images, capsys):
    for name in ("val/cat/1.png", "top/validation/cat/1.png", "val/loose.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    download.run(data("image_folder"))
    printed = capsys.readouterr().out
    assert "skipped 3 images in val/" in printed
    assert "warning: the images in val/ are not used" in printed
    assert files.read_json(files.RAW / files.SOURCE)["left_out"]["in_val"] == 3


def test_files_of_formats_that_are_not_read_are_named_by_the_end_of_their_name(images, capsys):
    (images / "train/cat/1.heic").touch()
    (images / "train/dog/2.heic").touch()
    download.run(data("image_folder"))
    assert "skipped 2 files in unsupported formats (.heic)" in capsys.readouterr().out


def test_neither_tensorflow_nor_mlflow_is_loaded():
    program = (
        "import sys\n"
        "from convtrack.stages import download, preprocess\n"
        "from convtrack.datasets import SOURCES, source\n"
        "loaded = [source(name) for name in SOURCES]\n"
        "sys.exit(bool({'tensorflow', 'keras', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
