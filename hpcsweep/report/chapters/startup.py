"""The chapter on startup: load, compile and total time of each start, and the compile cache."""

from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.measured import StartupFinding
from hpcsweep.report import document, wording
from hpcsweep.report.document import Block, Section, Table
from hpcsweep.report.wording import NOTHING
from hpcsweep.units import format_bytes


def startup(findings: Findings) -> Section | None:
    """Return one row per start; with repeats, each row names its run."""
    if not findings.startups:
        return None
    named = len({one.variant for one in findings.startups}) < len(findings.startups)
    columns = ("Load", "Compile", "Total", "GPU memory", "KV cache tokens", "Compile cache", "Result")
    note = (
        "Load and compile: as the engine reports them, else the length of the phase. Total: launch to first token. "
        "GPU memory: weights on one GPU."
    )
    rows = tuple(_row(findings, one, named) for one in findings.startups)
    blocks: list[Block] = [Table(("Variant", *(("Run",) if named else ()), *columns), rows, note)]
    if findings.cache_effects:
        pairs = tuple(
            (wording.short_name(findings, one.variant), wording.quantity(one.cold), wording.quantity(one.warm))
            for one in findings.cache_effects
        )
        blocks.append(Table(("Variant", "Startup, cold compile cache (s)", "Startup, warm compile cache (s)"), pairs))
    return Section("Startup", tuple(blocks))


def _row(findings: Findings, one: StartupFinding, named: bool) -> tuple[document.Cell, ...]:
    memory, tokens = one.gpu_memory_bytes, one.kv_cache_tokens
    return (
        wording.short_name(findings, one.variant),
        *((one.label,) if named else ()),
        wording.time_quantity(one.load_s),
        wording.time_quantity(one.compile_s),
        wording.time_quantity(one.startup_s),
        wording.plain_number(memory, NOTHING if memory is None else format_bytes(memory), "bytes"),
        wording.plain_number(tokens, NOTHING if tokens is None else f"{tokens:,.0f}", "tokens"),
        one.compile_cache or NOTHING,
        _result(one),
    )


def _result(one: StartupFinding) -> str:
    if one.ended_in is None:
        return "ready" if one.startup_s is not None else "not ready"
    phase = next((p for p in reversed(one.phases) if p.phase is one.ended_in), None)
    after = f" after {wording.seconds(phase.duration_s)}" if phase is not None and phase.duration_s else ""
    return f"ended in {one.ended_in.value}{after}"
