"""Check the serve commands of a report: flags lost to the shell, and whether a recommended command was measured."""

import re
from collections.abc import Iterator, Sequence

from hpcsweep.analysis.decision.commands import lost_flags
from hpcsweep.check.findings import ClaimFinding, ClaimKind, ClaimVerdict
from hpcsweep.check.recomputed.measured_figures import NOISE_PERCENT, NOISE_REASON, same_work
from hpcsweep.imports.documents.model import Benchmark, ImportedDocument, Location, WrittenCommand
from hpcsweep.imports.documents.numbers import Number, percent_change, shown
from hpcsweep.imports.documents.serve_settings import ServeSettings, serve_settings, settings_of

_MEASURE = "total_token_throughput"
_NEAREST = 3
_PASTED = re.compile(r"^(?:\([\w.-]+\)\s)?[\w.-]+@[\w.-]+[: ]\S{0,80}[$#]\s")
"""A shell prompt: the command ran, and the blanks after its backslash are the terminal's padding."""

MeasuredSettings = tuple[Benchmark, ServeSettings]


def check_commands(document: ImportedDocument) -> list[ClaimFinding]:
    """Return findings on every command of a document, and on the best of several settings."""
    measured = [(block, settings) for block in document.benchmarks if (settings := settings_of(block)) is not None]
    findings = list(_lost(document))
    for command in document.commands:
        if command.recommended and measured:
            findings += _recommended(command, measured)
    return [*findings, *_best(document)]


def _lost(document: ImportedDocument) -> Iterator[ClaimFinding]:
    """Yield one finding per command, at the line where it first ends too early."""
    for cut_off in lost_flags("\n".join(document.lines), once=True):
        if _PASTED.search(cut_off.text):
            continue
        yield ClaimFinding(
            location=Location(document.file, cut_off.line),
            about=document.contexts[cut_off.line - 1].label or "command",
            claim=cut_off.text,
            verdict=ClaimVerdict.DOES_NOT_FOLLOW,
            reason="a blank or comment follows the backslash, so the command ends here and "
            f"loses {len(cut_off.flags)} flags: "
            f"{', '.join(cut_off.flags)}",
            kind=ClaimKind.LOST_FLAGS,
            sources=(cut_off.line,),
        )


def _recommended(command: WrittenCommand, measured: Sequence[MeasuredSettings]) -> Iterator[ClaimFinding]:
    """Yield whether exactly this configuration was measured, and whether a better one was."""
    wanted = serve_settings(command.argv)
    if wanted is None:
        return
    same = [block for block, settings in measured if not wanted.differences(settings)]
    claim = f"recommended: {' '.join(command.argv)}"
    about = command.context.label or "recommendation"
    if not same:
        yield _not_measured(command, about, claim, wanted, measured)
        return
    mine = same[0]
    reason = f"measured in line {mine.location.line}: {mine.label}"
    lines = (mine.location.line,)
    yield ClaimFinding(
        command.location,
        about,
        claim,
        ClaimVerdict.CONFIRMED,
        reason,
        ClaimKind.RECOMMENDED_WAS_MEASURED,
        sources=lines,
    )
    rivals = [
        pair
        for pair in measured
        if _MEASURE in pair[0].figures
        and pair[0].figures[_MEASURE].value > 0
        and _same_work(pair[0], mine)
        and pair[1].model == wanted.model
        and pair[1].engine == wanted.engine
    ]
    counts = {settings.gpus for _, settings in rivals}
    if not mine.value(_MEASURE) or not rivals or 0 in counts | {wanted.gpus}:
        return
    best, of_best = max(rivals, key=lambda pair: pair[0].figures[_MEASURE].value / pair[1].gpus)
    lacking = [f"--{n} {v}".rstrip() for n, v in of_best.flags.items() if wanted.flags.get(n) != v]
    if best is mine or not lacking:
        return
    per_gpu = best.figures[_MEASURE] * Number(wanted.gpus / of_best.gpus)
    gain = percent_change(per_gpu, mine.figures[_MEASURE]).value
    noise = gain < NOISE_PERCENT
    counted = "" if counts == {wanted.gpus} else " per GPU"
    yield ClaimFinding(
        location=command.location,
        about=about,
        claim=claim,
        verdict=ClaimVerdict.NOISE if noise else ClaimVerdict.DOES_NOT_FOLLOW,
        reason=f"the best block (line {best.location.line}, {best.label}: {shown(best.figures[_MEASURE].value)} tok/s, "
        f"{gain:+.1f}%{counted} against {shown(mine.figures[_MEASURE].value)} of line {mine.location.line}) "
        f"was measured with {', '.join(lacking)}, which this command lacks" + (f"; {NOISE_REASON}" if noise else ""),
        kind=ClaimKind.RECOMMENDED_LACKS_FLAG,
        sources=(mine.location.line, best.location.line),
    )


