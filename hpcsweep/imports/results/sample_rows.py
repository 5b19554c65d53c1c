"""Convert a sample table to the rows that the analysis and the store use."""

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.imports.documents.model import SampleTable
from hpcsweep.imports.documents.numbers import Number


def rows_of(table: SampleTable) -> tuple[SampleRow, ...]:
    """Return the samples that have a time, as sequential requests, which is how such tables are made."""
    sent_s = 0.0
    rows: list[SampleRow] = []
    for sample in table.samples:
        e2e_s = _e2e_s(sample.e2e_s, sample.tps, sample.completion_tokens)
        if e2e_s is None:
            continue
        ttft_s = sample.ttft_s.value if sample.ttft_s else None
        tokens = (sample.prompt_tokens, sample.completion_tokens)
        rows.append(SampleRow(sample.name, len(rows), sent_s, *tokens, ttft_s, e2e_s))
        sent_s += e2e_s
    return tuple(rows)


def _e2e_s(e2e_s: Number | None, tps: Number | None, tokens: int | None) -> float | None:
    if e2e_s is not None:
        return e2e_s.value
    return tokens / tps.value if tokens and tps is not None and tps.value > 0 else None
