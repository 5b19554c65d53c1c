"""Wording of findings: figures with n, unit, conditions and interval; verdicts; marks."""

import math
import time
from collections.abc import Sequence

from hpcsweep.analysis.findings import Findings, RunFinding, Variant
from hpcsweep.analysis.findings.compared import Comparison, Effect, Verdict
from hpcsweep.analysis.findings.measured import Figure, SampleSet, Validity
from hpcsweep.analysis.measured.validity import MIN_WARM_SAMPLES
from hpcsweep.report.document import Quantity
from hpcsweep.report.outcomes import outcome_text

SIMULATED = "SIMULATED"
NO_OBJECTIVE = "none, because no workload was measured"
NOTHING = "-"

WIDE_FACTOR = 2.0
"""An interval from half to twice the value, or wider, is written as a factor: `[-97.7%, +4313.9%]` is hard to read as
"up to 44 times less or more"."""

CONDITION: dict[SampleSet, str] = {"all": "all", "warm": "warm"}
"""Which samples a figure is of."""

ALL_REQUESTS = "all"
"""The same for a throughput, which is always over all requests of a workload."""

_UNITS = {"tokens/s": "tok/s", "tokens/s/GPU": "tok/s/GPU", "requests/s": "req/s"}

_CAVEATS = {
    "too_few_samples": f"fewer than {MIN_WARM_SAMPLES} warm samples",
    "one_run_only": "a single run",
    "samples_missing": "samples are missing",
    "attempt_not_completed": "the attempt ended badly after this workload",
    "failed_requests": "too many failed requests",
    "engine_died": "the engine died during this workload",
    "ended_early": "the attempt ended during this workload",
    "zero_outputs": "empty answers",
    "short_outputs": "answers shorter than requested",
    "client_limited": "limited by the load client",
    "wrong_model": "another model answered",
    "image_tokens_not_counted": "image tokens are not counted",
    "tokens_from_chunks": "tokens counted by chunks",
    "prompt_lengths_drift": "prompt lengths differ between runs",
    "generated_tokens_differ": "generated tokens differ from the other variants",
    "other_gpu": "another GPU type",
    "not_measured": "a workload of the objective has no result",
}


_VERDICTS = {Verdict.NO_DIFFERENCE: "not significantly different"}


SIGNIFICANT = (Verdict.BETTER, Verdict.WORSE)


def verdict(given: Verdict) -> str:
    """Return a verdict in words."""
    return _VERDICTS.get(given, given.value)


def inside(title: str) -> str:
    """Return a metric's title for the inside of a sentence: `startup`, but `TPS`."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def unit(name: str) -> str:
    """Return a unit as people write it: `tok/s` for `tokens/s`."""
    return _UNITS.get(name, name)


def caveat(code: str) -> str:
    """Return the meaning of a caveat's code in a few words."""
    return _CAVEATS.get(code, code.replace("_", " "))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with at least `digits` significant ones and without an exponent; `-` for None."""
    return NOTHING if value is None else fixed(value, _decimals(value, digits))


def _decimals(value: float, digits: int) -> int:
    """Return the decimals that show so many significant digits of a value, at most six."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), 6)


