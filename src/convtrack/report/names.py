"""Make the names of classes and images, which come from the user's folders and files, printable."""

import re


def shown(name: str, width: int = 24) -> str:
    """`name` in at most `width` characters, with unprintable ones (line breaks, terminal codes) replaced."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return printable if len(printable) <= width else printable[: width - 1] + "…"


def shown_file(name: str, width: int = 16) -> str:
    """The file name of a path, shortened to its last `width` characters, which distinguish files."""
    file = shown(name.rsplit("/", 1)[-1], len(name))
    return file if len(file) <= width else "…" + file[len(file) - width + 1 :]


def in_markdown(text: str) -> str:
    """`text` on one line of Markdown, such as a cell of a table, where none of it is markup."""
    return shown(re.sub(r"([\\`*_|<>\[\]~&$])", r"\\\1", text), 2 * len(text))
