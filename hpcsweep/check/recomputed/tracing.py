"""Trace the speeds in a summary table to the result blocks of the same document."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hpcsweep.check.block_matching import BlockIndex, BlockMatch
from hpcsweep.check.claim import claims
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.quantities import StatedNumber, metrics_of, quantities, unit_of_times
from hpcsweep.check.recomputed.measured_figures import KnownFigure, figures_of
from hpcsweep.imports.documents.model import ImportedDocument, Location, ParsedTable
from hpcsweep.imports.documents.numbers import Number, shown

_MOST_REPLICAS = 16
_MOST_NAMED = 3
_HEDGED = re.compile(r"[~\u2248<>\u2264\u2265]\s?$")
_SURE_DIGITS = 3
_PRINTED = 1.0
"""Tolerance for the last digit of a printed figure in the search by value."""


class Tracer:
    """The figures of a document's blocks by metric and value, and the blocks that a cell is about."""

    def __init__(self, document: ImportedDocument) -> None:
        self.cases = BlockIndex.of(document.benchmarks, document.lines)
        self._known: dict[tuple[str, ...], list[KnownFigure]] = {}
        self._blocks = document.benchmarks

    def known(self, names: Sequence[str]) -> list[KnownFigure]:
        """Return the figures of these names in all blocks, by value."""
        key = tuple(names)
        if key not in self._known:
            self._known[key] = sorted(figures_of(self._blocks, key), key=lambda figure: figure.value.value)
        return self._known[key]

    def matching(self, names: Sequence[str], stated: Number) -> list[KnownFigure]:
        """Return the figures of these names that agree with a stated number."""
        known = self.known(names)
        room = 2 * stated.tolerance + 1e-6 * abs(stated.value) + _PRINTED
        start = bisect_left(known, stated.value - room, key=lambda figure: figure.value.value)
        figures = []
        for figure in known[start:]:
            if figure.value.value > stated.value + room:
                break
            if figure.value.agrees(stated):
                figures.append(figure)
        return sorted(figures, key=lambda figure: figure.location)

    def scaled(self, names: Sequence[str], stated: Number) -> tuple[KnownFigure, int] | None:
        """Return a throughput and a number of replicas whose product is a stated number; None: none."""
        rates = [name for name in names if not name.endswith("_ms")]
        for replicas in range(2, _MOST_REPLICAS + 1) if rates else ():
            for figure in self.matching(rates, Number(stated.value / replicas, stated.tolerance)):
                if (figure.value * Number(replicas)).agrees(stated):
                    return figure, replicas
        return None


def table_cells(table: ParsedTable, tracer: Tracer) -> Iterator[ClaimFinding]:
    """Yield a finding on each speed of a summary table whose metric the blocks have."""
    for line, row in table.rows:
        location = Location(table.location.file, line)
        for column, cell in enumerate(row):
            if column >= len(table.columns) or (column == 0 and len(row) > 1):
                continue
            title = table.columns[column]
            inside = claims(cell)
            for quantity in quantities(cell):
                if any(claim.start <= quantity.start < claim.end for claim in inside) or quantity.number.value <= 0:
                    continue
                names = _metric(cell, quantity, title, row[0])
                if not names or not tracer.known(names):
                    continue
                label = "" if metrics_of(row[0]) else _row_label(table, row)
                above = " ".join((*table.context.headings[-1:], table.context.short))
                about = ", ".join(part for part in (table.context.label, row[0], title) if part)
                case = tracer.cases.case(label, title, above)
                hedged = bool(_HEDGED.search(cell[: quantity.start]))
                unit = quantity.unit or unit_of_times(f"{quantity.label} {title} {row[0]}")
                quantity = replace(quantity, unit=unit)
                yield traced(location, about, _claim(quantity, title), quantity, names, case, tracer, hedged=hedged)


def _claim(quantity: StatedNumber, title: str) -> str:
    return f"{quantity.label or title}: {quantity.text}"


def _row_label(table: ParsedTable, row: Sequence[str]) -> str:
    """Return the texts of a row that are not speeds: its name and its settings."""
    parts = [row[0]]
    for title, cell in zip(table.columns[1:], row[1:], strict=False):
        if not metrics_of(title) and not metrics_of(cell) and not claims(cell) and len(cell) < 40:
            parts.append(f"{title} {cell}" if cell.strip().isdigit() else cell)
    return " ".join(parts)


def _metric(cell: str, quantity: StatedNumber, title: str, row: str) -> Sequence[str]:
    """Return the metric of a number, named in the cell, else in the column title, else in the row name."""
    if quantity.label:
        return metrics_of(f"{quantity.label} {quantity.unit if quantity.seconds else ''}")
    if quantity.unit in ("%", "GB", "MB", "W", "other"):
        return ()
    return metrics_of(title) or (metrics_of(row) if not metrics_of(cell) else metrics_of(cell))


