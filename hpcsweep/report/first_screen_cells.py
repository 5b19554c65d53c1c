"""The cells of the first screen's table as text, and what their marks mean, for every format."""

from collections.abc import Collection, Iterator, Sequence

from hpcsweep.analysis.findings import Variant
from hpcsweep.analysis.findings.compared import Comparison, Verdict
from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.first_screen import FirstScreen, NotSent, VariantRow, metric_title
from hpcsweep.units import format_duration

MAX_RANGES = 3

MARKS = {Verdict.BETTER: "▲", Verdict.WORSE: "▼", Verdict.NO_DIFFERENCE: "≈", Verdict.NOT_COMPARABLE: "?"}


def row_name(row: VariantRow, screen: FirstScreen) -> str:
    """Return `E03 *`, `E04-E06`, `E04-E06, E10`."""
    names = name_ranges(row.variants, screen)
    return f"{names} *" if row.recommended else names


def name_ranges(variants: Sequence[Variant], screen: FirstScreen) -> str:
    """Return the short names, consecutive ones as ranges; of many, the first ones."""
    position = {variant.variant: i for i, variant in enumerate(screen.findings.variants)}
    ranges: list[list[Variant]] = []
    for variant in variants:
        if ranges and position[variant.variant] == position[ranges[-1][-1].variant] + 1:
            ranges[-1].append(variant)
        else:
            ranges.append([variant])
    parts = [_range(variants) for variants in ranges]
    return ", ".join(parts) if len(parts) <= MAX_RANGES else f"{parts[0]}, … ({len(variants)})"


def _range(variants: Sequence[Variant]) -> str:
    first, last = variants[0].short_name, variants[-1].short_name
    return first if len(variants) == 1 else f"{first}-{last}"


def against(row: VariantRow, screen: FirstScreen) -> str:
    """Return the change against the baseline by workload: `▲ +5.1 %`, `≈`, `≈ / ▼ -3.0 %`."""
    if row.baseline and not row.failed:
        return "baseline"
    by_workload = {comparison.workload: comparison for comparison in row.against}
    return " / ".join(mark(by_workload[name]) for name in screen.workloads if name in by_workload) or wording.NOTHING


def mark(comparison: Comparison) -> str:
    """Return `▲ +5.1 %`, `≈`."""
    sign = MARKS[comparison.verdict]
    value = comparison.percent.value
    if comparison.verdict in wording.SIGNIFICANT and value is not None:
        return f"{sign} {value:+.1f} %"
    return sign


def speed_unit(screen: FirstScreen) -> str:
    """Return the unit of the columns of the workloads."""
    return wording.unit(METRICS[screen.metric].unit)


def startup(row: VariantRow) -> str:
    """Return launch to first token, or how long the failed start took."""
    took_s = row.ready_s if row.ready_s is not None else row.ended_s
    return wording.NOTHING if not took_s else format_duration(took_s)


def result(row: VariantRow, screen: FirstScreen) -> str:
    """Return the outcome with the letters of the caveats."""
    letters = [letter for letter, code in footnotes(screen).items() if code in row.caveats]
    if row.simulated and not screen.findings.sweep.all_simulated:
        letters.append(wording.SIMULATED)
    return "  ".join([row.outcome, ",".join(letters)]).rstrip()


def footnotes(screen: FirstScreen) -> dict[str, str]:
    """Return letter -> code of the caveats that do not hold for every row."""
    codes = dict.fromkeys(code for row in screen.rows for code in row.caveats)
    own = [code for code in codes if code not in screen.common_caveats]
    return dict(zip("abcdefghijklmnopqrstuvwxyz", own, strict=False))


def legend(screen: FirstScreen, columns: Collection[str]) -> Iterator[str]:
    """Yield what the marks of the table mean, as far as it has them."""
    parts = ["* recommended"] if any(row.recommended for row in screen.rows) else []
    if "against" in columns:
        verdicts = {comparison.verdict for row in screen.rows for comparison in row.against}
        meanings = (
            (Verdict.BETTER, "▲ better"),
            (Verdict.WORSE, "▼ worse"),
            (Verdict.NO_DIFFERENCE, "≈ not significantly different"),
            (Verdict.NOT_COMPARABLE, "? not comparable"),
        )
        parts += [text for verdict, text in meanings if verdict in verdicts]
    kinds = dict.fromkeys(value.kind for row in screen.rows for value in row.speeds if isinstance(value, NotSent))
    parts += [f"n/a: {kind}" for kind in kinds]
    parts += [f"{letter}: {wording.caveat(code)}" for letter, code in footnotes(screen).items()]
    if any(isinstance(value, Figure) and value.low is not None for row in screen.rows for value in row.speeds):
        parts.append("±: 95 % CI" if "speed" in columns else "brackets: 95 % CI")
    yield f"{'. '.join([metric_title(screen), *(['; '.join(parts)] if parts else [])])}."
    if screen.common_caveats:
        yield f"In every row: {', '.join(wording.caveat(code) for code in screen.common_caveats)}."
