"""A report as plain blocks: what the terminal and Markdown both render, in the order of the studies."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of plain text. `strong`: it must not be missed."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of plain sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of plain text; `note` stands below it: what the figures are."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def without(self, names: Collection[str]) -> "Table":
        """The table without the columns of these names."""
        kept = [place for place, name in enumerate(self.columns) if name not in names]
        rows = tuple(tuple(row[place] for place in kept) for row in self.rows)
        return Table(tuple(self.columns[place] for place in kept), rows, self.note)


@dataclass(frozen=True)
class Code:
    """Text to be shown letter by letter."""

    text: str
    language: str = ""


Block = Paragraph | Bullets | Table | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. `level` 2 is a chapter, 3 a part of one."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    sections: tuple[Section, ...]
