"""The documentation is short, its links lead somewhere, and its commands exist with the options that it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from convtrack.cli.main import cli

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md", ROOT / "data/README.md"]
MOST_WORDS = 12_000

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^ {4,}(?![-*] ).+$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PROGRAMS = ("convtrack", "make")


def commands(text: str) -> Iterator[list[str]]:
    """Each command of convtrack or make in a document, as its words."""
    code = [line for block in FENCED.findall(text) for line in block.splitlines()]
    rest = FENCED.sub("", text)
    code += [line.strip() for line in INDENTED.findall(rest)]
    code += [" ".join(span.split()) for span in SPAN.findall(INDENTED.sub("", rest))]
    for line in code:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a quotation mark that stands alone: not a command line
            continue
        while words:
            end = next((index for index, word in enumerate(words) if word in ("&&", ";", "|")), len(words))
            first, words = words[:end], words[end + 1 :]
            while first and re.fullmatch(r"[A-Z0-9_]+=.*", first[0]):
                first = first[1:]
            if first and first[0].removeprefix(".venv/bin/").removeprefix("/convtrack/.venv/bin/") in PROGRAMS:
                yield [Path(first[0]).name, *first[1:]]


def check_convtrack(words: list[str]) -> None:
    """Raises click.UsageError where there is no such command, or it has no such option."""
    command: click.Command = cli
    name = "convtrack"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            raise click.UsageError(f"{name} has no command {words[0]}")
        name, command, words = f"{name} {words[0]}", found, words[1:]
    command.make_parser(click.Context(command, info_name=name)).parse_args(list(words))


def check_make(words: list[str]) -> None:
    """Raises AssertionError where the Makefile has no such target, or a benchmark no such name or option."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    assert {word for word in words if "=" not in word} <= set(targets)
    name = variables.get("NAME", "NAME")
    if "bench" in words and name not in {"NAME", "all", "…"}:
        sources = [ROOT / f"benchmarks/{name}.py", ROOT / "benchmarks/harness.py"]
        known = "".join(path.read_text(encoding="utf-8") for path in sources)
        options = [word for word in variables.get("ARGS", "").split() if word.startswith("--") and word != "--help"]
        assert [option for option in options if f'"{option}"' not in known] == []


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_documentation_is_short() -> None:
    words = {path: len(path.read_text(encoding="utf-8").split()) for path in GUIDES}
    assert sum(words.values()) <= MOST_WORDS, sorted(words.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_with_the_options_that_are_named(page: Path) -> None:
    wrong = []
    for program, *words in commands(page.read_text(encoding="utf-8")):
        try:
            check_convtrack(words) if program == "convtrack" else check_make(words)
        except (click.UsageError, AssertionError) as error:
            wrong.append(f"{program} {shlex.join(words)}: {error}")
    assert wrong == []


def test_commands_are_found_wherever_they_are_written() -> None:
    text = """
Use `make bench NAME=page`, or `convtrack study
run --trials 4`; not `convtrack[postgres]`.

    git clone … && cd convtrack && make setup    # as usual
    CONVTRACK_CIFAR10_MIRROR=URL .venv/bin/convtrack run

```
convtrack doctor
```
"""
    assert sorted(map(shlex.join, commands(text))) == [
        "convtrack doctor",
        "convtrack run",
        "convtrack study run --trials 4",
        "make bench NAME=page",
        "make setup",
    ]


@pytest.mark.parametrize(
    "command", ["convtrack studies", "convtrack study run --trails 4", "make all", "make bench NAME=page ARGS=--fast"]
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    program, *words = shlex.split(command)
    with pytest.raises((click.UsageError, AssertionError)):
        check_convtrack(words) if program == "convtrack" else check_make(words)
