"""The validity gate: the reasons that keep a result out of averages and rankings. Such results are still shown."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hpcsweep.analysis.findings.measured import Reason, Status, Validity, Values
from hpcsweep.analysis.measured.aggregates import has_aggregates
from hpcsweep.analysis.measured.samples import MeasuredSamples
from hpcsweep.analysis.rows import AttemptRow, WorkloadRow
from hpcsweep.events.records import OTHER_GPU
from hpcsweep.spec.phases import OutcomeKind

FAILED_SHARE = 0.01
"""A larger share of failed requests makes a result invalid, because the others had a less loaded server."""

TOKENS_SHARE = 0.01
"""Mean tokens of two runs of one workload may differ by this share."""

MIN_WARM_SAMPLES = 3
"""A result with fewer warm samples is provisional."""

CLIENT_WARNINGS = {
    "client_limited": "the client was the bottleneck, not the server",
    "wrong_model": "another model responded",
    "image_tokens_not_counted": "image tokens are missing from the prompt tokens",
}
"""Codes of the load clients' warnings that affect the result, and their meaning."""

_CRASHES = (OutcomeKind.CRASHED, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.FAILED)


def gate(reasons: Sequence[Reason]) -> Validity:
    """Return the validity that the worst of the reasons leaves."""
    if any(reason.status == "invalid" for reason in reasons):
        return Validity("invalid", tuple(reasons))
    return Validity("provisional" if reasons else "valid", tuple(reasons))


def workload_reasons(attempt: AttemptRow, row: WorkloadRow, measured: MeasuredSamples) -> list[Reason]:
    """Return the caveats of one workload of one attempt, judged without other runs."""
    if has_aggregates(row.client_figures) and not len(measured.columns):
        return _gpus(attempt) + _aggregate_reasons(row.client_figures)
    reasons = _gpus(attempt) + _ending(attempt, row, measured)
    reasons += _failures(measured)
    reasons += _outputs(row.settings, measured)
    reasons += _client(row, measured, attempt.time_scale)
    warm = int(measured.warm.sum())
    if measured.good.any() and warm < MIN_WARM_SAMPLES:
        text = f"{warm} warm {'sample' if warm == 1 else 'samples'}, at least {MIN_WARM_SAMPLES} are needed"
        reasons.append(_reason("too_few_samples", text, "provisional", warm=warm, needed=MIN_WARM_SAMPLES))
    return reasons


def _reason(code: str, text: str, status: Status = "invalid", **values: str | float | list[str]) -> Reason:
    return Reason(code, text, status, values)


def _gpus(attempt: AttemptRow) -> list[Reason]:
    other = attempt.fact(OTHER_GPU)
    return [_reason(OTHER_GPU, str(other.value))] if other is not None else []


def _aggregate_reasons(figures: Mapping[str, float]) -> list[Reason]:
    failed, done = figures.get("failed", 0.0), figures["completed"]
    if failed and failed / (failed + done) > FAILED_SHARE:
        text = f"{failed:.0f} of {failed + done:.0f} requests failed"
        return [_reason("failed_requests", text, failed=failed, sent=failed + done)]
    return []


def _ending(attempt: AttemptRow, row: WorkloadRow, measured: MeasuredSamples) -> list[Reason]:
    counted = int((~measured.columns.warmup).sum())
    whole = counted >= row.samples_total and bool(counted)
    outcome = attempt.outcome
    values: Values = {"recorded": counted, "expected": row.samples_total}
    if outcome is OutcomeKind.COMPLETED:
        if whole:
            return []
        return [Reason("samples_missing", f"{counted} of {row.samples_total} samples were recorded", values=values)]
    ended = "is still running" if outcome is None else f"ended as {outcome.value}"
    values["outcome"] = "" if outcome is None else outcome.value
    if whole:
        text = f"the attempt {ended} after this workload"
        return [Reason("attempt_not_completed", text, "provisional", values)]
    code = "engine_died" if outcome in _CRASHES else "ended_early"
    return [Reason(code, f"the attempt {ended} with {counted} of {row.samples_total} samples", values=values)]


