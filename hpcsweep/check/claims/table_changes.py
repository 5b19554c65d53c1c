"""Judge the changes in a table against the cells from which they were computed.

A table does not state which two cells a change compares. Each possible rule is tried for a whole column of changes:
two columns of the same row, or the same column of a base row. The rule that explains the column is taken as the
intended one, and only a change that no rule explains is wrong. A column that no rule explains cannot be checked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hpcsweep.check.claim import Claim, cell_claim, claims
from hpcsweep.check.claims.line_changes import judged, not_checked
from hpcsweep.check.findings import ClaimFinding, ClaimKind
from hpcsweep.check.quantities import StatedNumber, comparable, in_one_unit, metrics_of, names_a_speed, quantities
from hpcsweep.imports.documents.model import Location, ParsedTable

_CHANGE = re.compile(
    r"\u0394|\bdelta|diff|change|improve|speed-?\s?up|\bgain|reduc|increase|decrease|\bvs\b|versus|relative|compar|faster|"
    r"slower|overhead",
    re.IGNORECASE,
)
_BASE = re.compile(r"\bbase(?:line)?\b|\bdefault\b|\bvanilla\b|\bbefore\b|\boriginal\b|\breference\b", re.IGNORECASE)
_MOST_COLUMNS = 12
_MOST_BASES = 10
_MOST_ROWS = 200
_PROOF = 3
"""Changes that a rule must explain before it may contradict another change; fewer where the table names its base."""


@dataclass(frozen=True)
class _StatedChange:
    """A claim in a cell. `own`: the column, if a number is in the same cell; None: a column of changes only."""

    row: int
    column: int
    claim: Claim
    own: int | None


@dataclass(frozen=True)
class _ChangeRule:
    """The cells of the two numbers of each change in a column. `base`: row of the old number; None: the same row."""

    old: int
    new: int
    base: int | None
    natural: bool

    def cells(self, row: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return (row if self.base is None else self.base, self.old), (row, self.new)


Cells = Mapping[tuple[int, int], StatedNumber]


def table_changes(table: ParsedTable, settled: Mapping[tuple[int, str], object]) -> Iterator[ClaimFinding]:
    """Yield the findings on the changes in a table. `settled`: (line, text) of claims already judged by their line."""
    rows = table.rows[:_MOST_ROWS]
    stated = [change for change in _stated(table) if (rows[change.row][0], change.claim.text) not in settled]
    if not stated:
        return
    cells = _numbers(table)
    for column in sorted({change.column for change in stated}):
        members = [change for change in stated if change.column == column]
        yield from _column(table, cells, members, {change.row for change in members})


def _stated(table: ParsedTable) -> Iterator[_StatedChange]:
    for column, title in enumerate(table.columns[:_MOST_COLUMNS]):
        texts = [row[column] if column < len(row) else "" for _, row in table.rows[:_MOST_ROWS]]
        whole = [cell_claim(text) if column else None for text in texts]
        filled = sum(bool(text.strip(" -\u2014\u2013*")) for text in texts)
        is_changes = bool(_CHANGE.search(title)) or (filled > 1 and sum(claim is not None for claim in whole) == filled)
        for row, text in enumerate(texts):
            claim = whole[row] if is_changes else None
            if claim is not None:
                yield _StatedChange(row, column, claim, None)
                continue
            inline = claims(text)
            if len(inline) == 1 and _first_number(text) is not None:
                yield _StatedChange(row, column, inline[0], column)


def _first_number(text: str) -> StatedNumber | None:
    """Return the number in a cell; None: none, or several."""
    inside = claims(text)
    numbers = [number for number in quantities(text) if not any(c.start <= number.start < c.end for c in inside)]
    plain = [number for number in numbers if number.unit != "%" and number.number.value > 0]
    return plain[0] if len(plain) == 1 and len(numbers) == 1 else None


def _numbers(table: ParsedTable) -> dict[tuple[int, int], StatedNumber]:
    numbers = {}
    for number, (_, row) in enumerate(table.rows[:_MOST_ROWS]):
        for column, text in enumerate(row[:_MOST_COLUMNS]):
            quantity = _first_number(text) if column else None
            if quantity is not None:
                numbers[number, column] = quantity
    return numbers


def _column(
    table: ParsedTable, cells: Cells, members: Sequence[_StatedChange], claimed: set[int]
) -> Iterator[ClaimFinding]:
    rules = list(_rules(table, cells, members, claimed))
    score = {rule: sum(_explains(rule, change, cells) for change in members) for rule in rules}
    best = max(rules, key=lambda rule: (score[rule], rule.natural), default=None)
    for change in members:
        location = Location(table.location.file, table.rows[change.row][0])
        about = ", ".join(part for part in (table.context.label, table.rows[change.row][1][0]) if part)
        by = next((rule for rule in [*([best] if best else []), *rules] if _explains(rule, change, cells)), None)
        if by is None and best is not None and _proven(best, score[best], members, rules, cells):
            by = best
        operands = _operands(by, change, cells) if by else None
        if by is None or operands is None or (by is not best and not by.natural):
            yield not_checked(location, about, change.claim, "the table does not state which numbers it compares")
            continue
        source = table.rows[by.cells(change.row)[0][0]][0]
        context = " ".join((table.columns[by.new], *table.rows[change.row][1][:1], table.context.label))
        if not names_a_speed(context) and not any(operand.unit in ("tok/s", "req/s") for operand in operands):
            context = ""
        sources = (source,) if source != location.line else ()
        yield judged(location, about, change.claim, [operands], sources, context, sure=True)


def _rules(
    table: ParsedTable, cells: Cells, members: Sequence[_StatedChange], claimed: set[int]
) -> Iterator[_ChangeRule]:
    """Yield every rule by which the changes of a column may have been computed, the most natural first."""
    own = members[0].own
    columns = sorted({column for _, column in cells} - ({members[0].column} if own is None else set()))
    alike = [c for c in columns if c == own or own is None or _same_metric(table, c, own)]
    free = [row for row in range(min(len(table.rows), _MOST_ROWS)) if row not in claimed]
    named = [row for row in range(min(len(table.rows), _MOST_ROWS)) if _BASE.search(table.rows[row][1][0])]
    bases = list(dict.fromkeys([*named, *free, 0]))[:_MOST_BASES]
    single = len(free) == 1 or len(named) == 1
    targets = [own] if own is not None else columns
    rules = []
    for base in bases:
        for column in targets:
            natural = (base in named or (base in free and len(free) == 1)) and single
            rules.append(_ChangeRule(column, column, base, natural and (own is not None or len(columns) == 1)))
    if own is not None:
        others = [c for c in alike if c != own]
        rules += [_ChangeRule(c, own, None, len(others) == 1 or bool(_BASE.search(table.columns[c]))) for c in others]
    else:
        rules += [
            _ChangeRule(a, b, None, len(columns) == 2 and _same_metric(table, a, b))
            for a, b in combinations(columns, 2)
        ]
    yield from sorted(rules, key=lambda rule: not rule.natural)


def _same_metric(table: ParsedTable, a: int, b: int) -> bool:
    """Return whether two columns may have the same metric: both name the same metric, or neither names any."""
    return set(metrics_of(table.columns[a])) == set(metrics_of(table.columns[b]))


def _operands(rule: _ChangeRule, change: _StatedChange, cells: Cells) -> tuple[StatedNumber, StatedNumber] | None:
    """Return (old, new) of a change by a rule; None: a cell lacks a number, or the units differ."""
    old, new = (cells.get(cell) for cell in rule.cells(change.row))
    if old is None or new is None or rule.base == change.row or not comparable(old, new):
        return None
    return old, new


def _explains(rule: _ChangeRule, change: _StatedChange, cells: Cells) -> bool:
    operands = _operands(rule, change, cells)
    return operands is not None and change.claim.fits(*in_one_unit(*operands))


def _proven(
    best: _ChangeRule, score: int, members: Sequence[_StatedChange], rules: Sequence[_ChangeRule], cells: Cells
) -> bool:
    """Return whether a rule is certain enough to contradict a claim that no rule explains."""
    unexplained = [change for change in members if not any(_explains(rule, change, cells) for rule in rules)]
    if any(_is_difference(best, change, cells) for change in members):
        return False
    if best.natural and sum(rule.natural for rule in rules) == 1:
        return len(members) == 1 or score >= max(1, len(unexplained))
    return score >= _PROOF * max(1, len(unexplained))


def _is_difference(rule: _ChangeRule, change: _StatedChange, cells: Cells) -> bool:
    """Return whether a percentage is the difference of its numbers, that is, percentage points."""
    operands = _operands(rule, change, cells)
    if operands is None or change.claim.kind is not ClaimKind.PERCENT:
        return False
    old, new = in_one_unit(*operands)
    return (
        abs(abs(new.value - old.value) - change.claim.size.value)
        <= change.claim.size.tolerance + old.tolerance + new.tolerance
    )
