"""Samples to blocks of columns, and back."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import numpy as np

from hpcsweep.analysis.columns import SampleColumns
from hpcsweep.events.records import SampleDone

_WORDS = ("sample", "tokens_from", "finish_reason", "cold", "error", "error_detail")
_FLOATS = ("sent_s", "prompt_tokens", "completion_tokens", "cached_tokens", "ttft_s", "e2e_s", "lateness_s")


@dataclass(frozen=True)
class Sums:
    """What a status needs of samples without opening a block; warm-up requests are not in it.

    `first_sent_s`, `last_end_s`: on the attempt's clock; None: no sample, or none with an end.
    """

    done: int
    failed: int
    completion_tokens: int
    first_sent_s: float | None
    last_end_s: float | None


def block(samples: Sequence[SampleDone]) -> dict[str, Any]:
    """The columns of a row of `sample_block`, of at least one sample."""
    row: dict[str, Any] = {name: [getattr(s, name) for s in samples] for name in (*_WORDS, "seq", "index", "warmup")}
    for name in _FLOATS:
        row[name] = np.array([getattr(s, name) for s in samples], np.float64)  # None becomes NaN
    row["itl_count"] = [len(s.itl_s) for s in samples]
    row["itl_s"] = np.fromiter(chain.from_iterable(s.itl_s for s in samples), np.float32)
    return row | {"first_seq": min(row["seq"]), "samples": len(samples)}


def sums(samples: Iterable[SampleDone]) -> Sums:
    """The sums over some samples."""
    counted = [s for s in samples if not s.warmup]
    good = [s for s in counted if s.error is None]
    ends = [s.sent_s + s.e2e_s for s in counted if s.e2e_s is not None]
    return Sums(
        done=len(counted),
        failed=len(counted) - len(good),
        completion_tokens=sum(s.completion_tokens or 0 for s in good),
        first_sent_s=min((s.sent_s for s in counted), default=None),
        last_end_s=max((end for end in ends if math.isfinite(end)), default=None),
    )


def columns(blocks: Sequence[tuple[int, Any]], *, itl: bool) -> SampleColumns:
    """The samples of (repeat, row of `sample_block`) pairs, in the order of sending within each repeat.

    `itl`: the rows have the column `itl_s`.
    """
    numbers: dict[str, Any] = {
        name: np.concatenate([getattr(row, name) for _, row in blocks]) for name in (*_FLOATS, "index")
    }
    repeat = np.concatenate([np.full(row.samples, repeat, np.int64) for repeat, row in blocks])
    warmup = np.concatenate([row.warmup for _, row in blocks])
    words: dict[str, Any] = {
        name: list(chain.from_iterable(getattr(row, name) for _, row in blocks)) for name in _WORDS
    }
    gaps = list(chain.from_iterable(_gaps(row) for _, row in blocks)) if itl else []
    order = np.lexsort((numbers["index"], numbers["sent_s"], repeat))
    if not np.array_equal(order, np.arange(len(order))):
        numbers = {name: column[order] for name, column in numbers.items()}
        repeat, warmup = repeat[order], warmup[order]
        words = {name: [column[i] for i in order] for name, column in words.items()}
        gaps = [gaps[i] for i in order] if itl else []
    return SampleColumns(**numbers, **words, repeat=repeat, warmup=warmup, itl_s=gaps)


def _gaps(row: Any) -> list[Any]:
    ends = list(accumulate(row.itl_count.tolist()))
    return [row.itl_s[start:end] for start, end in zip([0, *ends], ends, strict=False)]
