"""The provenance of a result, and the parts of it that must be equal before two results are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.analysis.findings.measured import Cell
from hpcsweep.analysis.measured.results import counting
from hpcsweep.analysis.measured.validity import TOKENS_SHARE


@dataclass(frozen=True)
class Problem:
    """Why two results are not compared: a stable code, and a phrase with the values."""

    code: str
    text: str


@dataclass(frozen=True)
class Provenance:
    """Provenance of the included runs. A set has several members where the runs differ; empty: not known."""

    simulated: frozenset[str]
    client: frozenset[str]
    dataset: frozenset[str]
    load: frozenset[str]
    gpu: frozenset[str]
    prompt_tokens: float | None
    completion_tokens: float | None


def provenance_of(cells: Sequence[Cell]) -> Provenance:
    """Return the provenance of one variant on one workload."""
    chosen = counting(cells)
    return Provenance(
        simulated=frozenset("simulated" if cell.simulated else "measured" for cell in chosen),
        client=frozenset(cell.client for cell in chosen),
        dataset=frozenset(cell.dataset_sha256[:12] for cell in chosen if cell.dataset_sha256),
        load=frozenset(load for cell in chosen if (load := load_of(cell)) is not None),
        gpu=frozenset(cell.gpu_name for cell in chosen if cell.gpu_name),
        prompt_tokens=_mean([cell.prompt_tokens for cell in chosen]),
        completion_tokens=_mean([cell.completion_tokens for cell in chosen]),
    )


def load_of(cell: Cell) -> str | None:
    """Return the arrival of requests as the experiment states it, as text; None: not known."""
    arrival = cell.settings.get("arrival")
    if not isinstance(arrival, dict):
        return None
    stated = (("request_rate", "rate {}/s"), ("max_concurrency", "concurrency {}"))
    parts = [text.format(arrival[key]) for key, text in stated if arrival.get(key) is not None]
    return ", ".join(parts) or "all at once"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def differing(a: Provenance, b: Provenance) -> Problem | None:
    """Return the first difference that rules out a comparison; None: there is none that is known."""
    for code, what, old, new in (
        ("simulated_against_measured", "", a.simulated, b.simulated),
        ("different_client", "different client: ", a.client, b.client),
        ("different_dataset", "different dataset (sha256): ", a.dataset, b.dataset),
        ("different_load", "different load: ", a.load, b.load),
        ("different_gpu", "different GPU: ", a.gpu, b.gpu),
    ):
        if old != new and old and new:
            return Problem(code, f"{what}{', '.join(sorted(old))} against {', '.join(sorted(new))}")
    for code, what, before, after in (
        ("different_prompt_tokens", "prompt", a.prompt_tokens, b.prompt_tokens),
        ("different_generated_tokens", "generated", a.completion_tokens, b.completion_tokens),
    ):
        if before and after and abs(after - before) > TOKENS_SHARE * before:
            return Problem(code, f"different {what} tokens per request: {before:.1f} against {after:.1f}")
    return None
