"""Find claims of a change in a text: percentages (`+12.5%`, `8% slower`) and ratios (`2.7x faster`)."""

import re
from dataclasses import dataclass
from itertools import islice

from hpcsweep.check.findings import ClaimKind
from hpcsweep.imports.documents.numbers import Number, measured

WORDS = (
    r"slower|faster|higher|lower|better|worse|longer|shorter|more|less|improvement|improved|speed-?up|gain|increase|"
    r"decrease|reduction|regression"
)
_PERCENT = re.compile(
    rf"(?<![\w.,])(?P<sign>[+\-\u2212])?(?P<value>\d+(?:\.\d+)?)\s?%(?P<word>\W{{0,3}}(?:{WORDS})\b)?", re.IGNORECASE
)
_RATIO = re.compile(
    rf"(?<![\w.,])(?P<value>\d+(?:\.\d+)?)\s?[x\u00d7](?P<word>\s{{0,2}}(?:{WORDS}|baseline|as \w+)\b|(?=\)))",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"(?:\babout|\baround|~|\u2248|\bapprox\w*\.?|\balmost|\bover|\bthan|\bleast|\bmost|\bup to|[<>\u2264\u2265]|"
    r"\bsome|\b[a-z]{1,12}ly|\bcirca|\bca\.)\s{0,2}[*_(]{0,3}$",
    re.IGNORECASE,
)
_RANGE_BEFORE = re.compile(r"(?:[\d%xX]\s?(?:[-\u2013\u2014~]|to|and|or)\s?|[\u00b1/])$")
_RANGE_AFTER = re.compile(r"\s?(?:[-\u2013\u2014~]|to|and|or)\s?[-+]?\d")
_NEAR = 20
_MOST = 40
"""Maximum number of claims in a line or cell; a line with more is data rather than prose."""

_WHOLE_RATIO = 0.9
"""Units of the last digit by which a ratio in whole numbers may deviate; other changes by 1 unit."""


@dataclass(frozen=True)
class Claim:
    """A stated change. `kind`: percent or ratio; `size`: its magnitude; `sign`: as written, or empty.

    `hedged`: stated as about, up to or over this size, so that another value does not contradict it.
    """

    kind: ClaimKind
    size: Number
    sign: str
    start: int
    end: int
    text: str
    hedged: bool

    @property
    def unit(self) -> str:
        """Return the unit of its size."""
        return "%" if self.kind is ClaimKind.PERCENT else "x"

    def changes(self, a: Number, b: Number) -> tuple[Number, ...]:
        """Return the sizes by which `a` and `b` may be said to differ. Raises ZeroDivisionError when one is 0."""
        low, high = sorted((a, b), key=lambda number: number.value)
        ratio, share = high / low, low / high
        if self.kind is ClaimKind.RATIO:
            return (ratio, share) if self.size.value >= 1 else (share, ratio)
        up = Number(100 * (ratio.value - 1), 100 * ratio.tolerance)
        return (up, Number(100 * (1 - share.value), 100 * share.tolerance))

    def fits(self, a: Number, b: Number) -> bool:
        """Return whether the two numbers give the claim, in either direction."""
        if a.value <= 0 or b.value <= 0:
            return False
        return any(change.agrees(self.size) for change in self.changes(a, b))


def claims(text: str) -> list[Claim]:
    """Return the claims in a text, in order. Shares (`0.3% of memory`) and ranges (`10-20%`) are not claims."""
    stated = []
    for kind, pattern in ((ClaimKind.PERCENT, _PERCENT), (ClaimKind.RATIO, _RATIO)):
        for match in islice(pattern.finditer(text), 4 * _MOST):
            sign = match["sign"] or "" if kind is ClaimKind.PERCENT else ""
            if kind is ClaimKind.PERCENT and not sign and not match["word"]:
                continue
            size = stated_size(match["value"], kind)
            before = text[max(0, match.start() - _NEAR) : match.start()]
            if size is None or _RANGE_BEFORE.search(before) or _RANGE_AFTER.match(text[match.end("value") + 1 :]):
                continue
            if sign == "-" and re.search(r"[\d%kK]\s?$", before):
                continue
            hedged = bool(_HEDGE.search(before)) or text[match.end() : match.end() + 1] == "+"
            sign = "-" if sign == "\u2212" else sign
            stated.append(Claim(kind, size, sign, match.start(), match.end(), match[0].strip(), hedged))
    return sorted(stated, key=lambda claim: claim.start)[:_MOST]


def stated_size(text: str, kind: ClaimKind) -> Number | None:
    """Return the size of a stated change, with the uncertainty of its last digit, which may be cut or rounded twice."""
    number = measured(text)
    if number is None:
        return None
    slack = _WHOLE_RATIO if kind is ClaimKind.RATIO and "." not in text else 1.0
    return Number(number.value, 2 * slack * number.tolerance)


_CELL = re.compile(
    r"[*_`(~\u2248]*(?P<sign>[+\-\u2212])?(?P<value>\d+(?:\.\d+)?)\s?(?P<unit>%|[x\u00d7])[)*_`]*", re.IGNORECASE
)


def cell_claim(cell: str) -> Claim | None:
    """Return the claim that makes up a whole cell in a column of changes; None: the cell is not a change."""
    plain = cell.strip()
    stated = claims(plain)
    if len(stated) == 1 and not re.search(r"\d", plain[: stated[0].start] + plain[stated[0].end :]):
        return stated[0]
    match = _CELL.fullmatch(plain)
    if match is None:
        return None
    kind = ClaimKind.PERCENT if match["unit"] == "%" else ClaimKind.RATIO
    size = stated_size(match["value"], kind)
    if size is None:
        return None
    sign = "-" if match["sign"] == "\u2212" else match["sign"] or ""
    return Claim(kind, size, sign, 0, len(plain), plain.strip("*_`"), bool(re.match(r"[*_`(]*[~\u2248]", plain)))