def traced(
    location: Location,
    about: str,
    claim: str,
    quantity: StatedNumber,
    names: Sequence[str],
    case: BlockMatch,
    tracer: Tracer,
    *,
    hedged: bool,
) -> ClaimFinding:
    """Return the finding on a stated speed: from a block, a multiple of a block, or not found."""
    stated = rounded(_in_ms(quantity, names))
    matching = tracer.matching(names, stated)
    locations = {block.location for block in case.blocks}
    own = figures_of(case.blocks, names)
    if matching:
        source = next((figure for figure in matching if figure.location in locations), matching[0])
        elsewhere = source.location not in locations and case.sure and len(own) == 1 and quantity.digits > _SURE_DIGITS
        if elsewhere and len(names) == 1 and _other_work(source, own[0]):
            reason = (
                f"this value is from another case (line {source.location.line}, {source.label}); the block for this "
            )
            reason += f"case has {shown(own[0].value.value)} (line {own[0].location.line})"
            lines: tuple[int, ...] = (source.location.line, own[0].location.line)
            return _finding(
                location, about, claim, ClaimVerdict.WRONG, reason, ClaimKind.CELL, stated, own[0].value.value, lines
            )
        reason = f"{source.what} of {source}"
        return _finding(
            location,
            about,
            claim,
            ClaimVerdict.CONFIRMED,
            reason,
            ClaimKind.CELL,
            stated,
            source.value.value,
            (source.location.line,),
        )
    scaled = tracer.scaled(names, stated)
    if scaled is not None:
        figure, replicas = scaled
        reason = f"{replicas} x {shown(figure.value.value)}, {figure.what} of {figure}, if replicas scale without loss"
        value = replicas * figure.value.value
        return _finding(
            location,
            about,
            claim,
            ClaimVerdict.CONFIRMED,
            reason,
            ClaimKind.SCALED_CELL,
            stated,
            value,
            (figure.location.line,),
        )
    precise = quantity.digits >= _SURE_DIGITS and not hedged and (quantity.seconds or not names[0].endswith("_ms"))
    if case.sure and own and precise and len(own) >= len(names) * len(case.blocks):
        listed = ", and ".join(
            f"{shown(figure.value.value)} (line {figure.location.line})" for figure in own[:_MOST_NAMED]
        )
        blocks = "the block" if len(case.blocks) == 1 else "the blocks"
        has = "has" if len(case.blocks) == 1 else "have"
        reason = f"not in any block of this document; {blocks} for this case {has} {listed}"
        lines = tuple(figure.location.line for figure in own[:_MOST_NAMED])
        nearest = min(own, key=lambda figure: abs(figure.value.value - stated.value)).value.value
        return _finding(
            location, about, claim, ClaimVerdict.DOES_NOT_FOLLOW, reason, ClaimKind.CELL, stated, nearest, lines
        )
    reason = "not in any block of this document, and no block is known to be for this case"
    return _finding(location, about, claim, ClaimVerdict.NOT_CHECKED, reason, ClaimKind.CELL, stated, None, ())


def _other_work(source: KnownFigure, own: KnownFigure) -> bool:
    return len(source.work) == 2 and len(own.work) == 2 and source.work != own.work


def _finding(
    location: Location,
    about: str,
    claim: str,
    verdict: ClaimVerdict,
    reason: str,
    kind: ClaimKind,
    stated: Number,
    recomputed: float | None,
    lines: tuple[int, ...],
) -> ClaimFinding:
    return ClaimFinding(location, about, claim, verdict, reason, kind, stated.value, recomputed, "", lines)


def _in_ms(quantity: StatedNumber, names: Sequence[str]) -> Number:
    """Return the number in the unit of the figures, which have times in ms."""
    if names[0].endswith("_ms") and quantity.seconds and quantity.unit != "ms":
        return quantity.number * Number(1000 * quantity.seconds)
    return quantity.number


def rounded(stated: Number) -> Number:
    """Return a number with the uncertainty of its last digit; a whole number that ends in zeros counts as rounded."""
    if abs(stated.value) >= 1e15:
        return stated
    value, unit = int(stated.value), 1
    if stated.tolerance < 0.5 or stated.value != value or not value:
        return Number(stated.value, 2 * stated.tolerance)
    while value % (10 * unit) == 0:
        unit *= 10
    room = unit / 2 if abs(value) >= 100 * unit else 1.0
    return Number(stated.value, max(stated.tolerance, room))
