"""Assign files to splits and classes: train/<class>/* and, optionally, test/<class>/*.

Both may be in one top folder, as in most archives. Other files are skipped and counted: hidden ones (a leading dot, or
__MACOSX), those without an image suffix, and those elsewhere, such as in val/.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from natsort import natsorted

from convtrack.datasets.archive import is_utf8
from convtrack.datasets.images import READ, SUFFIXES
from convtrack.errors import DataError, escaped, listed, shown

RawSplit = Literal["train", "test"]
VAL = ("val", "valid", "validation", "dev")  # folders that are not used: the pipeline takes val from train
HINT = "arrange the images as train/<class>/*.png and optionally test/<class>/*.png (see data/README.md)"


class Location(NamedTuple):
    """The split and class of an image, or of a class folder (`file` is empty). `top`: the folder of train/, test/."""

    top: str
    split: RawSplit
    class_name: str
    file: str

    @property
    def name(self) -> str:
        return f"{self.split}/{self.class_name}/{self.file}"


def locate(name: str, is_folder: bool) -> Location | None:
    """The location of an image or class folder by its path; None for other files and folders."""
    parts = name.split("/")
    if _is_hidden(parts) or not (is_folder or _is_image(name)):
        return None
    depth = _depth(parts)
    if depth is None or len(parts) != depth + (2 if is_folder else 3):
        return None
    split: RawSplit = "train" if parts[depth] == "train" else "test"
    return Location("/".join(parts[:depth]), split, parts[depth + 1], "" if is_folder else parts[-1])


def _depth(parts: list[str], folders: Sequence[str] = ("train", "test")) -> int | None:
    """The number of folders above the folder of a split, 0 or 1; None if there is no such folder."""
    return next((depth for depth, part in enumerate(parts[:2]) if part in folders), None)


def _is_hidden(parts: list[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


@dataclass
class Layout:
    """Collects files by split and class. `what` is the directory or archive, for messages."""

    what: str
    files: dict[RawSplit, dict[str, list[str]]] = field(default_factory=lambda: {"train": {}, "test": {}})
    _top: str | None = None
    _seen: set[str] = field(default_factory=set)
    _reasons: Counter[str] = field(default_factory=Counter)  # number of skipped files: hidden, not_images, …
    _not_read: dict[str, Counter[str]] = field(
        default_factory=dict
    )  # by class folder: files of other formats by suffix
    _deeper: dict[str, str] = field(default_factory=dict)  # by class folder: an image in a subfolder
    _too_deep: str = ""  # the folder of train/, if it is more than one level down

    def add(self, name: str, is_folder: bool, problem: str = "") -> Location | None:
        """Add a file or folder. Returns the location of an image. Raises DataError.

        problem: why it is unknown what it is, else empty.
        """
        parts = name.split("/")
        self._seen.add(parts[0])
        if problem and (locate(name, is_folder=True) or (parts[-1] in ("train", "test") and len(parts) <= 2)):
            raise DataError(
                f"{self.what} has {escaped(name)}, {problem}. Nothing was written",
                "correct or delete the link, then run the same command again",
            )
        depth = _depth(parts)
        if depth is not None and len(parts) > depth + (1 if is_folder else 2):
            self._enter("/".join(parts[: depth + 2]))  # many archives list only files, not folders
        elif depth is None and "train" in parts[2 : None if is_folder else -1] and not _is_hidden(parts):
            found = "/".join(parts[: parts.index("train", 2)])
            self._too_deep = min(found, self._too_deep or found)
        if is_folder:
            return None
        location = locate(name, is_folder)
        if location is None:
            self._skip(name, parts)
            return None
        self._check_name(location)
        self.files[location.split][location.class_name].append(location.file)
        return location

    def _enter(self, name: str) -> None:
        """Add a class folder. Raises DataError."""
        if (folder := locate(name, is_folder=True)) is None:
            return
        if self._top is not None and self._top != folder.top:
            raise DataError(
                f"{self.what} has train/ or test/ in two folders, ./{escaped(self._top)} and ./{escaped(folder.top)}. "
                "Nothing was written",
                "remove one of them, or set data.path to the other",
            )
        self._top = folder.top
        self._check_name(folder)
        self.files[folder.split].setdefault(folder.class_name, [])

    def _skip(self, name: str, parts: list[str]) -> None:
        depth = _depth(parts)
        folder = "/".join(parts[depth : depth + 2]) if depth is not None else ""
        if _is_hidden(parts):
            self._reasons["hidden"] += 1
        elif _is_image(name):
            if depth is None and _depth(parts[:-1], VAL) is not None:
                self._reasons["in_val"] += 1
                return
            self._reasons["misplaced"] += 1
            if depth is not None and len(parts) > depth + 3:
                self._deeper[folder] = min(name, self._deeper.get(folder, name))
        elif depth is not None and len(parts) == depth + 3:
            self._not_read.setdefault(folder, Counter())[PurePosixPath(name).suffix.lower() or parts[-1]] += 1
        else:
            self._reasons["not_images"] += 1

    def left_out(self) -> dict[str, Any]:
        """The number of skipped files by reason; "not_read" (other formats in class folders) also by suffix."""
        found: dict[str, Any] = dict(sorted(self._reasons.items()))
        if not_read := sum(self._not_read.values(), Counter[str]()):
            found["not_read"] = dict(sorted(not_read.items()))
        return found

    @property
    def has_test(self) -> bool:
        return bool(self.files["test"])

    @property
    def classes(self) -> list[str]:
        """All classes in natural order; a label is an index into this list."""
        return in_order({*self.files["train"], *self.files["test"]})

    def finish(self) -> None:
        """Sort classes and files in natural order. Raises DataError if the layout is invalid."""
        self._check_spelling()
        for split, classes in self.files.items():
            self.files[split] = {name: in_order(classes[name]) for name in in_order(classes)}
            for name, files in self.files[split].items():
                if twice := next((one for one, other in pairwise(files) if one == other), None):
                    raise DataError(
                        f"{self.what} contains {escaped(f'{split}/{name}/{twice}')} twice. Nothing was written", HINT
                    )
        if not self.files["train"] and self._too_deep:
            raise DataError(
                f"{self.what} has train/ too deep, in {escaped(self._too_deep)}/. Nothing was written",
                f"set data.path to {escaped(f'{self.what}/{self._too_deep}')} (extract an archive first)",
            )
        if not self.files["train"]:
            top = ", ".join(map(shown, in_order(self._seen)[:8])) or "nothing"
            raise DataError(f"{self.what} has no train/<class>/ folders, but {top}. Nothing was written", HINT)
        self._explain_empty()
        self.check({name: len(files) for name, files in self.files["train"].items()}, "train")
        self.check({name: len(files) for name, files in self.files["test"].items()}, "test")

    def _explain_empty(self) -> None:
        """Raise DataError for class folders whose images are too deep or in other formats."""
        empty = [
            f"{split}/{name}" for split, classes in self.files.items() for name, files in classes.items() if not files
        ]
        if deeper := [self._deeper[folder] for folder in empty if folder in self._deeper]:
            raise DataError(
                f"{self.what} has its images one folder too deep: {listed(deeper, 3)}. Nothing was written",
                "move them directly into train/<class>/ and test/<class>/",
            )
        if not_read := [folder for folder in empty if folder in self._not_read]:
            suffixes = sum((self._not_read[folder] for folder in not_read), Counter[str]())
            counts = [f"{count:,} {suffix}" for suffix, count in suffixes.most_common()]
            raise DataError(
                f"{self.what} has no supported images, but {listed(counts, 5)}, in {listed(not_read)} "
                f"(supported: {READ}). Nothing was written",
                "convert them to PNG or JPEG, then run the same command again",
            )

    def _check_name(self, location: Location) -> None:
        """Raise DataError for a name with control characters or one that is not UTF-8."""
        if any(unicodedata.category(character) == "Cc" for character in location.name):
            raise DataError(
                f"{self.what} contains {shown(location.name)}, a name with a control character. Nothing was written",
                "rename it, then run the same command again",
            )
        if not is_utf8(location.name):
            raise DataError(
                f"{self.what} contains {shown(location.name)}, a name that is not UTF-8. Nothing was written",
                "extract an archive with its own encoding (unzip -O cp437, or cp932, gbk, cp1252, …) and set data.path "
                "to the folder; in a folder, rename with convmv -f latin1 -t utf-8 -r --notest FOLDER",
            )

    def _check_spelling(self) -> None:
        """Raise DataError for class names that differ only in their Unicode normalization, as on macOS."""
        spellings: dict[str, list[str]] = {}
        for name in self.classes:
            spellings.setdefault(unicodedata.normalize("NFC", name), []).append(name)
        if twice := next((names for names in spellings.values() if len(names) > 1), None):
            found = [
                f"{split}/{ascii(name)[1:-1]}" for name in twice for split in self.files if name in self.files[split]
            ]
            raise DataError(
                f"{self.what} has a class whose name is written in {len(twice)} Unicode normalizations: "
                f"{listed(found)}. Nothing was written",
                "give the folders the same name (convmv -f utf-8 -t utf-8 --nfc -r --notest FOLDER), or different "
                "names if they are two classes",
            )

    def check(self, counts: Mapping[str, int], split: RawSplit) -> None:
        """Check that each class has enough images for all splits. Raises DataError naming the classes."""
        if split == "test" and not self.has_test:
            return
        problems = []
        if len(counts) == 1:
            problems.append(f"only one class, {escaped(next(iter(counts)))}; at least 2 are needed")
        if missing := [name for name in self.files["train"] if name not in counts]:
            problems.append(f"classes in train/ but not in test/: {listed(missing)}")
        if extra := [name for name in counts if name not in self.files["train"]]:
            problems.append(f"classes in test/ but not in train/: {listed(extra)}")
        if empty := [f"{split}/{name}" for name, count in counts.items() if count == 0]:
            problems.append(f"class folders without images: {listed(empty)}")
        least, why = (1, "") if split == "test" else (2, ", one of them for val")
        if not self.has_test:
            least, why = 3, ", one of them for val and one for test"
        if few := [f"{split}/{name} ({count})" for name, count in counts.items() if 0 < count < least]:
            problems.append(f"classes with fewer than {least} images{why}: {listed(few)}")
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise DataError(
                f"{self.what} cannot be used for training; nothing was written\n{lines}",
                "add images to these classes or remove their folders, then run the same command again",
            )


def in_order(names: Iterable[str]) -> list[str]:
    """`names` in natural order (2 before 10); sorted first, since natsort treats 1 and 01 as equal."""
    return natsorted(sorted(names))
