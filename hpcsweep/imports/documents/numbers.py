"""Printed numbers, with what their last digit leaves open."""

import math
import re
from dataclasses import dataclass
from typing import Any

NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
"""A number as people and tools print it; commas between thousands."""

FOREIGN = r"[-+]?\d{1,3}(?:\.\d{3})+,\d+|[-+]?\d+,\d+"
"""A number with a decimal comma, as a program with another locale or a spreadsheet prints it: `1.345,12`, `148,61`."""

_WHOLE = re.compile(NUMBER)
_FOREIGN = re.compile(FOREIGN)
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+")
_EXACT = 1e-9
_STORED = 1e-6
_LARGEST = 1e300


@dataclass(frozen=True)
class Number:
    """A value and how far the true one may lie from it: half a unit of the last printed digit; 0: it is a count."""

    value: float
    tolerance: float = 0.0

    def agrees(self, other: "Number | float") -> bool:
        """Whether both may be the same, within what their digits leave open."""
        theirs = other if isinstance(other, Number) else Number(other)
        room = self.tolerance + theirs.tolerance + _EXACT * max(abs(self.value), abs(theirs.value))
        return abs(self.value - theirs.value) <= room

    def __add__(self, other: "Number") -> "Number":
        return Number(self.value + other.value, self.tolerance + other.tolerance)

    def __mul__(self, other: "Number") -> "Number":
        room = abs(self.value) * other.tolerance + abs(other.value) * self.tolerance
        return Number(self.value * other.value, room + self.tolerance * other.tolerance)

    def __truediv__(self, other: "Number") -> "Number":
        """The quotient; its tolerance is infinite where the divisor may be 0. ZeroDivisionError: it is 0."""
        value = self.value / other.value
        low = abs(other.value) - other.tolerance
        room = (self.tolerance + abs(value) * other.tolerance) / low if low > 0 else math.inf
        return Number(value, room)


def measured(text: str) -> Number | None:
    """A measured value as printed: `148.61` may be anything from 148.605 to 148.615. None: it is no number."""
    plain = text.strip()
    if not _WHOLE.fullmatch(plain):
        return None
    mantissa, _, exponent = plain.lower().replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    value = float(plain.replace(",", ""))
    if not math.isfinite(value):
        return None
    return Number(value, 0.5 * 10.0 ** (int(exponent or 0) - decimals))


def figure(text: str) -> Number | None:
    """A measured value that stands alone, in a cell or behind a name: there a comma may be the decimal point.

    `2,500` is two thousand five hundred; `148,61` cannot be. None: it is no number.
    """
    plain = text.strip()
    number = measured(plain)
    if number is None and _FOREIGN.fullmatch(plain):
        return measured(plain.replace(".", "").replace(",", "."))
    return number


def count(text: str) -> Number | None:
    """A count as printed: exact, also as `1000.00`, and `214.465` is one of thousands. None: it is no number."""
    plain = text.strip()
    number = figure(plain.replace(".", "") if _GROUPED.fullmatch(plain) else plain)
    return None if number is None else Number(number.value)


def stored(value: float) -> Number:
    """A value of a result file, kept with all its digits."""
    return Number(value, _STORED * abs(value))


def percent_change(new: Number, old: Number) -> Number:
    """By how many percent `new` lies above `old`. ZeroDivisionError: `old` is 0."""
    ratio = new / old
    return Number(100.0 * (ratio.value - 1.0), 100.0 * ratio.tolerance)


def shown(value: float) -> str:
    """A value for people: enough digits to see a difference, none that mean nothing."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def number_of(content: Any) -> float | None:
    """Return a finite number of a JSON document; None: it is something else."""
    good = isinstance(content, (int, float)) and not isinstance(content, bool) and abs(content) < _LARGEST
    return float(content) if good else None
