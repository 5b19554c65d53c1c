"""Judge the changes that a line states against the two numbers that it gives for them.

A pair of numbers belongs to a claim where the line connects them: `from A to B (+20%)`, `20% faster (A vs B)`, or the
same name before both (`Total TPS: A | Total TPS: B (+20%)`). Any other pair may confirm a claim, never contradict it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from hpcsweep.check.claim import Claim, claims
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.quantities import StatedNumber, comparable, in_one_unit, names_a_speed, quantities
from hpcsweep.check.recomputed.measured_figures import NOISE_PERCENT, NOISE_REASON
from hpcsweep.imports.documents.model import Location
from hpcsweep.imports.documents.numbers import Number

_ARROW = re.compile(r"[\s*_`]*(?:[\u2192\u27f6\u279c]|-{1,2}>|=>|\u2014>)[\s*_`]*")
_TO = re.compile(r"[\s*_`]{0,4}(?:[A-Za-z]{1,12}\s)?to\s[*_`]{0,3}")
_VERSUS = re.compile(r"[^\d|.;:]{0,30}?\b(?:vs\.?|versus|against|compared (?:to|with))\s[^\d|.;:]{0,25}", re.IGNORECASE)
_FROM = re.compile(r"\bfrom\s[*_`~]{0,3}$")
_CLAIM_FOLLOWS = re.compile(
    r"[\s*_`]{0,6}(?:[(,:;=\u2014\u2013]|or\s|i\.e\.|\s){1,3}[\s*_`(=~\u2248]{0,6}"
    r"(?:(?:or|so|thus|that is|which is|is|a|an)\s)?[*_`(]{0,3}"
)
_PAIR_FOLLOWS = re.compile(
    r"[*_`]{0,3}\s?[A-Za-z ]{0,40}?(?:[(:]\s?(?:from\s)?[*_`]{0,2}[A-Za-z ]{0,20}|,?\sfrom\s[*_`]{0,2})"
)
_MOST_NUMBERS = 12
"""In a line with more numbers than this, only those around each claim are considered."""

_GAP = 80
"""Maximum number of characters between a claim and the pair of numbers that it is about."""

_ALONE_LENGTH = 200
_SURE_DIGITS = 3
_ABOVE_LINES = 60
_NEAR_LINES = 6
_ALONE = re.compile(r"[\s>*|-]{0,8}[A-Za-z][A-Za-z ()/_-]{0,40}[:=]")


@dataclass(frozen=True)
class ComparedPair:
    """Two numbers that a text compares, at `start` to `end`. `ordered`: `a` is the older one."""

    a: StatedNumber
    b: StatedNumber
    start: int
    end: int
    ordered: bool

    @property
    def operands(self) -> tuple[StatedNumber, StatedNumber]:
        """Return (old, new); of two unordered numbers the smaller first, as for a gain."""
        return (self.a, self.b) if self.ordered or self.a.number.value <= self.b.number.value else (self.b, self.a)


def pairs(text: str, numbers: Sequence[StatedNumber]) -> list[ComparedPair]:
    """Return neighbouring numbers of one unit that the text compares: `A -> B`, `from A to B`, `A vs B`."""
    compared = []
    for a, b in pairwise(numbers):
        if b.start - a.end > _GAP:
            continue
        between = text[a.end : b.start]
        if not comparable(a, b) or not _is_measured(a, b):
            continue
        comes_from = bool(_FROM.search(text[max(0, a.start - 10) : a.start]))
        ordered = bool(_ARROW.fullmatch(between) or (comes_from and _TO.fullmatch(between)))
        if ordered or _VERSUS.fullmatch(between):
            compared.append(ComparedPair(a, b, a.start, b.end, ordered))
    return compared


def _is_measured(a: StatedNumber, b: StatedNumber) -> bool:
    """Return whether two numbers may be measured speeds rather than counts: they have a unit, or enough digits."""
    if a.number.value <= 0 or b.number.value <= 0:
        return False
    if a.unit and b.unit:
        return True
    return min(a.digits, b.digits) >= _SURE_DIGITS - bool(a.unit or b.unit)


def line_changes(lines: Sequence[str], location: Location, about: str) -> Iterator[tuple[Claim, ClaimFinding, str]]:
    """Yield each claim of the line at `location` with its finding, and the words around it, which give its subject."""
    line = lines[location.line - 1]
    stated = claims(line)
    if not stated:
        return
    numbers = [number for number in quantities(line) if not any(c.start <= number.start < c.end for c in stated)]
    compared = pairs(line, numbers)
    for number, claim in enumerate(stated):
        before = stated[number - 1].end if number else 0
        after = stated[number + 1].start if number + 1 < len(stated) else len(line)
        subject = f"{line[before : claim.start]} {line[claim.end : after]}"
        own = _own_pairs(line, claim, compared, before, after) or _named_twice(line, claim, numbers)
        if own:
            yield claim, judged(location, about, claim, own, (), line, sure=len(own) == 1), subject
            continue
        above = list(_named_above(lines, location.line, claim, numbers))
        if above:
            pair, source = next(((p, n) for p, n in above if _fits(claim, p)), above[0])
            near = [n for _, n in above if location.line - n <= _NEAR_LINES]
            sure = len(above) == 1 and len(near) == 1
            yield claim, judged(location, about, claim, [pair], (source,), line, sure=sure), subject
            continue
        yield claim, _by_any(location, about, claim, numbers, compared, line), subject


def judged(
    location: Location,
    about: str,
    claim: Claim,
    compared: Sequence[tuple[StatedNumber, StatedNumber]],
    sources: Sequence[int],
    context: str,
    *,
    sure: bool,
) -> ClaimFinding:
    """Return the finding on a claim by its numbers (old, new). `sure`: no other numbers can be meant."""
    chosen = next((pair for pair in compared if _fits(claim, pair)), compared[0])
    old, new = in_one_unit(*chosen)
    fits = claim.fits(old, new)
    change = _size(claim, old, new)
    where = f" (line {sources[0]})" if sources else ""
    ratio = f"{chosen[1].text} against {chosen[0].text}{where}"
    speed = names_a_speed(context) or chosen[0].unit in ("tok/s", "req/s")
    percent = 100 * (new.value / old.value - 1)
    reason = f"{ratio} = {percent:+.2f}%" if claim.kind is ClaimKind.PERCENT else f"{ratio} = {change:.3g}x"
    if not fits and (claim.hedged or not sure):
        return not_checked(location, about, claim, "the text does not clearly identify its numbers")
    verdict = ClaimVerdict.CONFIRMED if fits else ClaimVerdict.WRONG
    if fits and speed and abs(percent) < NOISE_PERCENT and claim.kind is ClaimKind.PERCENT:
        verdict, reason = ClaimVerdict.NOISE, f"{reason}; {NOISE_REASON}"
    stated = claim.size.value if claim.kind is ClaimKind.RATIO or change >= 0 else -claim.size.value
    return ClaimFinding(
        location, about, claim.text, verdict, reason, claim.kind, stated, change, claim.unit, tuple(sources)
    )


def _size(claim: Claim, old: Number, new: Number) -> float:
    """Return the size of a change in the unit of the claim, by the convention that fits the claim, if any."""
    if claim.kind is ClaimKind.RATIO:
        return claim.changes(old, new)[0].value
    change = 100 * (new.value / old.value - 1)
    fitting = next((size.value for size in claim.changes(old, new) if size.agrees(claim.size)), abs(change))
    return fitting if change >= 0 else -fitting


def not_checked(location: Location, about: str, claim: Claim, why: str) -> ClaimFinding:
    """Return the finding on a claim whose two numbers are unknown."""
    return ClaimFinding(
        location, about, claim.text, ClaimVerdict.NOT_CHECKED, why, claim.kind, claim.size.value, None, claim.unit
    )


def _fits(claim: Claim, pair: tuple[StatedNumber, StatedNumber]) -> bool:
    return claim.fits(*in_one_unit(*pair))


def _own_pairs(
    line: str, claim: Claim, compared: Sequence[ComparedPair], before: int, after: int
) -> list[tuple[StatedNumber, StatedNumber]]:
    """Return the pair directly before a claim, or else the pairs that follow it in parentheses or after `from`."""
    for pair in compared:
        near = before <= pair.start and 0 <= claim.start - pair.end < _GAP
        if near and _CLAIM_FOLLOWS.fullmatch(line[pair.end : claim.start]):
            return [pair.operands]
    for pair in compared:
        near = 0 <= pair.start - claim.end < _GAP and pair.end <= after
        if near and _PAIR_FOLLOWS.fullmatch(line[claim.end : pair.start]):
            same = [other for other in compared if claim.end <= other.start and other.end <= after]
            return [other.operands for other in same]
    return []


def _named_twice(line: str, claim: Claim, numbers: Sequence[StatedNumber]) -> list[tuple[StatedNumber, StatedNumber]]:
    """Return (other, own): numbers of the same name before the claim, and the named number directly before it."""
    own = _right_before(line, claim, numbers)
    if own is None or not own.label:
        return []
    return [(number, own) for number in numbers if _same_name(number, own)]


def _same_name(number: StatedNumber, own: StatedNumber) -> bool:
    return number.end <= own.start and number.name == own.name and comparable(number, own) and number.number.value > 0


def _right_before(line: str, claim: Claim, numbers: Sequence[StatedNumber]) -> StatedNumber | None:
    last = next((number for number in reversed(numbers) if number.end <= claim.start), None)
    if last is None or claim.start - last.end >= _GAP:
        return None
    return last if re.fullmatch(r"[\s*_`]*[(,]?[\s*_`]*", line[last.end : claim.start]) else None


def _named_above(
    lines: Sequence[str], number: int, claim: Claim, numbers: Sequence[StatedNumber]
) -> Iterator[tuple[tuple[StatedNumber, StatedNumber], int]]:
    """Yield ((old, new), line) for lines above that contain only the same name, as in a flattened page."""
    own = _right_before(lines[number - 1], claim, numbers)
    if own is None or not own.label or not _ALONE.match(lines[number - 1]) or "|" in lines[number - 1].strip("| "):
        return
    for source in range(number - 1, max(0, number - 1 - _ABOVE_LINES), -1):
        if len(lines[source - 1]) > _ALONE_LENGTH or not _ALONE.match(lines[source - 1]):
            continue
        other = quantities(lines[source - 1])
        if other and other[0].name == own.name and other[0].number.value > 0:
            yield (other[0], own), source


def _by_any(
    location: Location,
    about: str,
    claim: Claim,
    numbers: Sequence[StatedNumber],
    compared: Sequence[ComparedPair],
    line: str,
) -> ClaimFinding:
    """Return CONFIRMED if two measured numbers of the line give all digits of the claim, otherwise NOT_CHECKED."""
    near = [number for number in numbers if number.end <= claim.start][-_MOST_NUMBERS:]
    near += [number for number in numbers if number.start >= claim.end][:_MOST_NUMBERS]
    candidates = [pair.operands for pair in compared]
    candidates += [(a, b) for a, b in combinations(near, 2) if comparable(a, b) and min(a.digits, b.digits) >= 3]
    fitting = [pair for pair in candidates if _fits(claim, pair)]
    if not fitting or claim.size.value == 0:
        return not_checked(location, about, claim, "the text does not give its two numbers")
    return judged(location, about, claim, fitting[:1], (), line, sure=False)
