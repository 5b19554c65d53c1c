"""How findings are worded: figures with n, unit, conditions and interval; verdicts; marks."""

import math
import time

from hpcsweep.analysis.findings import RunFinding, Variant
from hpcsweep.analysis.findings.compared import Comparison, Effect
from hpcsweep.analysis.findings.measured import Figure, SampleSet, Validity
from hpcsweep.spec.left_out import LeftOut

SIMULATED = "SIMULATED"
NO_OBJECTIVE = "none: no workload was measured"
NOTHING = "-"

WIDE_FACTOR = 2.0
"""An interval from half to twice the value, or wider, is said as a factor: `[-97.7%, +4313.9%]` tells nobody that two
values may lie 44 times apart, either way."""

WITHIN = ", within a factor of "

CONDITION: dict[SampleSet, str] = {"all": "all samples", "warm": "warm only"}


def number(value: float | None, digits: int = 3) -> str:
    """A number with at least `digits` significant ones, no exponent for what people read; `-` for none."""
    return NOTHING if value is None else fixed(value, _decimals(value, digits))


def _decimals(value: float, digits: int) -> int:
    """Decimals that show so many significant digits of a value, six at most."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), 6)


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals; `-` for NaN."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING


def hours(value: float) -> str:
    """`12.50`, `0.012`: two decimals, or two significant digits of what is less than a tenth."""
    return fixed(value, max(2, _decimals(value, 2)))


def latency(value_s: float) -> str:
    """Seconds of one request, without the unit: `29.31`, `0.013`; `-` for NaN."""
    return fixed(value_s, 2 if value_s >= 1 else 3)


def figure(one: Figure | None, *, digits: int = 3, unit: bool = False) -> str:
    """`8.69 [8.39, 9.00] n=3`, `7.03, within a factor of 63, n=3`; `- (why)` for a figure that cannot be had."""
    if one is None:
        return NOTHING
    if one.value is None:
        return f"{NOTHING} ({one.note})" if one.note else NOTHING
    decimals = _decimals(one.value, digits)
    text = fixed(one.value, decimals)
    if unit:
        text += f" {one.unit}"
    if one.low is not None and one.high is not None:
        factor = one.high / one.value if one.value > 0 else 1.0
        wide = factor >= WIDE_FACTOR
        text += _within(factor) + "," if wide else f" [{fixed(one.low, decimals)}, {fixed(one.high, decimals)}]"
    return f"{text} n={one.n}" if one.of == "samples" else f"{text} {counted(one)}"


def _within(factor: float) -> str:
    """`, within a factor of 44`: a wide interval of the logarithmic scale, which is as wide down as up."""
    return f"{WITHIN}{factor:.1f}" if factor < 10 else f"{WITHIN}{factor:,.0f}"


def counted(one: Figure) -> str:
    """`n=2 runs`, `n=1 run`: how many of what stand behind a figure."""
    what, blank, rest = one.of.partition(" ")
    return f"n={one.n} {what.removesuffix('s') if one.n == 1 else what}{blank}{rest}"


def percent(one: Figure) -> str:
    """`-8.7% [-40.2, +39.5]`, `+0.1%, within a factor of 44`; `-` for none."""
    if one.value is None:
        return NOTHING
    text = f"{one.value:+.1f}%"
    if one.low is None or one.high is None:
        return text
    factor = (100 + one.high) / (100 + one.value) if one.value > -100 else 1.0
    return text + _within(factor) if factor >= WIDE_FACTOR else f"{text} [{one.low:+.1f}, {one.high:+.1f}]"


def seconds(value: float | None) -> str:
    """`155 s`, `4.2 s`, `0.02 s`; `-` for none."""
    return NOTHING if value is None else f"{fixed(value, 0 if abs(value) >= 10 else 1 if abs(value) >= 0.1 else 2)} s"


def marked(text: str, simulated: bool) -> str:
    """The text with its mark when a simulated run stands behind it."""
    return f"{text} {SIMULATED}" if simulated else text


def exp(variant: Variant) -> str:
    """The short name of a variant, marked."""
    return marked(variant.short_name, variant.simulated)


def config(variant: Variant) -> str:
    """A variant in a table: `ep=on, eager=yes, len=32k`. The chapters on the axes have the numbers of tokens."""
    return ", ".join(f"{axis}={level}" for axis, level in variant.axes.items()) or variant.name


def outcome(run: RunFinding) -> str:
    """`completed`, `stalled in compile`, `queued`."""
    if run.outcome is None:
        return run.state.value
    if run.measured or run.phase is None:
        return run.outcome.value
    return f"{run.outcome.value} in {run.phase.value}"


def status(variant: Variant, runs: list[RunFinding]) -> str:
    """What became of a variant: one word when all its runs agree."""
    words: dict[str, int] = {}
    for run in runs:
        words[outcome(run)] = words.get(outcome(run), 0) + 1
    if len(words) == 1:
        return next(iter(words))
    return ", ".join(f"{count} {word}" for word, count in words.items()) or NOTHING


def validity(of: Validity) -> str:
    """Empty for a valid result; else its status and reasons, with their numbers."""
    if of.status == "valid":
        return ""
    return f"{of.status}: " + "; ".join(reason.text for reason in of.reasons)


def validity_in_short(of: Validity) -> str:
    """Empty for a valid result; else its status and the kinds of its reasons: `provisional (one run only)`."""
    if of.status == "valid":
        return ""
    kinds = dict.fromkeys(reason.code.replace("_", " ") for reason in of.reasons)
    return f"{of.status} ({', '.join(kinds)})"


def comparison(one: Comparison, *, provisional: bool = True) -> str:
    """`-0.9% [-6.3, +4.8]: no difference seen (provisional)`. `provisional` False: a note says that of all."""
    if one.percent.value is None or one.p_value is None:
        return f"{one.verdict.value}: {one.reason}"
    mark = " (provisional)" if one.provisional and provisional else ""
    return f"{percent(one.percent)}: {one.verdict.value}{mark}"


def comparison_in_short(one: Comparison) -> str:
    """The same without the reasons why two results do not compare; the row and the note say what is provisional."""
    return comparison(one, provisional=False) if one.p_value is not None else one.verdict.value


def not_applicable(left_out: str) -> str:
    """`n/a: does not fit`: why a workload was not sent, without the arithmetic."""
    return f"n/a: {LeftOut.parse(left_out).kind.value}"


def effect(one: Effect) -> str:
    """The mean change with its interval, its pairs and the verdict."""
    change = percent(one.percent)
    return f"{change}{',' if WITHIN in change else ''} {counted(one.percent)}: {one.verdict.value}"


def moment(unix_s: float) -> str:
    """UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s))
