"""Check a sample table against itself: its rates, its averages, and the effect of a cold first request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from hpcsweep.analysis.measured.samples import columns_of, measure, with_cold_marks
from hpcsweep.analysis.rows import AttemptRow, WorkloadRow
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.imports.documents.model import Location, SampleTable
from hpcsweep.imports.documents.numbers import Number, shown
from hpcsweep.imports.results.sample_rows import rows_of

_UNITS = {"e2e_s": "s", "ttft_s": "s", "tps": "tok/s", "prompt_tokens": "tokens", "completion_tokens": "tokens"}
COLD_SHARE = 0.10
"""A first request that took this share longer than the median of the others is cold, and distorts the average."""


@dataclass(frozen=True)
class WarmMean:
    """Mean tokens/s of a table: of all samples (`everything`) and without the first (`warm`)."""

    everything: float
    warm: float
    first_s: float
    median_s: float
    n: int

    @property
    def slow(self) -> bool:
        """Return whether the first request took clearly longer than the others."""
        return self.first_s > (1 + COLD_SHARE) * self.median_s


def warm_mean(table: SampleTable) -> WarmMean | None:
    """Return the means with and without the first request; None: fewer than two samples have tokens and a time.

    The analysis marks the first sample as cold, as for every set of rows without a warm-up.
    """
    row = WorkloadRow(table.group, samples=rows_of(table))
    attempt = AttemptRow(1, None, None, "", False, 1.0, None, None, workloads=(row,))
    columns = with_cold_marks(attempt)[0] if len(columns_of(row)) else None
    if columns is None:
        return None
    seen = measure(columns)
    everything, warm = seen.values("tps", seen.good), seen.values("tps", seen.warm)
    times = seen.values("e2e_s", seen.warm)
    if not len(warm) or not len(times):
        return None
    first_s = float(columns.e2e_s[int(np.argmin(columns.sent_s))])
    return WarmMean(float(everything.mean()), float(warm.mean()), first_s, float(np.median(times)), len(everything))


def recompute_table(table: SampleTable) -> list[ClaimFinding]:
    """Return findings on each row's tokens/s, each average, and the effect of a cold first request."""
    return [*_row_rates(table), *_averages(table), *_cold(table)]


def _row_rates(table: SampleTable) -> Iterator[ClaimFinding]:
    """Check the rate of each row against tokens / time; wrong only if most rows of the table follow the formula."""
    rated = []
    for sample in table.samples:
        if sample.completion_tokens is None or sample.e2e_s is None or sample.tps is None or not sample.e2e_s.value:
            continue
        tps = Number(sample.completion_tokens) / sample.e2e_s
        rated.append((sample, sample.e2e_s, sample.tps, tps, sample.tps.agrees(tps)))
    follows = sum(agrees for *_, agrees in rated) > len(rated) / 2
    for sample, e2e_s, stated, tps, agrees in rated:
        reason = f"{sample.completion_tokens} tokens / {shown(e2e_s.value)} s = {shown(tps.value)}"
        otherwise = ClaimVerdict.WRONG if follows else ClaimVerdict.NOT_CHECKED
        yield ClaimFinding(
            location=Location(table.location.file, sample.line),
            about=f"{table.label}, {sample.name}",
            claim=f"TPS = {shown(stated.value)}",
            verdict=ClaimVerdict.CONFIRMED if agrees else otherwise,
            reason=reason if agrees or follows else f"{reason}; the rows of this table use another definition",
            kind=ClaimKind.SAMPLE,
            stated=stated.value,
            recomputed=tps.value,
            unit="tok/s",
        )


def _averages(table: SampleTable) -> Iterator[ClaimFinding]:
    for column, stated in table.averages.items():
        mean = _mean([getattr(sample, column) for sample in table.samples])
        if mean is None:
            continue
        others = [other for name, other in _alternatives(table) if name == column]
        if not stated.agrees(mean) and any(stated.agrees(other) for other in others):
            continue
        yield ClaimFinding(
            location=Location(table.location.file, table.average_line),
            about=f"{table.label}, {table.group}",
            claim=f"average {column} = {shown(stated.value)} {_UNITS[column]}",
            verdict=ClaimVerdict.CONFIRMED if stated.agrees(mean) else ClaimVerdict.WRONG,
            reason=f"mean of {len(table.samples)} rows = {shown(mean.value)}",
            kind=ClaimKind.AVERAGE,
            stated=stated.value,
            recomputed=mean.value,
            unit=_UNITS[column],
        )


def _alternatives(table: SampleTable) -> Iterator[tuple[str, Number]]:
    """Yield other valid averages than the mean of the rows: the rate of all tokens in the whole time."""
    tokens = _mean([sample.completion_tokens for sample in table.samples])
    times = _mean([sample.e2e_s for sample in table.samples])
    if tokens is not None and times is not None and times.value > 0:
        yield "tps", tokens / times


def _mean(values: Sequence[Number | int | None]) -> Number | None:
    """Return the mean; None: a row lacks the value."""
    numbers = [value if isinstance(value, Number) else Number(float(value)) for value in values if value is not None]
    if len(numbers) < len(values) or not numbers:
        return None
    return Number(fmean(n.value for n in numbers), fmean(n.tolerance for n in numbers))


def _cold(table: SampleTable) -> Iterator[ClaimFinding]:
    means = warm_mean(table)
    stated = table.averages.get("tps")
    if means is None or stated is None or not means.slow:
        return
    yield ClaimFinding(
        location=Location(table.location.file, table.average_line),
        about=f"{table.label}, {table.group}",
        claim=f"average TPS = {shown(stated.value)} as the speed of this configuration",
        verdict=ClaimVerdict.DOES_NOT_FOLLOW,
        reason=f"the first request was cold ({shown(means.first_s)} s, others {shown(means.median_s)} s); "
        f"without it the mean of {means.n - 1} is {shown(means.warm)}",
        kind=ClaimKind.COLD_IN_AVERAGE,
        stated=stated.value,
        recomputed=means.warm,
        unit="tok/s",
    )
