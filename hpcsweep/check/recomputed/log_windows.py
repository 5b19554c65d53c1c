"""Find stated prompt throughputs that are one prompt over the engine's log window."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.check.findings import ClaimFinding, ClaimVerdict
from hpcsweep.check.misread_figures import LOG_WINDOW_S, log_window
from hpcsweep.imports.documents.model import ImportedDocument, Location
from hpcsweep.imports.documents.numbers import NUMBER, measured, shown

_PROMPT_RATE = re.compile(r"\b(?:prompt|prefill)\s(?:throughput|speed|processing)", re.IGNORECASE)
_RATE = re.compile(
    rf"(?<![\w.,])(?P<low>{NUMBER})(?:\s?[-\u2013]\s?(?P<high>{NUMBER}))?\s?(?:tokens?|tok)/s", re.IGNORECASE
)


def prompt_lengths(document: ImportedDocument) -> dict[int, int]:
    """Return the prompt lengths (tokens) of all tables of samples, each with the line of a sample that has it."""
    samples = [sample for table in document.sample_tables for sample in table.samples if sample.prompt_tokens]
    return {sample.prompt_tokens: sample.line for sample in reversed(samples) if sample.prompt_tokens}


def prompt_rates(
    line: str, location: Location, about: str, lengths: Sequence[tuple[int, int]]
) -> Iterator[ClaimFinding]:
    """Yield a finding for each prompt throughput that is a prompt of `lengths` (tokens, line) over the log window."""
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
                reason=f"it is one prompt of {shown(window.prompt_tokens)} tokens (line {source}) over the engine's "
                f"log window of {LOG_WINDOW_S:.0f} s, and grows with the prompt by itself: no speed of reading",
                kind="log_window",
                stated=stated.value,
                recomputed=window.prompt_tokens / window.window_s,
                unit="tok/s",
                sources=(source,),
            )
