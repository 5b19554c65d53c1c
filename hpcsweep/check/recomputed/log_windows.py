"""Find stated prompt throughputs that are one prompt divided by the engine's log window, and so not a speed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.imports.documents.model import ImportedDocument, Location
from hpcsweep.imports.documents.numbers import NUMBER, measured, shown

LOG_WINDOW_S = 10.0
"""vLLM logs `Avg prompt throughput` as the tokens of the last 10 s, divided by 10 s (v1/metrics/loggers.py)."""

_PROMPT_RATE = re.compile(r"\b(?:prompt|prefill)\s(?:throughput|speed|processing)", re.IGNORECASE)
_RATE = re.compile(
    rf"(?<![\w.,])(?P<low>{NUMBER})(?:\s?[-\u2013]\s?(?P<high>{NUMBER}))?\s?(?:tokens?|tok)/s", re.IGNORECASE
)


@dataclass(frozen=True)
class MisreadLogWindow:
    """A stated throughput that is the prompt of one request over the engine's log window, in tokens/s."""

    stated_tps: float
    prompt_tokens: float
    window_s: float


def log_window(stated_tps: float, prompt_tokens: float, *, tolerance: float = 0.001) -> MisreadLogWindow | None:
    """Return the log window if a stated prompt throughput is one prompt divided by it; None: it is not.

    Such a figure grows with the length of the prompt and is not a measure of prefill speed.
    """
    expected = prompt_tokens / LOG_WINDOW_S
    if expected <= 0 or abs(stated_tps - expected) > tolerance * expected:
        return None
    return MisreadLogWindow(stated_tps, prompt_tokens, LOG_WINDOW_S)


def prompt_lengths(document: ImportedDocument) -> dict[int, int]:
    """Return the prompt lengths (tokens) of all sample tables, each with the line of a sample that has it."""
    samples = [sample for table in document.sample_tables for sample in table.samples if sample.prompt_tokens]
    return {sample.prompt_tokens: sample.line for sample in reversed(samples) if sample.prompt_tokens}


def prompt_rates(
    line: str, location: Location, about: str, lengths: Sequence[tuple[int, int]]
) -> Iterator[ClaimFinding]:
    """Yield a finding for each prompt throughput that is one of `lengths` (tokens, line) divided by the log window."""
    if not lengths or not _PROMPT_RATE.search(line):
        return
    for match in _RATE.finditer(line):
        for text in (match["low"], match["high"]):
            stated = measured(text or "")
            if stated is None:
                continue
            windows = ((log_window(stated.value, tokens), source) for tokens, source in lengths)
            window, source = next(((candidate, source) for candidate, source in windows if candidate), (None, 0))
            if window is None:
                continue
            yield ClaimFinding(
                location=location,
                about=about,
                claim=f"prompt throughput {shown(stated.value)} tokens/s",
                verdict=ClaimVerdict.DOES_NOT_FOLLOW,
                reason=f"the value is one prompt of {shown(window.prompt_tokens)} tokens (line {source}) divided by "
                f"the engine's log window of {LOG_WINDOW_S:.0f} s; it grows with the prompt length and is not a "
                "prefill speed",
                kind=ClaimKind.LOG_WINDOW,
                stated=stated.value,
                recomputed=window.prompt_tokens / window.window_s,
                unit="tok/s",
                sources=(source,),
            )
