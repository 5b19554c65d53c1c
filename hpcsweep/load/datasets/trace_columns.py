"""Find the columns of a trace, and the unit of its times."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import DatasetWarning
from hpcsweep.spec.base import nearest

DEFAULT = ("timestamp", "input_length", "output_length")
_MS, _S = 0.001, 1.0
_KNOWN: tuple[tuple[tuple[str, str, str], float | None], ...] = (
    (DEFAULT, _MS),  # Mooncake
    (("Timestamp", "Request tokens", "Response tokens"), _S),  # BurstGPT
    (("TIMESTAMP", "ContextTokens", "GeneratedTokens"), None),  # Azure: dates
)
"""TraceColumns of published traces, and the seconds of one unit of their times; None: they are dates."""


@dataclass(frozen=True)
class TraceColumns:
    """The names of the columns for the time, the prompt's tokens and the answer's tokens."""

    time: str
    input: str
    output: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Return the names in this order."""
        return self.time, self.input, self.output


def columns_of(entry: Mapping[str, Any], wanted: TraceColumns, place: str) -> TraceColumns:
    """Return the columns as wanted; where those are the defaults and missing, the ones of a published trace.

    Raises DatasetError: a column is missing.
    """
    if wanted.names == DEFAULT and DEFAULT[0] not in entry:
        for names, _ in _KNOWN:
            if all(name in entry for name in names):
                return TraceColumns(*names)
    for option, name in zip(("time", "input", "output"), wanted.names, strict=True):
        if name not in entry:
            hint = f"{nearest(name, entry)}; the option `{option}` names it; columns: {', '.join(map(str, entry))}"
            raise DatasetError(f"{place}: no column {name!r}", hint=hint)
    return wanted


def time_of(content: Any, column: str, place: str) -> tuple[float, bool]:
    """Return (time, whether it was a date): a number in the trace's own unit, or the seconds of a date.

    Raises DatasetError: it is neither.
    """
    try:
        number = float(content)
    except (TypeError, ValueError):
        return _date(str(content).strip(), column, place), True
    if not math.isfinite(number):
        raise DatasetError(f"{place}: column {column!r}: {content!r} is not a finite number")
    return number, False


def _date(text: str, column: str, place: str) -> float:
    whole, dot, fraction = text.partition(".")
    digits = fraction[:6].ljust(6, "0") if fraction[:6].isdigit() else ""
    zone = fraction.lstrip("0123456789")
    try:
        moment = datetime.fromisoformat((f"{whole}.{digits}{zone}" if dot and digits else text).replace("Z", "+00:00"))
    except ValueError as exc:
        raise DatasetError(
            f"{place}: column {column!r}: {text!r} is neither a number nor a date",
            hint="a time is a number (`time_unit_s` says of what) or a date such as 2023-11-16 18:15:46.68",
        ) from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def integer_of(content: Any, column: str, place: str) -> int:
    """Return a number of tokens. Raises DatasetError with the column and the value."""
    try:
        number = float(content)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise DatasetError(f"{place}: column {column!r}: {content!r} is not a number of tokens")


def unit_of(times: Sequence[float], columns: TraceColumns, where: str) -> float:
    """Return the seconds of one unit of the times, when no option says it.

    The columns of the default trace have ms. Any other unit is the one of s and ms whose rate is nearer to one request
    a second, and is warned of, with the rate that results.
    """
    if columns.names == DEFAULT:
        return _MS
    known = next((unit for names, unit in _KNOWN if names == columns.names), None)
    span = max(times) - min(times)
    if span <= 0:
        return known or _S
    unit = known or min((_S, _MS), key=lambda one: abs(math.log((len(times) - 1) / (span * one))))
    rate = (len(times) - 1) / (span * unit)
    warnings.warn(
        f"{where}: the unit of column {columns.time!r} is not stated: taken as {'s' if unit == _S else 'ms'}, which "
        f"gives {rate:.3g} requests/s over {span * unit:.4g} s; `time_unit_s` states it",
        DatasetWarning,
        stacklevel=2,
    )
    return unit
