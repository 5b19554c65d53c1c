"""Judge the changes that stand in a table against the cells that they were computed from.

A table does not say which two cells a change belongs to. Each possible rule is tried for a whole column of changes:
two columns of the same row, or the same column of a base row. The rule that explains the column is the one that is
meant, and only a change that no rule explains is wrong. A column that no rule explains cannot be checked.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hpcsweep.check.claims.claim import Claim, cell_claim, claims
from hpcsweep.check.claims.line_changes import judged, not_checked
from hpcsweep.check.findings import ClaimFinding
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
"""Changes that a rule must explain before it may contradict another one; fewer where the table names its base."""


@dataclass(frozen=True)
class _StatedChange:
    """A claim in a cell. `own`: the column of the number that it stands beside; None: it has a column of its own."""

    row: int
    column: int
    claim: Claim
    own: int | None


@dataclass(frozen=True)
class _ChangeRule:
    """Where the two numbers of each change of a column are. `base`: a row, or None: both are in the row itself."""

    old: int
    new: int
    base: int | None
    natural: bool

    def cells(self, row: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return (row if self.base is None else self.base, self.old), (row, self.new)


Cells = Mapping[tuple[int, int], StatedNumber]


def table_changes(table: ParsedTable, settled: Mapping[tuple[int, str], object]) -> Iterator[ClaimFinding]:
    """Yield the findings on the changes in a table; `settled`: (line, text) of the claims that the line judged."""
    rows = table.rows[:_MOST_ROWS]
    stated = [one for one in _stated(table) if (rows[one.row][0], one.claim.text) not in settled]
    if not stated:
        return
    cells = _numbers(table)
    for column in sorted({one.column for one in stated}):
        members = [one for one in stated if one.column == column]
        yield from _column(table, cells, members, {one.row for one in members})


def _stated(table: ParsedTable) -> Iterator[_StatedChange]:
    for column, title in enumerate(table.columns[:_MOST_COLUMNS]):
        texts = [row[column] if column < len(row) else "" for _, row in table.rows[:_MOST_ROWS]]
        whole = [cell_claim(text) if column else None for text in texts]
        filled = sum(bool(text.strip(" -\u2014\u2013*")) for text in texts)
        is_changes = bool(_CHANGE.search(title)) or (filled > 1 and sum(one is not None for one in whole) == filled)
        for row, text in enumerate(texts):
            claim = whole[row] if is_changes else None
            if claim is not None:
                yield _StatedChange(row, column, claim, None)
                continue
            inline = claims(text)
            if len(inline) == 1 and _first_number(text) is not None:
                yield _StatedChange(row, column, inline[0], column)


def _first_number(text: str) -> StatedNumber | None:
    """Return the number that a cell states; None: there is none, or several."""
    inside = claims(text)
    found = [one for one in quantities(text) if not any(c.start <= one.start < c.end for c in inside)]
    plain = [one for one in found if one.unit != "%" and one.number.value > 0]
    return plain[0] if len(plain) == 1 and len(found) == 1 else None


def _numbers(table: ParsedTable) -> dict[tuple[int, int], StatedNumber]:
    found = {}
    for number, (_, row) in enumerate(table.rows[:_MOST_ROWS]):
        for column, text in enumerate(row[:_MOST_COLUMNS]):
            quantity = _first_number(text) if column else None
            if quantity is not None:
                found[number, column] = quantity
    return found


def _column(
    table: ParsedTable, cells: Cells, members: Sequence[_StatedChange], claimed: set[int]
) -> Iterator[ClaimFinding]:
    rules = list(_rules(table, cells, members, claimed))
    score = {rule: sum(_explains(rule, one, cells) for one in members) for rule in rules}
    best = max(rules, key=lambda rule: (score[rule], rule.natural), default=None)
    for one in members:
        place = Location(table.place.file, table.rows[one.row][0])
        about = ", ".join(part for part in (table.context.label, table.rows[one.row][1][0]) if part)
        by = next((rule for rule in [*([best] if best else []), *rules] if _explains(rule, one, cells)), None)
        if by is None and best is not None and _proven(best, score[best], members, rules, cells):
            by = best
        operands = _operands(by, one, cells) if by else None
        if by is None or operands is None or (by is not best and not by.natural):
            yield not_checked(place, about, one.claim, "the table does not say against which numbers")
            continue
        source = table.rows[by.cells(one.row)[0][0]][0]
        context = " ".join((table.columns[by.new], *table.rows[one.row][1][:1], table.context.label))
        if not names_a_speed(context) and not any(operand.unit in ("tok/s", "req/s") for operand in operands):
            context = ""
        sources = (source,) if source != place.line else ()
        yield judged(place, about, one.claim, [operands], sources, context, sure=True)


def _rules(
    table: ParsedTable, cells: Cells, members: Sequence[_StatedChange], claimed: set[int]
) -> Iterator[_ChangeRule]:
    """Yield every rule by which the changes of one column may have been computed, the natural ones first."""
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
    """Return whether two columns can hold the same metric: both name the same one, or neither names any."""
    return set(metrics_of(table.columns[a])) == set(metrics_of(table.columns[b]))


def _operands(rule: _ChangeRule, one: _StatedChange, cells: Cells) -> tuple[StatedNumber, StatedNumber] | None:
    """Return (old, new) of a change by a rule; None: a cell has no number, or they have different units."""
    old, new = (cells.get(cell) for cell in rule.cells(one.row))
    if old is None or new is None or rule.base == one.row or not comparable(old, new):
        return None
    return old, new


def _explains(rule: _ChangeRule, one: _StatedChange, cells: Cells) -> bool:
    operands = _operands(rule, one, cells)
    return operands is not None and one.claim.fits(*in_one_unit(*operands))


def _proven(
    best: _ChangeRule, score: int, members: Sequence[_StatedChange], rules: Sequence[_ChangeRule], cells: Cells
) -> bool:
    """Return whether a rule is certain enough to contradict a claim that no rule explains."""
    unexplained = [one for one in members if not any(_explains(rule, one, cells) for rule in rules)]
    if any(_is_difference(best, one, cells) for one in members):
        return False
    if best.natural and sum(rule.natural for rule in rules) == 1:
        return len(members) == 1 or score >= max(1, len(unexplained))
    return score >= _PROOF * max(1, len(unexplained))


def _is_difference(rule: _ChangeRule, one: _StatedChange, cells: Cells) -> bool:
    """Return whether a percentage is the difference of its numbers, as percent points are."""
    operands = _operands(rule, one, cells)
    if operands is None or one.claim.kind != "percent":
        return False
    old, new = in_one_unit(*operands)
    return (
        abs(abs(new.value - old.value) - one.claim.size.value)
        <= one.claim.size.tolerance + old.tolerance + new.tolerance
    )
