"""The chapter on startup: load, compile and total time of each start, and the compile cache."""

from collections.abc import Sequence

from hpcsweep.analysis.findings import Findings
from hpcsweep.analysis.findings.measured import StartupFinding
from hpcsweep.report import document, run_points, wording
from hpcsweep.report.document import Block, Section, Table
from hpcsweep.report.wording import NOTHING
from hpcsweep.units import format_bytes


def startup(findings: Findings) -> Section | None:
    """Return one row per start; with repeats, each row names its run."""
    if not findings.startups:
        return None
    named = len({start.variant for start in findings.startups}) < len(findings.startups)
    columns: tuple[str, ...] = ("Load", "Compile", "Total", "GPU memory", "KV cache tokens", "Compile cache", "Result")
    note = (
        "Load and compile: as the engine reports them, else the length of the phase. Total: launch to first token. "
        "GPU memory: weights on one GPU."
    )
    rows = tuple(_row(findings, start, named) for start in findings.startups)
    blocks: list[Block] = [
        Table(("Variant", *(("Run",) if named else ()), *columns), rows, note, run_points.startup(findings))
    ]
    spread = [start for start in findings.startups if start.nodes]
    if spread:
        blocks.append(_nodes(findings, spread, named))
    if findings.cache_effects:
        pairs = tuple(
            (
                wording.short_name(findings, start.variant),
                wording.quantity(start.cold, metric="startup_s"),
                wording.quantity(start.warm, metric="startup_s"),
            )
            for start in findings.cache_effects
        )
        columns = ("Variant", "Startup, cold compile cache (s)", "Startup, warm compile cache (s)")
        blocks.append(Table(columns, pairs, point=run_points.cache(findings.cache_effects)))
    return Section("Startup", tuple(blocks))


def _nodes(findings: Findings, starts: Sequence[StartupFinding], named: bool) -> Table:
    """Return a row for each node of the servers on several nodes."""
    columns = (
        "Variant",
        *(("Run",) if named else ()),
        "Node",
        "Load",
        "Compile",
        "Weights",
        "KV cache",
        "Last startup phase",
    )
    rows = tuple(
        (
            wording.short_name(findings, start.variant),
            *((start.label,) if named else ()),
            part.node,
            wording.plain_number(part.load_s, _seconds(part.load_s), "s"),
            wording.plain_number(part.compile_s, _seconds(part.compile_s), "s"),
            _bytes(part.weights_bytes_per_gpu),
            _bytes(part.kv_cache_bytes),
            part.last_phase.value if part.last_phase is not None else NOTHING,
        )
        for start in starts
        for part in start.nodes
    )
    note = "One row per node. Weights and KV cache: on one GPU. Engines print some lines on the first node only."
    return Table(columns, rows, note)


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else wording.seconds(value)


def _bytes(value: float | None) -> document.Cell:
    return wording.plain_number(value, NOTHING if value is None else format_bytes(value), "bytes")


def _row(findings: Findings, start: StartupFinding, named: bool) -> tuple[document.Cell, ...]:
    memory, tokens = start.gpu_memory_bytes, start.kv_cache_tokens
    return (
        wording.short_name(findings, start.variant),
        *((start.label,) if named else ()),
        wording.time_quantity(start.load_s, "load_s"),
        wording.time_quantity(start.compile_s, "compile_s"),
        wording.time_quantity(start.startup_s, "startup_s"),
        wording.plain_number(memory, NOTHING if memory is None else format_bytes(memory), "bytes"),
        wording.plain_number(tokens, NOTHING if tokens is None else f"{tokens:,.0f}", "tokens"),
        start.compile_cache or NOTHING,
        _result(start),
    )


def _result(start: StartupFinding) -> str:
    if start.ended_in is None:
        return "ready" if start.startup_s is not None else "not ready"
    phase = next((p for p in reversed(start.phases) if p.phase is start.ended_in), None)
    after = f" after {wording.seconds(phase.duration_s)}" if phase is not None and phase.duration_s else ""
    return f"ended in {start.ended_in.value}{after}"
