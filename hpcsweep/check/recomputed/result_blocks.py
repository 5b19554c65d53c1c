"""Check a result block against itself: recompute each figure that follows from others.

A printed value may differ by the uncertainty of its last digit, and not by more.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from hpcsweep.analysis.measured.vllm_bench import bench_summary
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.imports.documents.model import Benchmark
from hpcsweep.imports.documents.numbers import Number, shown, stored

_RATES = (
    ("request_throughput", ("completed",), "req/s"),
    ("output_throughput", ("total_output_tokens",), "tok/s"),
    ("input_throughput", ("total_input_tokens",), "tok/s"),
    ("total_token_throughput", ("total_input_tokens", "total_output_tokens"), "tok/s"),
)
_STANDARD = ("vllm bench serve", "sglang.bench_serving", "trtllm-bench")
_TWO = 2
_NEEDS_END = ("_tpot_ms", "_e2el_ms")
_METRICS = ("ttft", "tpot", "itl", "e2el")
_AT_LEAST = (
    ("max_output_tokens_per_s", "output_throughput", "tok/s"),
    ("max_concurrent_requests", "concurrency", "requests"),
)


def recompute(benchmark: Benchmark) -> list[ClaimFinding]:
    """Return a finding on every figure that can be recomputed."""
    return [*_rates(benchmark), *_sums(benchmark), *_order(benchmark), *_times(benchmark), *_details(benchmark)]


def _finding(
    benchmark: Benchmark, name: str, recomputed: Number, how: str, unit: str, *, agrees: bool | None = None
) -> ClaimFinding:
    stated = benchmark.figures[name]
    fits = stated.agrees(recomputed) if agrees is None else agrees
    return ClaimFinding(
        location=benchmark.location,
        about=benchmark.label,
        claim=f"{name} = {shown(stated.value)} {unit}".rstrip(),
        verdict=ClaimVerdict.CONFIRMED if fits else ClaimVerdict.WRONG,
        reason=f"{how} = {shown(recomputed.value)}",
        kind=ClaimKind.FIGURE,
        stated=stated.value,
        recomputed=recomputed.value,
        unit=unit,
    )


def _rates(benchmark: Benchmark) -> Iterator[ClaimFinding]:
    """Compare each throughput with amount / duration.

    A tool may use another duration: GuideLLM averages over the time in which requests were in flight. Therefore a rate
    is wrong only if another rate of its block follows the formula, or if the client is known to use it.
    """
    figures = benchmark.figures
    duration = figures.get("duration")
    if duration is None or duration.value <= 0 or benchmark.tool == "guidellm" or "duration" in benchmark.derived:
        return
    rated: list[tuple[str, Number, str, str]] = []
    for name, amounts, unit in _RATES:
        if name in figures and all(amount in figures for amount in amounts):
            amount = Number(sum(figures[part].value for part in amounts))
            how = f"{' + '.join(amounts)} / duration = {shown(amount.value)} / {shown(duration.value)} s"
            rated.append((name, amount / duration, how, unit))
    fitting = [rate_entry for rate_entry in rated if figures[rate_entry[0]].agrees(rate_entry[1])]
    if not fitting and _is_standard(benchmark) and len(rated) > _TWO:
        factors = [figures[name] / rate for name, rate, _, _ in rated if rate.value > 0]
        if factors and all(factor.agrees(factors[0]) for factor in factors):
            implied = duration / factors[0]
            how = f"amount / rate of all {len(rated)} rates of this block"
            yield _finding(benchmark, "duration", implied, how, "s", agrees=False)
            return
    for name, rate, how, unit in rated:
        agrees = figures[name].agrees(rate)
        if not agrees and not fitting and not (len(rated) == 1 and _is_standard(benchmark)):
            finding = _finding(benchmark, name, rate, how, unit)
            why = f"{how}; no rate of this block is amount / duration, so the tool uses another definition"
            yield replace(finding, verdict=ClaimVerdict.NOT_CHECKED, reason=why)
            continue
        yield _finding(benchmark, name, rate, how, unit)


def _is_standard(benchmark: Benchmark) -> bool:
    """Return whether the block is from a client whose rates are known to be amount / duration."""
    return benchmark.tool in _STANDARD and not benchmark.unread


def _sums(benchmark: Benchmark) -> Iterator[ClaimFinding]:
    """Check that total = input + output and text + vision = input, and note failed or uncounted requests."""
    figures = benchmark.figures
    parts = ("input_throughput", "output_throughput")
    if "total_token_throughput" in figures and all(part in figures for part in parts):
        total = figures[parts[0]] + figures[parts[1]]
        yield _finding(benchmark, "total_token_throughput", total, "input + output throughput", "tok/s")
    pieces = ("total_input_text_tokens", "total_input_vision_tokens")
    if "total_input_tokens" in figures and all(piece in figures for piece in pieces):
        total = figures[pieces[0]] + figures[pieces[1]]
        yield _finding(benchmark, "total_input_tokens", total, "text + vision tokens", "tokens")
    failed, completed = figures.get("failed"), figures.get("completed")
    if failed is not None and completed is not None and failed.value > 0:
        yield ClaimFinding(
            benchmark.location,
            benchmark.label,
            f"a result of {shown(completed.value)} requests",
            ClaimVerdict.NOTE,
            f"{shown(failed.value)} of {shown(failed.value + completed.value)} requests failed and are in no average",
            ClaimKind.FAILURES,
        )
    counted, sent = figures.get("total_output_tokens"), figures.get("total_output_tokens_retokenized")
    if counted is not None and sent is not None and counted.value > 0 and sent.value < 0.95 * counted.value:
        yield ClaimFinding(
            benchmark.location,
            benchmark.label,
            f"total_output_tokens = {shown(counted.value)}",
            ClaimVerdict.NOTE,
            f"the returned text has {shown(sent.value)} tokens; the count includes tokens that were not received",
            ClaimKind.TOKENS,
            stated=counted.value,
            recomputed=sent.value,
            unit="tokens",
        )


def _order(benchmark: Benchmark) -> Iterator[ClaimFinding]:
    """Check that percentiles do not decrease and that a peak is not below the average."""
    figures = benchmark.figures
    for metric in _METRICS:
        median = figures.get(f"median_{metric}_ms") or figures.get(f"p50_{metric}_ms")
        ranked = [(50.0, f"median_{metric}_ms", median)] if median and f"median_{metric}_ms" in figures else []
        for name, number in figures.items():
            head, _, rest = name.partition("_")
            if rest == f"{metric}_ms" and head[0] == "p" and head[1:].replace(".", "", 1).isdigit():
                ranked.append((float(head[1:]), name, number))
        ranked.sort(key=lambda percentile: percentile[0])
        for (_, lower, below), (_, higher, above) in pairwise(ranked):
            if below is not None and above is not None and above.value < below.value and not above.agrees(below):
                how = f"cannot be below {lower}"
                yield _finding(benchmark, higher, below, how, "ms", agrees=False)
    for high, low, unit in _AT_LEAST:
        if high in figures and low in figures:
            least = figures[low] * _in_buckets(figures.get("duration")) if unit == "tok/s" else figures[low]
            if figures[high].value < least.value:
                fits = figures[high].agrees(least)
                finding = _finding(benchmark, high, least, f"cannot be below {low}", unit, agrees=fits)
                if not fits and high == "max_output_tokens_per_s":
                    why = f"the value is below {low} = {shown(figures[low].value)}: vLLM counts chunks for its peak, "
                    why += "and with speculative decoding a chunk has several tokens"
                    finding = replace(finding, verdict=ClaimVerdict.NOTE, reason=why)
                yield finding


def _in_buckets(duration: Number | None) -> Number:
    """Return the least ratio of the fullest one-second bucket to the average, since the last bucket is not full."""
    return Number(1.0 if duration is None or duration.value <= 0 else duration.value / (math.floor(duration.value) + 1))


def _times(benchmark: Benchmark) -> Iterator[ClaimFinding]:
    """Check that the requests fit into the duration, and the mean times into each other."""
    figures = benchmark.figures
    duration, completed = figures.get("duration"), figures.get("completed")
    if duration is None or completed is None or completed.value <= 0 or duration.value <= 0:
        return
    e2e = figures.get("mean_e2el_ms")
    if e2e is not None and "concurrency" in figures:
        busy = e2e * Number(0.001) * completed / duration
        yield _finding(benchmark, "concurrency", busy, "mean E2E latency x completed / duration", "requests")
    ttft, tokens = figures.get("mean_ttft_ms"), figures.get("total_output_tokens")
    gap = min(
        (figures[n] for n in ("mean_tpot_ms", "mean_itl_ms") if n in figures), key=lambda n: n.value, default=None
    )
    if ttft is None or tokens is None or gap is None or tokens.value < completed.value:
        return
    # The mean TPOT is over requests, so short outputs may raise it where lengths differ: use the lower of both.
    each = tokens.value / completed.value
    mean_s = (ttft.value + gap.value * (each - 1)) / 1000
    fits = mean_s <= duration.value * 1.001 + duration.tolerance
    yield ClaimFinding(
        location=benchmark.location,
        about=benchmark.label,
        claim=f"duration = {shown(duration.value)} s",
        verdict=ClaimVerdict.CONFIRMED if fits else ClaimVerdict.WRONG,
        reason=f"a mean request takes TTFT + {shown(each - 1)} x {shown(gap.value)} ms = {shown(mean_s)} s"
        + ("" if fits else ", longer than the whole benchmark"),
        kind=ClaimKind.PLAUSIBILITY,
        stated=duration.value,
        recomputed=None if fits else mean_s,
        unit="s",
    )


def _details(benchmark: Benchmark) -> Iterator[ClaimFinding]:
    """Recompute the summary from the single requests, with the formulas of `vllm bench serve`."""
    duration = benchmark.value("duration")
    if not benchmark.samples or duration is None or duration <= 0 or benchmark.tool == "guidellm":
        return
    ours = bench_summary(benchmark.samples, duration, percentiles=_percentiles(benchmark.figures))
    peaks = ("max_output_tokens_per_s", "max_concurrent_requests")
    for name, value in ours.items():
        if value is None or name not in benchmark.figures or (name in peaks and not benchmark.timed):
            continue
        if benchmark.tool.startswith("sglang") and name.endswith(_NEEDS_END):  # its details have no end of a request
            continue
        yield _finding(benchmark, name, stored(float(value)), "from the single requests", _unit(name))


def _percentiles(names: Iterable[str]) -> tuple[float, ...]:
    ranks = {name.partition("_")[0][1:] for name in names if name[0] == "p" and name.endswith("_ms")}
    return tuple(sorted(float(text) for text in ranks if text.replace(".", "", 1).isdigit()))


def _unit(name: str) -> str:
    if name.endswith("_ms"):
        return "ms"
    if name == "duration":
        return "s"
    return "req/s" if name.startswith("request_") else "tok/s" if "throughput" in name else ""
