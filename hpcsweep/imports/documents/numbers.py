"""Printed numbers, with the uncertainty of their last digit."""

import math
import re
from dataclasses import dataclass
from typing import Any

NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
"""A number as people and tools print it, with optional commas between thousands."""

FOREIGN = r"[-+]?\d{1,3}(?:\.\d{3})+,\d+|[-+]?\d+,\d+"
"""A number with a decimal comma, as printed by a program with another locale: `1.345,12`, `148,61`."""

_WHOLE = re.compile(NUMBER)
_FOREIGN = re.compile(FOREIGN)
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+")
_EXACT = 1e-9
_STORED = 1e-6
_LARGEST = 1e300


@dataclass(frozen=True)
class Number:
    """A value and its tolerance: half a unit of the last printed digit; 0 for a count."""

    value: float
    tolerance: float = 0.0

    def agrees(self, other: "Number | float") -> bool:
        """Return whether both may be equal, within the tolerances of both."""
        theirs = other if isinstance(other, Number) else Number(other)
        room = self.tolerance + theirs.tolerance + _EXACT * max(abs(self.value), abs(theirs.value))
        return abs(self.value - theirs.value) <= room

    def __add__(self, other: "Number") -> "Number":
        return Number(self.value + other.value, self.tolerance + other.tolerance)

    def __mul__(self, other: "Number") -> "Number":
        room = abs(self.value) * other.tolerance + abs(other.value) * self.tolerance
        return Number(self.value * other.value, room + self.tolerance * other.tolerance)

    def __truediv__(self, other: "Number") -> "Number":
        """Return the quotient; its tolerance is infinite where the divisor may be 0. Raises ZeroDivisionError at 0."""
        value = self.value / other.value
        low = abs(other.value) - other.tolerance
        room = (self.tolerance + abs(value) * other.tolerance) / low if low > 0 else math.inf
        return Number(value, room)


def measured(text: str) -> Number | None:
    """Parse a measured value as printed: `148.61` is between 148.605 and 148.615. None: not a number."""
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
    """Parse a measured value that is alone in a cell or after a name, where a comma may be the decimal point.

    `2,500` is two thousand five hundred; in `148,61` the comma is the decimal point. None: not a number.
    """
    plain = text.strip()
    number = measured(plain)
    if number is None and _FOREIGN.fullmatch(plain):
        return measured(plain.replace(".", "").replace(",", "."))
    return number


def count(text: str) -> Number | None:
    """Parse a count as printed, which is exact: `1000.00` is 1000, and `214.465` is 214465. None: not a number."""
    plain = text.strip()
    number = figure(plain.replace(".", "") if _GROUPED.fullmatch(plain) else plain)
    return None if number is None else Number(number.value)


def stored(value: float) -> Number:
    """Return a value of a result file, which has all its digits."""
    return Number(value, _STORED * abs(value))


def percent_change(new: Number, old: Number) -> Number:
    """Return by how many percent `new` is above `old`. Raises ZeroDivisionError when `old` is 0."""
    ratio = new / old
    return Number(100.0 * (ratio.value - 1.0), 100.0 * ratio.tolerance)


def shown(value: float) -> str:
    """Format a value for people, with the digits that matter."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def number_of(content: Any) -> float | None:
    """Return a finite number of a JSON document; None: another value."""
    good = isinstance(content, (int, float)) and not isinstance(content, bool) and abs(content) < _LARGEST
    return float(content) if good else None