def fixed(value: float, decimals: int) -> str:
    """Return a number with so many decimals; `-` for NaN."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING


def share(value: float) -> str:
    """Return `1.5 %` for a share of 0.015."""
    return f"{value * 100:.2g} %"


def hours(value: float) -> str:
    """Return `1,250`, `12.50`, `0.012`: two decimals, or two significant digits below a tenth."""
    return f"{value:,.0f}" if value >= 1000 else fixed(value, max(2, _decimals(value, 2)))


def latency(value_s: float) -> str:
    """Return the seconds of one request without the unit: `29.31`, `0.013`; `-` for NaN."""
    return fixed(value_s, 2 if value_s >= 1 else 3)


def figure(given: Figure | None, *, digits: int = 3, with_unit: bool = False) -> str:
    """Return `8.69 [8.39, 9.00] n=3`, `7.03, within a factor of 63, n=3`; `- (why)` for a value that is not known."""
    if given is None:
        return NOTHING
    if given.value is None:
        return f"{NOTHING} ({given.note})" if given.note else NOTHING
    decimals = _decimals(given.value, digits)
    text = fixed(given.value, decimals)
    if with_unit:
        text += f" {unit(given.unit)}"
    if given.low is not None and given.high is not None:
        factor = wide_factor(given)
        text += f"{_within(factor)}," if factor else f" [{fixed(given.low, decimals)}, {fixed(given.high, decimals)}]"
    return f"{text} n={given.n}" if given.of == "samples" else f"{text} {counted(given)}"


def sentence_figure(given: Figure, digits: int = 3) -> str:
    """Return the same for a sentence: `8.69 tok/s (95 % CI 8.39–9.00, n = 3)`."""
    value, spread = figure_parts(given, digits)
    return f"{value} ({spread})" if spread else value


def figure_parts(given: Figure, digits: int = 3) -> tuple[str, str]:
    """Return `8.69 tok/s` and `95 % CI 8.39–9.00, n = 3`; the second is empty for a value that is not known."""
    if given.value is None:
        return given.note or "not known", ""
    decimals = _decimals(given.value, digits)
    text = f"{fixed(given.value, decimals)} {unit(given.unit)}".rstrip()
    size = f"n = {given.n}" if given.of in ("samples", "values") else counted(given).replace("n=", "n = ", 1)
    if given.low is None or given.high is None:
        return text, size
    factor = wide_factor(given)
    span = (
        f"within a factor of {_factor(factor)}"
        if factor
        else f"{fixed(given.low, decimals)}–{fixed(given.high, decimals)}"
    )
    return text, f"95 % CI {span}, {size}"


def wide_factor(given: Figure) -> float | None:
    """Return the factor by which the interval reaches beyond the value, if that is large; None otherwise."""
    if given.value is None or given.high is None or given.value <= 0:
        return None
    factor = given.high / given.value
    return factor if factor >= WIDE_FACTOR else None


def _within(factor: float) -> str:
    """Return `, within a factor of 44`: an interval on the logarithmic scale reaches as far down as up."""
    return f", within a factor of {_factor(factor)}"


def _factor(factor: float) -> str:
    return f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}"


def counted(given: Figure) -> str:
    """Return `n=2 runs`, `n=1 run`: how many of what a figure is the mean of."""
    what, blank, rest = given.of.partition(" ")
    return f"n={given.n} {what.removesuffix('s') if given.n == 1 else what}{blank}{rest}"


def percent(given: Figure) -> str:
    """Return `-8.7% [-40.2, +39.5]`, `+0.1%, within a factor of 44`; `-` for None."""
    if given.value is None:
        return NOTHING
    text = f"{given.value:+.1f}%"
    if given.low is None or given.high is None:
        return text
    factor = _change_factor(given)
    return text + _within(factor) if factor else f"{text} [{given.low:+.1f}, {given.high:+.1f}]"


def sentence_percent(given: Figure) -> str:
    """Return the same for a sentence: `-0.7 % (95 % CI -4.5 to +3.3)`."""
    if given.value is None:
        return "not known"
    text = f"{given.value:+.1f} %"
    if given.low is None or given.high is None:
        return text
    factor = _change_factor(given)
    span = f"within a factor of {_factor(factor)}" if factor else f"{given.low:+.1f} to {given.high:+.1f}"
    return f"{text} (95 % CI {span})"


def _change_factor(given: Figure) -> float | None:
    if given.value is None or given.high is None or given.value <= -100:
        return None
    factor = (100 + given.high) / (100 + given.value)
    return factor if factor >= WIDE_FACTOR else None


def seconds(value: float | None) -> str:
    """Return `155 s`, `4.2 s`, `0.02 s`; `-` for None."""
    return NOTHING if value is None else f"{fixed(value, 0 if abs(value) >= 10 else 1 if abs(value) >= 0.1 else 2)} s"


def marked(findings: Findings, text: str, simulated: bool) -> str:
    """Return the text with a mark if a simulated run is behind it and others of the sweep are real.

    If the whole sweep is simulated, the report has one banner instead.
    """
    return f"{text} {SIMULATED}" if simulated and not findings.sweep.all_simulated else text


def short_name(findings: Findings, variant: str | Variant) -> str:
    """Return the short name of a variant, marked."""
    known = findings.variant(variant) if isinstance(variant, str) else variant
    return marked(findings, known.short_name, known.simulated)


def config(variant: Variant) -> str:
    """Return the levels of a variant: `ep=on, eager=yes, len=32k`."""
    return ", ".join(f"{axis}={level}" for axis, level in variant.axes.items()) or variant.name


def outcome(run: RunFinding) -> str:
    """Return `completed`, `stalled in compile`, `queued`."""
    return outcome_text(run.outcome, run.state, run.phase)


def status(runs: Sequence[RunFinding]) -> str:
    """Return what became of the runs of a variant: one outcome when all agree, else each with its number."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[outcome(run)] = counts.get(outcome(run), 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or NOTHING


