"""The validity gate: what keeps a result out of averages and rankings, and why. It stays visible, marked."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hpcsweep.analysis.findings.measured import Reason, Status, Validity
from hpcsweep.analysis.measured.aggregates import has_aggregates
from hpcsweep.analysis.measured.samples import MeasuredSamples
from hpcsweep.analysis.rows import AttemptRow, WorkloadRow
from hpcsweep.events.records import OTHER_GPU
from hpcsweep.spec.phases import OutcomeKind

FAILED_SHARE = 0.01
"""More failed requests than this share make a result invalid: the others may have had an easier server."""

TOKENS_SHARE = 0.01
"""Mean tokens of two runs of one workload may differ by this share."""

MIN_WARM_SAMPLES = 3
"""Fewer warm samples than this leave a result provisional."""

_SELF_TOLD = {
    "client_limited": "the client, not the server, was the bottleneck",
    "wrong_model": "another model answered",
    "image_tokens_not_counted": "the tokens of images are not in the prompt tokens",
}


def gate(reasons: Sequence[Reason]) -> Validity:
    """The worst of the reasons decides."""
    if any(reason.status == "invalid" for reason in reasons):
        return Validity("invalid", tuple(reasons))
    return Validity("provisional" if reasons else "valid", tuple(reasons))


def workload_reasons(attempt: AttemptRow, row: WorkloadRow, measured: MeasuredSamples) -> list[Reason]:
    """What speaks against one workload of one attempt, seen by itself."""
    if has_aggregates(row.client_figures) and not len(measured.columns):
        return _gpus(attempt) + _aggregate_reasons(row.client_figures)
    reasons = _gpus(attempt) + _ending(attempt, row, measured)
    reasons += _failures(measured)
    reasons += _outputs(row.settings, measured)
    reasons += _told(row, measured, attempt.time_scale)
    warm = int(measured.warm.sum())
    if measured.good.any() and warm < MIN_WARM_SAMPLES:
        told = f"{warm} warm {'sample' if warm == 1 else 'samples'}, at least {MIN_WARM_SAMPLES} are needed"
        reasons.append(_reason("too_few_samples", told, "provisional"))
    return reasons


def _reason(kind: str, text: str, status: Status = "invalid") -> Reason:
    return Reason(kind, text, status)


def _gpus(attempt: AttemptRow) -> list[Reason]:
    other = attempt.fact(OTHER_GPU)
    return [_reason(OTHER_GPU, str(other.value))] if other is not None else []


def _aggregate_reasons(figures: Mapping[str, float]) -> list[Reason]:
    failed, done = figures.get("failed", 0.0), figures["completed"]
    if failed and failed / (failed + done) > FAILED_SHARE:
        return [_reason("failed_requests", f"{failed:.0f} of {failed + done:.0f} requests failed")]
    return []


def _ending(attempt: AttemptRow, row: WorkloadRow, measured: MeasuredSamples) -> list[Reason]:
    counted = int((~measured.columns.warmup).sum())
    whole = counted >= row.samples_total and bool(counted)
    outcome = attempt.outcome
    if outcome is OutcomeKind.COMPLETED:
        if whole:
            return []
        return [_reason("samples_missing", f"{counted} of {row.samples_total} samples were recorded")]
    word = "still runs" if outcome is None else f"ended as {outcome.value}"
    if whole:
        return [_reason("attempt_not_completed", f"the attempt {word} after this workload", "provisional")]
    kind = "engine_died" if outcome in _DEATHS else "ended_early"
    return [_reason(kind, f"the attempt {word} with {counted} of {row.samples_total} samples")]


_DEATHS = (OutcomeKind.CRASHED, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.FAILED)


def _failures(measured: MeasuredSamples) -> list[Reason]:
    columns = measured.columns
    sent = int((~columns.warmup).sum())
    good = int(measured.good.sum())
    if not sent or good == sent:
        return []
    causes = Counter(e for e, w in zip(columns.error, columns.warmup.tolist(), strict=True) if e is not None and not w)
    listed = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    if (sent - good) / sent > FAILED_SHARE:
        return [_reason("failed_requests", f"{sent - good} of {sent} requests failed ({listed})")]
    return []


def _outputs(settings: Mapping[str, object], measured: MeasuredSamples) -> list[Reason]:
    tokens = measured.columns.completion_tokens[measured.good]
    tokens = tokens[np.isfinite(tokens)]
    reasons = []
    empty = int((tokens == 0).sum())
    if empty:
        reasons.append(_reason("zero_outputs", f"{empty} of {len(tokens)} answers have 0 tokens"))
    asked = settings.get("max_tokens")
    if settings.get("ignore_eos") and isinstance(asked, int):
        short = int(((tokens > 0) & (tokens < asked)).sum())
        if short and short / len(tokens) > FAILED_SHARE:
            reasons.append(
                _reason(
                    "short_outputs",
                    f"{short} of {len(tokens)} answers are shorter than the {asked} tokens asked for",
                )
            )
    return reasons


def _told(row: WorkloadRow, measured: MeasuredSamples, time_scale: float) -> list[Reason]:
    """What the client said of itself, in its warnings and in how it counted tokens.

    On a clock that runs faster than real time, the client's own delays look that much longer: no verdict follows.
    """
    reasons = []
    for warning in row.warnings:
        word = warning.split(":", 1)[0].strip().replace(" ", "_").replace("-", "_")
        if word in _SELF_TOLD:
            detail = warning.partition(":")[2].strip()
            own_clock = word == "client_limited" and time_scale > 1
            told = f"{_SELF_TOLD[word]}{': ' + detail if detail else ''}"
            if own_clock:
                told += f" (on a clock {time_scale:g} times as fast as real time)"
            reasons.append(_reason(word, told, "provisional" if own_clock else "invalid"))
    if "chunks" in set(measured.columns.tokens_from):
        reasons.append(_reason("tokens_from_chunks", "tokens were counted by chunks, not by the engine", "provisional"))
    return reasons


def prompt_reason(reference: MeasuredSamples, measured: MeasuredSamples) -> Reason | None:
    """Whether the same samples had other prompt lengths than in the reference run: another tokenizer or template."""
    ours, theirs = measured.columns, reference.columns
    if ours.sample is theirs.sample or list(ours.sample) == list(theirs.sample):
        mine, other = ours.prompt_tokens, theirs.prompt_tokens
    else:
        known = dict(zip(theirs.sample, theirs.prompt_tokens.tolist(), strict=True))
        mine = ours.prompt_tokens
        other = np.array([known.get(sample, np.nan) for sample in ours.sample])
    with np.errstate(invalid="ignore"):
        drifted = np.abs(mine - other) > TOKENS_SHARE * other
    count = int(drifted.sum())
    if not count:
        return None
    place = int(np.flatnonzero(drifted)[0])
    return _reason(
        "prompt_lengths_drift",
        f"{count} prompts have another length than in the first run (sample {ours.sample[place]}: "
        f"{mine[place]:.0f} tokens, not {other[place]:.0f})",
    )


def tokens_reason(tokens: float | None, usual: float | None) -> Reason | None:
    """Whether a variant generated another number of tokens a request than most: then times do not compare."""
    if tokens is None or not usual or abs(tokens - usual) <= TOKENS_SHARE * usual:
        return None
    return _reason(
        "generated_tokens_differ", f"{tokens:.1f} generated tokens a request, {usual:.1f} in most other variants"
    )
