"""A report as neutral blocks, which every format renders in its own way."""

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
class Quantity:
    """A number in a table: what people read, and the number itself for sorting and for other programs.

    `value` None: it is not known. `low`, `high`: the 95 % confidence interval, where there is one. `metric`: its key
    in METRICS, which has the definition; may be empty. `caveats`: codes of the reasons to use it with care.
    """

    text: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 0
    metric: str = ""
    caveats: tuple[str, ...] = ()


Cell = str | Quantity


def text_of(cell: Cell) -> str:
    """Return what people read in a cell."""
    return cell if isinstance(cell, str) else cell.text


@dataclass(frozen=True)
class Table:
    """A table of text and quantities. `note`, shown below it: how to read the figures. `point`: what it shows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    point: str = ""

    def texts(self) -> list[tuple[str, ...]]:
        """Return the rows as people read them."""
        return [tuple(text_of(cell) for cell in row) for row in self.rows]


@dataclass(frozen=True)
class Code:
    """Text to be shown verbatim."""

    text: str
    language: str = ""


Block = Paragraph | Bullets | Table | Code


@dataclass(frozen=True)
class Section:
    """A heading and its blocks. `level` 2 is a chapter, 3 a part of one."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    sections: tuple[Section, ...]
