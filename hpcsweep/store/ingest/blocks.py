"""Samples as columns: from the lines of a node to a row of `sample_block`, and back to what the analysis reads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hpcsweep.analysis.columns import SampleColumns
from hpcsweep.events.records import SampleDone
from hpcsweep.spec.base import validation_text

_WHOLE = ("seq", "index")
_FLOATS = ("sent_s", "prompt_tokens", "completion_tokens", "cached_tokens", "ttft_s", "e2e_s", "lateness_s")
_WORDS = ("sample", "tokens_from", "finish_reason", "cold", "error", "error_detail")
FIELDS = (*_WHOLE, *_FLOATS, *_WORDS, "warmup", "itl_s")
"""Fields of a sample line, in the order in which `take` and `take_record` give them."""

take = itemgetter(*FIELDS)
"""The fields of a parsed line. KeyError: one is not there."""

take_record = attrgetter(*FIELDS)
"""The same of a validated record."""

_NUMBER = {int, float}
_TEXT = {str}
_MAYBE = {type(None)}
_TYPES: dict[str, set[Any]] = {
    "seq": {int},
    "index": {int},
    "sent_s": _NUMBER,
    "prompt_tokens": {int} | _MAYBE,
    "completion_tokens": {int} | _MAYBE,
    "cached_tokens": {int} | _MAYBE,
    "ttft_s": _NUMBER | _MAYBE,
    "e2e_s": _NUMBER | _MAYBE,
    "lateness_s": _NUMBER,
    "sample": _TEXT,
    "tokens_from": _TEXT,
    "finish_reason": _TEXT | _MAYBE,
    "cold": _TEXT | _MAYBE,
    "error": _TEXT | _MAYBE,
    "error_detail": _TEXT,
    "warmup": {bool},
    "itl_s": {list},
}


@dataclass(frozen=True)
class Samples:
    """Samples of one workload: an array or a list a field, all of one length but `itl_s`, which holds all gaps."""

    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["seq"])

    def without(self, seqs: Collection[int]) -> "Samples":
        """Those whose seq is not among `seqs`."""
        keep = np.array([seq not in seqs for seq in self.columns["seq"].tolist()], np.bool_)
        arrays = (*_WHOLE, *_FLOATS, "warmup", "itl_count")
        kept = {name: self.columns[name][keep] for name in arrays}
        words = {name: [w for w, k in zip(self.columns[name], keep, strict=True) if k] for name in _WORDS}
        gaps = self.columns["itl_s"][np.repeat(keep, self.columns["itl_count"])]
        return Samples({**kept, **words, "itl_s": gaps})

    def block(self) -> dict[str, Any]:
        """Return the columns of a row of `sample_block`."""
        return self.columns | {"first_seq": int(self.columns["seq"].min()), "samples": len(self)}

    def sums(self) -> dict[str, int | float | None]:
        """Return the sums of a block for a status, without warm-up; times on the attempt's clock."""
        counted = ~self.columns["warmup"]
        good = counted & np.array([error is None for error in self.columns["error"]], np.bool_)
        sent_s = self.columns["sent_s"][counted]
        ends_s = (sent_s + self.columns["e2e_s"][counted])[np.isfinite(self.columns["e2e_s"][counted])]
        return {
            "done": int(counted.sum()),
            "failed": int(counted.sum() - good.sum()),
            "completion_tokens": int(np.nansum(self.columns["completion_tokens"][good])),
            "first_sent_s": float(sent_s.min()) if sent_s.size else None,
            "last_end_s": float(ends_s.max()) if ends_s.size else None,
        }


def gather(rows: Sequence[tuple[Any, ...]]) -> Samples:
    """Return the columns of rows in the order of FIELDS. Raises ValueError when a value is not what the field holds."""
    columns: dict[str, Any] = dict(zip(FIELDS, zip(*rows, strict=True), strict=True))
    for name, types in _TYPES.items():
        if not types.issuperset(map(type, columns[name])):
            raise ValueError(name)
    try:
        for name in _WHOLE:
            columns[name] = np.array(columns[name], np.int64)
        for name in _FLOATS:
            columns[name] = np.array(columns[name], np.float64)  # None becomes NaN
        gaps = columns["itl_s"]
        columns["itl_count"] = np.fromiter(map(len, gaps), np.int64, len(gaps))
        columns["itl_s"] = np.fromiter(chain.from_iterable(gaps), np.float32)
    except (TypeError, OverflowError) as exc:
        raise ValueError(str(exc)) from exc
    if not np.isfinite(columns["sent_s"]).all():
        raise ValueError("sent_s")
    columns["warmup"] = np.array(columns["warmup"], np.bool_)
    return Samples(columns)


def mend(row: tuple[Any, ...], workload: object) -> tuple[tuple[Any, ...] | None, str]:
    """Return a row as its record gives it back (6100.0 tokens are 6100); or None, and why it is not a sample."""
    stamp = {"run_id": "", "attempt": 1, "at": 0.0, "t_s": 0.0, "workload": workload}
    try:
        record = SampleDone.model_validate(stamp | dict(zip(FIELDS, row, strict=True)))
        mended = take_record(record)
        gather([mended])
    except ValidationError as exc:
        return None, validation_text(exc)
    except ValueError as exc:
        return None, f"{exc}: a number that cannot be stored"
    return mended, ""


def columns(blocks: Sequence[tuple[int, Any]], *, itl: bool) -> SampleColumns:
    """Return the samples of (repeat, row of `sample_block`) pairs, in the order of sending within each repeat.

    `itl`: the rows have the columns `itl_count` and `itl_s`.
    """
    numbers: dict[str, Any] = {name: _joined([getattr(row, name) for _, row in blocks]) for name in (*_FLOATS, "index")}
    repeat = np.repeat(np.array([repeat for repeat, _ in blocks]), [row.samples for _, row in blocks])
    warmup = _joined([row.warmup for _, row in blocks])
    words: dict[str, Any] = {
        name: list(chain.from_iterable(getattr(row, name) for _, row in blocks)) for name in _WORDS
    }
    gaps: Any = list(chain.from_iterable(_gaps(row) for _, row in blocks)) if itl else []
    order = np.lexsort((numbers["index"], numbers["sent_s"], repeat))
    if not np.array_equal(order, np.arange(len(order))):
        numbers = {name: column[order] for name, column in numbers.items()}
        repeat, warmup = repeat[order], warmup[order]
        words = {name: [column[i] for i in order] for name, column in words.items()}
        gaps = [gaps[i] for i in order] if itl else []
    return SampleColumns(**numbers, **words, repeat=repeat, warmup=warmup, itl_s=gaps)


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _gaps(row: Any) -> list[NDArray[Any]]:
    ends = list(accumulate(row.itl_count.tolist()))
    return [row.itl_s[start:end] for start, end in zip([0, *ends], ends, strict=False)]
