"""Judge orderings such as `A (10 tok/s) > B (8 tok/s)`. Any other `>` is not a claim about speed."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hpcsweep.check.claims.labelled_blocks import LabelledBlocks
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.quantities import THROUGHPUTS, StatedNumber, in_one_unit, quantities
from hpcsweep.check.recomputed.measured_figures import NOISE_PERCENT, NOISE_REASON
from hpcsweep.check.recomputed.tracing import Tracer, rounded
from hpcsweep.imports.documents.model import Benchmark, Location
from hpcsweep.imports.documents.numbers import Number, percent_change, shown

_SEPARATOR = re.compile(r"(?<![-=<>])[>=\u2248\u2265](?![=>])")
_ITEM = re.compile(
    r"(?:[^()]{0,80}:)?\s{0,4}[*_`]{0,3}(?P<name>[^()|:>]{1,60}?)\s{0,4}\((?P<inside>[^()]{0,80})\)[\s.;,*_`]{0,6}"
)


def orderings(
    line: str, location: Location, about: str, tracer: Tracer, labelled: LabelledBlocks
) -> Iterator[ClaimFinding]:
    """Yield the finding on an ordering: whether the numbers decrease, and whether blocks of the document have them."""
    if ">" not in line or "(" not in line or line.lstrip().startswith(">"):
        return
    items = [_ITEM.fullmatch(text) for text in _SEPARATOR.split(line)]
    if len(items) < 2 or None in items:
        return
    named = [(item["name"].strip(" -*_`"), _value(item["inside"])) for item in items if item]
    valued = [(name, value) for name, value in named if value is not None]
    units = {value.unit for _, value in valued if value.unit}
    times = all(value.seconds for _, value in valued if value.unit)
    if not units or (len(units) > 1 and not times) or not (times or units <= {"tok/s", "req/s"}):
        return
    parts = [f"{name} does not have a number" for name, value in named if value is None]
    verdict = ClaimVerdict.CONFIRMED if len(valued) > 1 else ClaimVerdict.NOT_CHECKED
    for name, value in valued:
        source, lines = _source(value, tracer, times=times)
        parts.append(f"{name} {shown(value.number.value)}: {source}")
        if not lines and verdict is ClaimVerdict.CONFIRMED:
            verdict = ClaimVerdict.NOT_CHECKED
            own = labelled.named(name, whole=False)
            has = [f"{shown(number.value)}" for number in _throughputs(own)]
            if len(own) == 1 and has and not times:
                verdict = ClaimVerdict.DOES_NOT_FOLLOW
                parts.append(f"the block for this case has {' and '.join(has)} (line {own[0].location.line})")
    for (name, a), (other, b) in pairwise(valued):
        first, second = in_one_unit(a, b)
        better, worse = (second, first) if times else (first, second)
        if worse.value <= 0 or better.value <= 0:
            continue
        change = percent_change(better, worse)
        parts.append(f"{name} against {other}: {change.value:+.1f}%")
        if change.value + change.tolerance < 0:
            verdict = ClaimVerdict.WRONG
        elif verdict is ClaimVerdict.CONFIRMED and change.value < NOISE_PERCENT:
            verdict = ClaimVerdict.NOISE
            parts.append(NOISE_REASON)
    yield ClaimFinding(
        location, about, line.strip()[:160], verdict, "; ".join(parts), ClaimKind.ORDERING, sources=(location.line,)
    )


def _value(inside: str) -> StatedNumber | None:
    numbers = quantities(inside)
    return numbers[0] if len(numbers) == 1 and numbers[0].unit not in ("%", "other") else None


def _throughputs(own: Sequence[Benchmark]) -> list[Number]:
    figures = own[0].figures if len(own) == 1 else {}
    return [figures[name] for name in THROUGHPUTS if name in figures]


def _source(value: StatedNumber, tracer: Tracer, *, times: bool) -> tuple[str, tuple[int, ...]]:
    if times:
        return "not traced", ()
    stated = rounded(value.number)
    matching = tracer.matching(THROUGHPUTS, stated)
    if matching:
        return f"line {matching[0].location.line}", (matching[0].location.line,)
    scaled = tracer.scaled(THROUGHPUTS, stated)
    if scaled is not None:
        figure, replicas = scaled
        return f"line {figure.location.line} ({replicas} x {shown(figure.value.value)})", (figure.location.line,)
    return "not in any block of this document", ()
