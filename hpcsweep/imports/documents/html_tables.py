"""Read the HTML tables of a document."""

from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from hpcsweep.imports.documents.clean_text import clean_line
from hpcsweep.imports.documents.model import BlockContext, Location, ParsedTable


class _HtmlTableParser(HTMLParser):
    """Collect the cells of every row, with the line on which the row begins."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[tuple[int, list[str]]]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self._close_cell()
            self.tables[-1].append((self.getpos()[0], []))
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self._close_cell()
            self._cell = []
        elif tag == "br" and self._cell is not None:
            self._cell.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._close_cell()

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _close_cell(self) -> None:
        if self._cell is not None:
            self.tables[-1][-1][1].append(" ".join(clean_line("".join(self._cell)).split()))
            self._cell = None


def html_tables(text: str, contexts: Sequence[BlockContext], file: str) -> Iterator[ParsedTable]:
    """Yield every `<table>` with a row of headers and at least one other row."""
    if "<table" not in text.lower():
        return
    parser = _HtmlTableParser()
    parser.feed(text)
    parser.close()
    for rows in parser.tables:
        filled = [(line, tuple(cells)) for line, cells in rows if cells]
        if len(filled) > 1:
            line, columns = filled[0]
            yield ParsedTable(Location(file, line), columns, tuple(filled[1:]), contexts[min(line, len(contexts)) - 1])