def _failures(measured: MeasuredSamples) -> list[Reason]:
    columns = measured.columns
    sent = int((~columns.warmup).sum())
    failed = sent - int(measured.good.sum())
    if not failed or failed / sent <= FAILED_SHARE:
        return []
    causes = Counter(e for e, w in zip(columns.error, columns.warmup.tolist(), strict=True) if e is not None and not w)
    counts = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    text = f"{failed} of {sent} requests failed ({counts})"
    return [_reason("failed_requests", text, failed=failed, sent=sent, causes=[str(cause) for cause in causes])]


def _outputs(settings: Mapping[str, object], measured: MeasuredSamples) -> list[Reason]:
    tokens = measured.columns.completion_tokens[measured.good]
    tokens = tokens[np.isfinite(tokens)]
    reasons = []
    empty = int((tokens == 0).sum())
    if empty:
        text = f"{empty} of {len(tokens)} responses have 0 tokens"
        reasons.append(_reason("zero_outputs", text, empty=empty, responses=len(tokens)))
    wanted = settings.get("max_tokens")
    if settings.get("ignore_eos") and isinstance(wanted, int):
        short = int(((tokens > 0) & (tokens < wanted)).sum())
        if short and short / len(tokens) > FAILED_SHARE:
            text = f"{short} of {len(tokens)} responses are shorter than the requested {wanted} tokens"
            reasons.append(_reason("short_outputs", text, short=short, responses=len(tokens), requested=wanted))
    return reasons


def _client(row: WorkloadRow, measured: MeasuredSamples, time_scale: float) -> list[Reason]:
    """Return the caveats that the load client reported, or that follow from how it counted tokens.

    On a clock that runs faster than real time the client's own delays appear that much longer, so `client_limited` is
    only provisional there.
    """
    reasons = []
    for warning in row.warnings:
        code, detail = split_warning(warning)
        if code in CLIENT_WARNINGS:
            scaled = code == "client_limited" and time_scale > 1
            text = f"{CLIENT_WARNINGS[code]}{': ' + detail if detail else ''}"
            if scaled:
                text += f" (on a clock {time_scale:g} times as fast as real time)"
            reasons.append(_reason(code, text, "provisional" if scaled else "invalid", detail=detail))
    if "chunks" in set(measured.columns.tokens_from):
        reasons.append(_reason("tokens_from_chunks", "tokens were counted as chunks, not by the engine", "provisional"))
    return reasons


def split_warning(warning: str) -> tuple[str, str]:
    """Return (code, detail) of a load client's warning, which is recorded as `code: detail` or `code`."""
    code, _, detail = warning.partition(":")
    return code.strip().replace(" ", "_").replace("-", "_"), detail.strip()


def prompt_reason(reference: MeasuredSamples, measured: MeasuredSamples) -> Reason | None:
    """Return a caveat where the same samples have other prompt lengths than in the reference run.

    That is the sign of another tokenizer or chat template.
    """
    ours, theirs = measured.columns, reference.columns
    if ours.sample is theirs.sample or list(ours.sample) == list(theirs.sample):
        mine, other = ours.prompt_tokens, theirs.prompt_tokens
    else:
        known = dict(zip(theirs.sample, theirs.prompt_tokens.tolist(), strict=True))
        mine = ours.prompt_tokens
        other = np.array([known.get(sample, np.nan) for sample in ours.sample])
    with np.errstate(invalid="ignore"):
        differs = np.abs(mine - other) > TOKENS_SHARE * other
    count = int(differs.sum())
    if not count:
        return None
    first = int(np.flatnonzero(differs)[0])
    return _reason(
        "prompt_lengths_drift",
        f"{count} prompts have another length than in the first run (sample {ours.sample[first]}: "
        f"{mine[first]:.0f} tokens instead of {other[first]:.0f})",
        prompts=count,
        sample=ours.sample[first],
        tokens=float(mine[first]),
        reference_tokens=float(other[first]),
    )


def tokens_reason(tokens: float | None, usual: float | None) -> Reason | None:
    """Return a caveat where a variant generated another number of tokens per request than most variants did."""
    if tokens is None or not usual or abs(tokens - usual) <= TOKENS_SHARE * usual:
        return None
    text = f"{tokens:.1f} generated tokens per request, {usual:.1f} in most other variants"
    return _reason("generated_tokens_differ", text, tokens=tokens, usual=usual)
