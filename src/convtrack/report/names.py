"""The names of classes and images, which are those of the user's folders and files, made fit to print."""


def shown(name: str, width: int = 24) -> str:
    """`name` in at most `width` characters, those that don't print (line breaks, terminal codes) replaced."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return printable if len(printable) <= width else printable[: width - 1] + "…"


def shown_file(name: str, width: int = 16) -> str:
    """The file at the end of a path in at most `width` characters: the last ones, which tell files apart."""
    file = shown(name.rsplit("/", 1)[-1], len(name))
    return file if len(file) <= width else "…" + file[len(file) - width + 1 :]