def _not_measured(
    command: WrittenCommand, about: str, claim: str, wanted: ServeSettings, measured: Sequence[MeasuredSettings]
) -> ClaimFinding:
    """Return a note with the blocks of the nearest settings, since a command that was not measured may be right."""
    far = min(len(wanted.differences(settings)) for _, settings in measured)
    near = [(block, what) for block, it in measured if len(what := wanted.differences(it)) == far][:_NEAREST]
    nearest = [f"line {block.location.line} ({block.label}) has {'; '.join(what)}" for block, what in near]
    reason = f"no block was measured with exactly these settings; nearest: {', and '.join(nearest)}"
    lines = tuple(block.location.line for block, _ in near)
    return ClaimFinding(
        command.location, about, claim, ClaimVerdict.NOTE, reason, ClaimKind.RECOMMENDED_NOT_MEASURED, sources=lines
    )


def _same_work(block: Benchmark, other: Benchmark) -> bool:
    """Return whether both blocks have the same number of requests and prompt tokens."""
    work = same_work(block)
    return work is not None and work == same_work(other)


def _best(document: ImportedDocument) -> Iterator[ClaimFinding]:
    """Yield, for several blocks under one heading, how far the best is from the second and from all others."""
    groups: dict[tuple[str, ...], list[Benchmark]] = {}
    for block in document.benchmarks:
        if (block.value(_MEASURE) or 0) > 0 and block.context.headings:
            groups.setdefault(block.context.headings, []).append(block)
    for members in groups.values():
        alike = [block for block in members if _same_work(block, members[0])]
        if len(alike) < 2:
            continue
        gpus = _gpus(alike)
        first, second, *rest = sorted(alike, key=lambda block: -_per_gpu(block, gpus).value)
        change = percent_change(_per_gpu(first, gpus), _per_gpu(second, gpus))
        noise = change.value < NOISE_PERCENT
        span = percent_change(_per_gpu(first, gpus), _per_gpu(rest[-1], gpus)).value if rest else change.value
        values = [f"{shown(_per_gpu(block, gpus).value)} ({block.label})" for block in (first, second)]
        unit = "tok/s" if gpus is None else "tok/s per GPU"
        yield ClaimFinding(
            location=first.location,
            about=first.context.headings[-1],
            claim=f"the best of {len(alike)}: {first.label}",
            verdict=ClaimVerdict.NOISE if noise else ClaimVerdict.CONFIRMED,
            reason=f"{' against '.join(values)} {unit}: {change.value:.1f}% apart, all within {span:.1f}%"
            + (f"; {NOISE_REASON}" if noise else ""),
            kind=ClaimKind.BEST,
            recomputed=change.value,
            unit="%",
        )


def _gpus(blocks: Sequence[Benchmark]) -> dict[Location, int] | None:
    """Return the GPUs of each block by its command; None: not all are known, or all are equal."""
    settings = {block.location: settings_of(block) for block in blocks}
    counts = {
        location: settings_of_block.gpus
        for location, settings_of_block in settings.items()
        if settings_of_block is not None and settings_of_block.gpus
    }
    return counts if len(counts) == len(settings) and len(set(counts.values())) > 1 else None


def _per_gpu(block: Benchmark, gpus: dict[Location, int] | None) -> Number:
    return block.figures[_MEASURE] if gpus is None else block.figures[_MEASURE] / Number(gpus[block.location])
