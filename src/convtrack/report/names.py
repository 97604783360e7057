"""The names of classes, which are those of the user's folders, made fit to print."""


def shown(name: str, width: int = 24) -> str:
    """`name` in at most `width` characters, those that don't print (line breaks, terminal codes) replaced."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return printable if len(printable) <= width else printable[: width - 1] + "…"
