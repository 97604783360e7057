"""What stands in a page, as a test sees it."""

from __future__ import annotations

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Every element with its attributes, the text of all outside of <script> and <style>, and the rows of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._code = self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._code = tag in {"script", "style"}
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._code = False
        self._cell = self._cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if not self._code and data.strip():
            self.words.append(data.strip())
            if self._cell:
                self.rows[-1][-1] += data.strip()

    def row(self, first: str) -> list[str]:
        return next(row[1:] for row in self.rows if row and row[0] == first)

    def marked(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of the elements that have the attribute `name`."""
        return [attrs for _, attrs in self.elements if name in attrs]
