"""The confidence in a recommendation: one class, with the reasons that lower it as codes."""

from collections.abc import Mapping, Sequence

from hpcsweep.analysis.decision.choice import Decision
from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import Confidence, Level, Statement

_CAVEATS = {
    "one_run_only": "{name} was run only once",
    "too_few_samples": "{name} has few warm samples",
    "tokens_from_chunks": "tokens were counted as chunks",
    "attempt_not_completed": "an attempt of {name} did not complete",
    "client_limited": "the load client may have been the bottleneck",
}
_HIGH = "High confidence: the results are valid and repeated, and every other variant is significantly worse."


def confidence_of(decision: Decision, variants: Sequence[Variant]) -> Confidence | None:
    """Return the confidence in the chosen variant; None: nothing is chosen.

    low: the chosen result has a caveat, or no other variant has a score. medium: other variants are not significantly
    different, not comparable or without a result, or the spread between runs is assumed. high: none of these.
    """
    chosen = decision.chosen
    if chosen is None:
        return None
    by_id = {variant.variant: variant for variant in variants}
    low = [*_caveats(by_id, decision, chosen)]
    if len(decision.ranked) == 1 and len(variants) > 1:
        low.append(Statement("only_variant", "no other variant has a comparable result", {"variants": [chosen]}))
    medium = _medium(decision, variants, chosen)
    level: Level = "low" if low else "medium" if medium else "high"
    reasons = (*low, *medium)
    text = f"{level.capitalize()} confidence: {_joined([r.text for r in reasons])}." if reasons else _HIGH
    return Confidence(level, reasons, text)


def _caveats(by_id: Mapping[str, Variant], decision: Decision, chosen: str) -> list[Statement]:
    name = by_id[chosen].short_name
    reasons = {reason.code: reason for reason in decision.validity[chosen].reasons}
    return [
        Statement(code, _CAVEATS[code].format(name=name) if code in _CAVEATS else reason.text, reason.values)
        for code, reason in reasons.items()
    ]


def _medium(decision: Decision, variants: Sequence[Variant], chosen: str) -> list[Statement]:
    reasons = []
    spread_assumed = any(estimate.assumed for estimate in decision.scores[chosen].estimates)
    if spread_assumed and decision.validity[chosen].ranked:
        reasons.append(Statement("spread_assumed", "too few runs were repeated to measure the spread between runs"))
    close = [name for name in decision.equal if name != chosen]
    if close:
        text = f"{_variants(len(close))} not significantly different"
        reasons.append(Statement("close_candidates", text, {"variants": close}))
    strangers = [candidate.variant for candidate in decision.candidates if not candidate.comparable]
    if strangers:
        text = f"{_variants(len(strangers))} not comparable"
        reasons.append(Statement("not_comparable", text, {"variants": strangers}))
    failed = [variant.variant for variant in variants if not variant.completed]
    if failed:
        text = f"{len(failed)} of {len(variants)} variants {'has' if len(failed) == 1 else 'have'} no result"
        reasons.append(Statement("variants_without_result", text, {"variants": failed}))
    return reasons


def _variants(count: int) -> str:
    return "1 other variant is" if count == 1 else f"{count} other variants are"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
