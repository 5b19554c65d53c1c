"""The commands of a report: flags that the shell loses, and whether what is recommended is what was measured."""

from collections.abc import Iterator, Sequence

from hpcsweep.analysis.commands import lost_flags
from hpcsweep.check.findings import Finding, Verdict
from hpcsweep.check.known import NOISE_PERCENT, NOISE_REASON
from hpcsweep.imports.blocks import Benchmark, Imported, Place, WrittenCommand
from hpcsweep.imports.numbers import Number, percent_change, shown
from hpcsweep.imports.serve_settings import ServeSettings, serve_settings, settings_of

_MEASURE = "total_token_throughput"
_NEAREST = 3
Measured = tuple[Benchmark, ServeSettings]


def check_commands(found: Imported) -> list[Finding]:
    """Findings on every command of a document, and on the best of several settings."""
    measured = [(one, settings) for one in found.benchmarks if (settings := settings_of(one)) is not None]
    findings = list(_lost(found))
    for command in found.commands:
        if command.recommended and measured:
            findings += _recommended(command, measured)
    return [*findings, *_best(found)]


def _lost(found: Imported) -> Iterator[Finding]:
    for lost in lost_flags("\n".join(found.lines)):
        yield Finding(
            place=Place(found.file, lost.line),
            about=found.contexts[lost.line - 1].label or "command",
            claim=lost.text,
            verdict=Verdict.DOES_NOT_FOLLOW,
            reason=f"nothing may follow the backslash: the command ends here and loses {len(lost.flags)} flags: "
            f"{', '.join(lost.flags)}",
            kind="lost_flags",
        )


def _recommended(command: WrittenCommand, measured: Sequence[Measured]) -> Iterator[Finding]:
    """Was this very configuration measured, and was a better one?"""
    wanted = serve_settings(command.argv)
    if wanted is None:
        return
    same = [one for one, settings in measured if not wanted.differences(settings)]
    nearest, settings = min(measured, key=lambda pair: len(wanted.differences(pair[1])))
    claim = f"recommended: {' '.join(command.argv)}"
    about = command.context.label or "recommendation"
    if same:
        reason = f"measured in line {same[0].place.line}: {same[0].label}"
        yield Finding(command.place, about, claim, Verdict.CONFIRMED, reason, "recommended_was_measured")
    else:
        far = len(wanted.differences(settings))
        near = [(one, what) for one, it in measured if len(what := wanted.differences(it)) == far][:_NEAREST]
        told = [f"line {one.place.line} ({one.label}) has {'; '.join(what)}" for one, what in near]
        reason = f"no block was measured with these settings; the nearest: {', and '.join(told)}"
        yield Finding(command.place, about, claim, Verdict.DOES_NOT_FOLLOW, reason, "recommended_not_measured")
    mine = same[0] if same else nearest
    rivals = [pair for pair in measured if _MEASURE in pair[0].figures and _same_work(pair[0], mine)]
    if not mine.value(_MEASURE) or not rivals:
        return
    best, of_best = max(rivals, key=lambda pair: pair[0].figures[_MEASURE].value / pair[1].gpus)
    lacking = [f"--{n} {v}".rstrip() for n, v in of_best.flags.items() if wanted.flags.get(n) != v]
    if best is mine or not lacking:
        return
    gain = percent_change(best.figures[_MEASURE], mine.figures[_MEASURE]).value
    yield Finding(
        place=command.place,
        about=about,
        claim=claim,
        verdict=Verdict.DOES_NOT_FOLLOW,
        reason=f"the best block (line {best.place.line}, {best.label}: {shown(best.figures[_MEASURE].value)} tok/s, "
        f"{gain:+.1f}%) was measured with {', '.join(lacking)}, which this command lacks",
        kind="recommended_lacks_flag",
    )


def _same_work(one: Benchmark, other: Benchmark) -> bool:
    """The same prompts, by their number and tokens."""
    return all(one.value(name) == other.value(name) for name in ("completed", "total_input_tokens"))


def _best(found: Imported) -> Iterator[Finding]:
    """Several blocks under one heading: whether the best is really apart from the next, and from all others."""
    groups: dict[tuple[str, ...], list[Benchmark]] = {}
    for one in found.benchmarks:
        if (one.value(_MEASURE) or 0) > 0 and one.context.headings:
            groups.setdefault(one.context.headings, []).append(one)
    for members in groups.values():
        alike = [one for one in members if _same_work(one, members[0])]
        if len(alike) < 2:
            continue
        gpus = _gpus(alike)
        first, second, *rest = sorted(alike, key=lambda one: -_per_gpu(one, gpus).value)
        change = percent_change(_per_gpu(first, gpus), _per_gpu(second, gpus))
        noise = change.value < NOISE_PERCENT
        span = percent_change(_per_gpu(first, gpus), _per_gpu(rest[-1], gpus)).value if rest else change.value
        values = [f"{shown(_per_gpu(one, gpus).value)} ({one.label})" for one in (first, second)]
        unit = "tok/s" if gpus is None else "tok/s per GPU"
        yield Finding(
            place=first.place,
            about=first.context.headings[-1],
            claim=f"the best of {len(alike)}: {first.label}",
            verdict=Verdict.NOISE if noise else Verdict.CONFIRMED,
            reason=f"{' against '.join(values)} {unit}: {change.value:.1f}% apart, all within {span:.1f}%"
            + (f"; {NOISE_REASON}" if noise else ""),
            kind="best",
            recomputed=change.value,
            unit="%",
        )


def _gpus(blocks: Sequence[Benchmark]) -> dict[Place, int] | None:
    """GPUs of each block by its command; None: not all say, or all have the same number."""
    settings = {one.place: settings_of(one) for one in blocks}
    counts = {place: one.gpus for place, one in settings.items() if one is not None}
    return counts if len(counts) == len(settings) and len(set(counts.values())) > 1 else None


def _per_gpu(one: Benchmark, gpus: dict[Place, int] | None) -> Number:
    return one.figures[_MEASURE] if gpus is None else one.figures[_MEASURE] / Number(gpus[one.place])