def validity(of: Validity) -> str:
    """Return the status and reasons of a result, with their numbers; empty for a valid one."""
    if of.status == "valid":
        return ""
    return f"{of.status}: " + "; ".join(reason.text for reason in of.reasons)


def validity_in_short(of: Validity) -> str:
    """Return the status and caveats of a result: `provisional (a single run)`; empty for a valid one."""
    if of.status == "valid":
        return ""
    return f"{of.status} ({', '.join(dict.fromkeys(caveat(reason.code) for reason in of.reasons))})"


def comparison(given: Comparison, *, provisional: bool = True) -> str:
    """Return `-0.9% [-6.3, +4.8]: not significantly different (provisional)`.

    `provisional` False: a note below the table covers all rows.
    """
    if given.percent.value is None or given.p_value is None:
        return f"{verdict(given.verdict)}: {given.reason}"
    mark = " (provisional)" if given.provisional and provisional else ""
    return f"{percent(given.percent)}: {verdict(given.verdict)}{mark}"


def comparison_in_short(given: Comparison) -> str:
    """Return the same without the reason why two results do not compare."""
    return comparison(given, provisional=False) if given.p_value is not None else verdict(given.verdict)


def left_out_kind(left_out: str) -> str:
    """Return why a workload was not sent, without the arithmetic: `does not fit`."""
    return left_out.partition(":")[0]


def left_out_detail(left_out: str) -> str:
    """Return the arithmetic behind it: `47490 prompt + 512 completion tokens = 48002 > max-model-len 8192`."""
    return left_out.partition(": ")[2]


def not_applicable(left_out: str) -> str:
    """Return `n/a: does not fit`."""
    return f"n/a: {left_out_kind(left_out)}"


def effect(given: Effect) -> str:
    """Return the mean change with its interval, its pairs and the verdict."""
    comma = "," if _change_factor(given.percent) else ""
    return f"{percent(given.percent)}{comma} {counted(given.percent)}: {verdict(given.verdict)}"


def moment(unix_s: float) -> str:
    """Return a time in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s))


def day(unix_s: float) -> str:
    """Return the day in UTC: `27 Nov 2026`."""
    return time.strftime("%d %b %Y", time.gmtime(unix_s)).removeprefix("0")


def quantity(
    given: Figure | None, *, metric: str = "", caveats: tuple[str, ...] = (), with_unit: bool = False
) -> Quantity:
    """Return a figure as a cell of a table. `metric`: its key in METRICS; `caveats`: the codes of its result."""
    if given is None:
        return Quantity(NOTHING)
    text = figure(given, with_unit=with_unit)
    return Quantity(text, given.value, given.unit, given.low, given.high, given.n, metric, caveats)


def caveat_codes(of: Validity) -> tuple[str, ...]:
    """Return the codes of the reasons of a result, each once."""
    return tuple(dict.fromkeys(reason.code for reason in of.reasons))


def change(given: Figure, text: str) -> Quantity:
    """Return a change in percent as a cell, worded by the caller."""
    return Quantity(text, given.value, "%", given.low, given.high, given.n)


def time_quantity(value_s: float | None, metric: str = "") -> Quantity:
    """Return seconds as a cell."""
    return Quantity(seconds(value_s), value_s, "s", metric=metric)


def plain_number(value: float | None, text: str, of_unit: str = "", metric: str = "") -> Quantity:
    """Return a number as a cell, worded by the caller; NaN is not a value."""
    known = value is not None and math.isfinite(value)
    return Quantity(text, value if known else None, of_unit, metric=metric)
