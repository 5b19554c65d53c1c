"""Find the columns of a trace and the unit of its times."""

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
"""TraceColumns of published traces, and the seconds of one unit of their times; None: dates."""


@dataclass(frozen=True)
class TraceColumns:
    """Names of the columns for the time, the prompt's tokens and the response's tokens."""

    time: str
    input: str
    output: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Return (time, input, output)."""
        return self.time, self.input, self.output


def columns_of(entry: Mapping[str, Any], wanted: TraceColumns, location: str) -> TraceColumns:
    """Return `wanted`, or the columns of a published trace if `wanted` are the defaults and missing.

    Raises DatasetError when a column is missing.
    """
    if wanted.names == DEFAULT and DEFAULT[0] not in entry:
        for names, _ in _KNOWN:
            if all(name in entry for name in names):
                return TraceColumns(*names)
    for option, name in zip(("time", "input", "output"), wanted.names, strict=True):
        if name not in entry:
            hint = f"{nearest(name, entry)}; set `{option}: COLUMN`; columns: {', '.join(map(str, entry))}"
            raise DatasetError(f"{location}: no column {name!r}", code="column_missing", hint=hint)
    return wanted


def time_of(content: Any, column: str, location: str) -> tuple[float, bool]:
    """Return (time, whether it is a date): a number in the unit of the trace, or a date in Unix seconds.

    Raises DatasetError when it is neither.
    """
    try:
        number = float(content)
    except (TypeError, ValueError):
        return _date(str(content).strip(), column, location), True
    if not math.isfinite(number):
        raise DatasetError(f"{location}: column {column!r}: {content!r} is not a finite number", code="invalid_column")
    return number, False


def _date(text: str, column: str, location: str) -> float:
    whole, dot, fraction = text.partition(".")
    digits = fraction[:6].ljust(6, "0") if fraction[:6].isdigit() else ""
    zone = fraction.lstrip("0123456789")
    try:
        moment = datetime.fromisoformat((f"{whole}.{digits}{zone}" if dot and digits else text).replace("Z", "+00:00"))
    except ValueError as exc:
        raise DatasetError(
            f"{location}: column {column!r}: {text!r} is neither a number nor a date",
            code="invalid_column",
            hint="write a number (in units of `time_unit_s`) or a date such as 2023-11-16 18:15:46.68",
        ) from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def integer_of(content: Any, column: str, location: str) -> int:
    """Return a number of tokens. Raises DatasetError with the column and the value."""
    try:
        number = float(content)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise DatasetError(f"{location}: column {column!r}: {content!r} is not a number of tokens", code="invalid_column")


def unit_of(times: Sequence[float], columns: TraceColumns, where: str) -> float:
    """Return the seconds per unit of the times if no option states it.

    The default columns are in ms. Otherwise the unit is s or ms, whichever gives a rate nearer to one request per
    second; a warning reports the unit and the rate.
    """
    if columns.names == DEFAULT:
        return _MS
    known = next((unit for names, unit in _KNOWN if names == columns.names), None)
    span = max(times) - min(times)
    if span <= 0:
        return known or _S
    unit = known or min((_S, _MS), key=lambda unit_s: abs(math.log((len(times) - 1) / (span * unit_s))))
    rate = (len(times) - 1) / (span * unit)
    warnings.warn(
        f"{where}: the unit of column {columns.time!r} is assumed to be {'s' if unit == _S else 'ms'}, which gives "
        f"{rate:.3g} requests/s over {span * unit:.4g} s; set `time_unit_s`",
        DatasetWarning,
        stacklevel=2,
    )
    return unit
