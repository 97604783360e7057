"""Which files are images of which split and class: train/<class>/* and, optionally, test/<class>/*.

Both may lie below one top folder, as in most archives. What is hidden (a leading dot, or macOS's __MACOSX), is no
image by its name, or lies somewhere else is left out and counted.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from natsort import natsorted

from convtrack.datasets.archive import is_utf8
from convtrack.datasets.images import SUFFIXES
from convtrack.errors import DataError, escaped, shown

RawSplit = Literal["train", "test"]
HINT = "lay the images out as train/<class>/*.png and, if you have them, test/<class>/*.png (see data/images/README.md)"
_LEAST = {"train": 2, "test": 1}  # images in a class: train gives one to val
_LEAST_WITHOUT_TEST = 3


class Place(NamedTuple):
    """Where an image belongs, or, with an empty `file`, a class folder. `top` is what stands before train/ or test/."""

    top: str
    split: RawSplit
    class_name: str
    file: str

    @property
    def name(self) -> str:
        return f"{self.split}/{self.class_name}/{self.file}"


def locate(name: str, is_folder: bool) -> Place | None:
    """The place of a file or folder by its name; None where it has none."""
    parts = name.split("/")
    if _is_hidden(parts) or not (is_folder or _is_image(name)):
        return None
    depth = next((depth for depth, part in enumerate(parts[:2]) if part in ("train", "test")), None)
    if depth is None or len(parts) != depth + (2 if is_folder else 3):
        return None
    split: RawSplit = "train" if parts[depth] == "train" else "test"
    return Place("/".join(parts[:depth]), split, parts[depth + 1], "" if is_folder else parts[-1])


def _is_hidden(parts: list[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


@dataclass
class Layout:
    """Collects names; files by split and class. `what` is the directory or archive, for messages."""

    what: str
    files: dict[RawSplit, dict[str, list[str]]] = field(default_factory=lambda: {"train": {}, "test": {}})
    left_out: Counter[str] = field(default_factory=Counter)  # files by reason: hidden, not_images, misplaced
    _top: str | None = None
    _seen: set[str] = field(default_factory=set)

    def add(self, name: str, is_folder: bool) -> Place | None:
        """Take note of a file or folder. Returns the place if it is an image that has one. Raises DataError."""
        self._seen.add(name.split("/", 1)[0])
        place = locate(name, is_folder)
        if place is None:
            if not is_folder:
                reason = "hidden" if _is_hidden(name.split("/")) else "misplaced" if _is_image(name) else "not_images"
                self.left_out[reason] += 1
            return None
        if self._top is not None and self._top != place.top:
            raise DataError(
                f"{self.what} has train/ or test/ in two places, ./{escaped(self._top)} and ./{escaped(place.top)}. "
                "Nothing was written",
                "leave one of them, or point data.path at it",
            )
        self._top = place.top
        self._check_name(place)
        files = self.files[place.split].setdefault(place.class_name, [])
        if not place.file:
            return None
        files.append(place.file)
        return place

    @property
    def has_test(self) -> bool:
        return bool(self.files["test"])

    @property
    def classes(self) -> list[str]:
        """The classes of the whole data set in natural order: a label is a position in this list."""
        return in_order({*self.files["train"], *self.files["test"]})

    def finish(self) -> None:
        """Put classes and files into natural order. Raises DataError where the layout cannot be trained on."""
        self._check_spelling()
        for split, classes in self.files.items():
            self.files[split] = {name: in_order(classes[name]) for name in in_order(classes)}
            for name, files in self.files[split].items():
                if twice := next((one for one, other in pairwise(files) if one == other), None):
                    raise DataError(
                        f"{self.what} holds {escaped(f'{split}/{name}/{twice}')} twice. Nothing was written", HINT
                    )
        if not self.files["train"]:
            top = ", ".join(map(shown, in_order(self._seen)[:8])) or "nothing"
            raise DataError(f"{self.what} has no train/<class>/ folders; at its top: {top}. Nothing was written", HINT)
        self.check({name: len(files) for name, files in self.files["train"].items()}, "train")
        self.check({name: len(files) for name, files in self.files["test"].items()}, "test")

    def _check_name(self, place: Place) -> None:
        """Refuse a name that a table or a terminal would take for more than one line, or that is no text at all."""
        if any(unicodedata.category(character) == "Cc" for character in place.name):
            raise DataError(
                f"{self.what} holds {shown(place.name)}, a name with a control character. Nothing was written",
                "rename it and run the same command again",
            )
        if not is_utf8(place.name):
            raise DataError(
                f"{self.what} holds {shown(place.name)}, a name that is not in UTF-8. Nothing was written",
                "unpack an archive with the encoding of whoever packed it (unzip -O cp437, or cp932, gbk, cp1252, …) "
                "and give the folder; in a folder, rename with convmv -f latin1 -t utf-8 -r --notest FOLDER",
            )

    def _check_spelling(self) -> None:
        """Refuse classes that look the same, as é of one and of two characters do; macOS writes the second."""
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
                "rename the folders alike (convmv -f utf-8 -t utf-8 --nfc -r --notest FOLDER), or give them other "
                "names if they are two classes",
            )

    def check(self, counts: Mapping[str, int], split: RawSplit) -> None:
        """Hold the images by class against what three splits need. Raises DataError naming the classes."""
        if split == "test" and not self.has_test:
            return
        problems = []
        if len(counts) == 1:
            problems.append(f"there is a single class, {escaped(next(iter(counts)))}; a network needs 2 to tell apart")
        if missing := [name for name in self.files["train"] if name not in counts]:
            problems.append(f"classes in train/ but not in test/: {listed(missing)}")
        if extra := [name for name in counts if name not in self.files["train"]]:
            problems.append(f"classes in test/ but not in train/: {listed(extra)}")
        if empty := [f"{split}/{name}" for name, count in counts.items() if count == 0]:
            problems.append(f"class folders without an image: {listed(empty)}")
        least, why = (1, "") if split == "test" else (2, ", one of them for val")
        if not self.has_test:
            least, why = 3, ", one of them for val and one for test"
        if few := [f"{split}/{name} ({count})" for name, count in counts.items() if 0 < count < least]:
            problems.append(f"classes with fewer than {least} images{why}: {listed(few)}")
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise DataError(
                f"{self.what} cannot be trained on; nothing was written\n{lines}",
                "add images to these classes, or move their folders away, and run the same command again",
            )


def in_order(names: Iterable[str]) -> list[str]:
    """`names` in natural order (2 before 10), whatever order they came in: natsort takes 1 and 01 for equal."""
    return natsorted(sorted(names))


def listed(names: Sequence[str], at_most: int = 10) -> str:
    """The names in a line, the first ten of them, fit for a terminal."""
    rest = len(names) - at_most
    return ", ".join(map(escaped, names[:at_most])) + (f" and {rest:,} more" if rest > 0 else "")
