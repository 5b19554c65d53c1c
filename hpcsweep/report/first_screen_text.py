"""The sentences of the first screen, for every format."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcsweep.analysis.compared.variants import join_names
from hpcsweep.analysis.findings import Findings, Variant
from hpcsweep.analysis.findings.compared import AxisFinding, Comparison, Effect, LevelFinding
from hpcsweep.analysis.findings.measured import Figure
from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.report import wording
from hpcsweep.report.failures import FailureGroup, has_failed, informative_line
from hpcsweep.report.first_screen import Answer, FirstScreen
from hpcsweep.report.first_screen_cells import name_ranges
from hpcsweep.spec.phases import RunState
from hpcsweep.units import counted

MAX_AXES = 6
"""With more axes, one column has all of them."""

MAX_REASON = 200

MAX_FINDINGS = 3
MAX_STEPS = 3


def title(screen: FirstScreen) -> str:
    """Return the title of the sweep."""
    sweep = screen.findings.sweep
    return sweep.title or f"{sweep.experiment}: results"


def header_line(screen: FirstScreen) -> str:
    """Return what was run, where and when, with the number of runs by result."""
    findings = screen.findings
    sweep = findings.sweep
    models = join_names(list(dict.fromkeys(variant.model for variant in findings.variants if variant.model)))
    engines = join_names(list(dict.fromkeys(variant.engine for variant in findings.variants if variant.engine)))
    parts = [sweep.sweep, f"cluster {sweep.cluster}", models, engines, _run_counts(screen)]
    return " · ".join([part for part in parts if part] + [wording.day(sweep.submitted_at)])


def _run_counts(screen: FirstScreen) -> str:
    runs = [run for run in screen.findings.runs if not run.planned_only]
    completed = sum(run.measured for run in runs)
    ended = sum(run.outcome is not None for run in runs)
    running = sum(run.state is RunState.RUNNING for run in runs if run.outcome is None)
    counts = [(completed, "completed"), (ended - completed, "failed"), (running, "running")]
    counts.append((len(runs) - ended - running, "waiting"))
    variants = len(screen.findings.variants)
    what = counted(len(runs), "run") if variants == len(runs) else f"{counted(variants, 'variant')}, {len(runs):,} runs"
    return f"{what}: {', '.join(f'{number:,} {name}' for number, name in counts if number) or 'none'}"


def simulated_banner(screen: FirstScreen) -> str:
    """Return the one sentence on simulated figures; empty where every figure is real."""
    sweep = screen.findings.sweep
    if not sweep.simulated:
        return ""
    if sweep.all_simulated:
        return f"{wording.SIMULATED}: every figure comes from the simulated engine; nothing real was measured."
    return (
        f"{wording.SIMULATED}: some runs used the simulated engine. Their figures measure nothing real and are marked."
    )


def answer_title(screen: FirstScreen) -> str:
    """Return the recommended variant in words."""
    answer = screen.answer
    if answer is None:
        return "No recommendation"
    which = "Recommended (provisional)" if screen.findings.recommendation.provisional else "Recommended"
    return f"{which}: {wording.short_name(screen.findings, answer.variant)}  {_levels(answer.variant)}"


def _levels(variant: Variant) -> str:
    return "  ".join(f"{axis}={level}" for axis, level in variant.axes.items()) or variant.name


def answer_sentences(screen: FirstScreen) -> list[str]:
    """Return the figures, the comparisons, and how sure the answer is."""
    advice, answer = screen.findings.recommendation, screen.answer
    objective = f"Objective: {advice.objective or wording.NO_OBJECTIVE}."
    if answer is None:
        return [objective, *(_sentence(reason) for reason in advice.why)]
    many = len(answer.figures) > 1
    figures = "; ".join(
        f"{wording.sentence_figure(figure)}{f' on {workload}' if many and workload else ''}"
        f"{f' ({bound})' if (bound := bound_text(screen, workload, figure)) else ''}"
        for workload, figure in answer.figures
    )
    baseline = " It is the baseline." if answer.variant.is_baseline else ""
    lines = [objective, f"Measured: {figures}.{baseline}"]
    lines += compared_sentences(screen, answer)
    lines += [line for line in (confidence(screen),) if line]
    return [*lines, *(f"On {line}" for line in by_workload(screen.findings))] if advice.per_workload else lines


def compared_sentences(screen: FirstScreen, answer: Answer) -> list[str]:
    """Return how the answer compares with the baseline, with the variant of the highest score, and the runner-up."""
    sentences = (_baseline(screen, answer), _best(screen, answer), _runner_up(screen, answer))
    return [sentence for sentence in sentences if sentence]


def bound_share(screen: FirstScreen, workload: str, figure: Figure) -> float | None:
    """Return the part of its bound that a figure of the answer reaches, 0 to about 1; None: the bound is unknown."""
    bound = None if screen.answer is None else screen.answer.bounds.get(workload)
    return None if bound is None or figure.value is None else bound.share(screen.metric, figure.value)


def bound_text(screen: FirstScreen, workload: str, figure: Figure) -> str:
    """Return `1.5 % of the bound of 600 tok/s by HBM bandwidth`; empty: the bound is unknown."""
    share = bound_share(screen, workload, figure)
    if share is None or figure.value is None or screen.answer is None:
        return ""
    least = screen.metric in ("tpot_s", "ttft_s")  # a time cannot be shorter than its bound, a speed not higher
    limit = figure.value * share if least else figure.value / share
    text = wording.latency(limit) if least else f"{wording.number(limit)} {wording.unit(figure.unit)}"
    limiter = screen.answer.bounds[workload].limiter.value
    return f"{wording.share(share)} of the bound of {text} by {limiter}"


def _sentence(text: str) -> str:
    text = text.strip()
    first = text.partition(" ")[0]
    start = text[:1].upper() + text[1:] if first.isalpha() else text
    return start if start.endswith((".", "!", "?")) else f"{start}."


def _baseline(screen: FirstScreen, answer: Answer) -> str:
    if answer.variant.is_baseline or not answer.baseline:
        return ""
    reference = wording.short_name(screen.findings, answer.baseline[0].reference)
    many = len({comparison.workload for comparison in answer.baseline}) > 1 or len(screen.workloads) > 1
    changes = "; ".join(
        f"{comparison.workload + ' ' if many else ''}{_change(comparison)}" for comparison in answer.baseline
    )
    return f"Against the baseline {reference}: {changes}."


def _change(given: Comparison) -> str:
    if given.percent.value is None or given.p_value is None:
        return wording.verdict(given.verdict)
    return f"{wording.sentence_percent(given.percent)}, {wording.verdict(given.verdict)}"


def _best(screen: FirstScreen, answer: Answer) -> str:
    if answer.best is None:
        return ""
    best = wording.short_name(screen.findings, answer.best)
    score = next(
        candidate.score
        for candidate in screen.findings.recommendation.candidates
        if candidate.variant == answer.best.variant
    )
    return (
        f"{best} ({_difference(answer.best, answer.variant)}) has the best score, {wording.sentence_figure(score)}, "
        f"but the difference is not significant and {answer.variant.short_name} is simpler or cheaper."
    )


def _difference(variant: Variant, reference: Variant) -> str:
    changed = [f"{axis}={level}" for axis, level in variant.axes.items() if reference.axes.get(axis) != level]
    return ", ".join(changed) or variant.name


def _runner_up(screen: FirstScreen, answer: Answer) -> str:
    other = answer.runner_up
    if other is None or other.against_best is None or not other.comparable:
        return ""
    findings = screen.findings
    variant = findings.variant(other.variant)
    best = "the best score" if answer.best is not None else answer.variant.short_name
    name = f"{wording.short_name(findings, variant)} ({_difference(variant, answer.variant)})"
    verdict = "not significantly different" if other.equal_to_best else "significantly worse"
    return f"Runner-up {name}: {wording.sentence_percent(other.against_best)} compared with {best}, {verdict}."


def confidence(screen: FirstScreen) -> str:
    """Return how sure the answer is, and why, in one sentence."""
    answer, level = screen.answer, screen.findings.recommendation.confidence
    if answer is None or level is None:
        return ""
    chance = "" if answer.chance is None or answer.alone else f" P(best) = {100 * answer.chance:.0f} %."
    return f"{level.text}{chance}"


def by_workload(findings: Findings) -> Iterator[str]:
    """Yield the decision for each workload by itself."""
    for decision in findings.recommendation.by_workload:
        best, chosen = findings.variant(decision.best), findings.variant(decision.chosen)
        name = wording.marked(findings, decision.workload, decision.score.simulated)
        text = f"{name}: {best.short_name} has the best score, {wording.sentence_figure(decision.score)}"
        if decision.equal:
            names = join_names([findings.variant(other).short_name for other in decision.equal])
            text += f"; not significantly different: {names}"
        if chosen is not best:
            text += f"; {chosen.short_name} is simpler or cheaper"
        yield f"{text}."


def command_note(screen: FirstScreen) -> str:
    """Return how to get the command as a file or as a batch job."""
    advice, sweep = screen.findings.recommendation, screen.findings.sweep.sweep
    if not advice.argv:
        return ""
    files = f" It needs {counted(len(advice.files), 'file')}, which `export` writes too." if advice.files else ""
    return f"As a script: hpcsweep export best {sweep}; as a batch job: add --to slurm or --to pbs.{files}"


def failure_sentences(group: FailureGroup, screen: FirstScreen) -> list[str]:
    """Return what failed and why, the log line that shows it, and the next step."""
    count = len(group.variants)
    names = name_ranges(group.variants, screen)
    shared = " and ".join(f"{axis}={level}" for axis, level in group.shared)
    every = f" (every variant with {shared})" if shared else ""
    reason = _cut(group.first.reason, MAX_REASON)
    head = f"{names}{every}: {group.outcome}." if count else f"{group.first.label}: {group.outcome}."
    lines = [f"{head} {_sentence(reason)}" if reason else head]
    line = informative_line(group.first)
    if line:
        lines.append(f"Log: {_cut(line, MAX_REASON)}")
    if group.first.hint:
        lines.append(f"Next: {_sentence(group.first.hint)}")
    return lines


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def axis_sentences(screen: FirstScreen) -> list[str]:
    """Return what each level changes significantly, then the settings that change nothing."""
    sentences, without = [], []
    for axis in screen.findings.axes:
        levels = [level for level in axis.levels if not level.is_reference]
        changed = [sentence for level in levels if (sentence := _level_sentence(screen, axis, level))]
        sentences += changed
        on_metric = [effect for level in levels for effect in _metric_effects(screen, level)]
        if on_metric and not any(effect.verdict in wording.SIGNIFICANT for effect in on_metric):
            without.append(axis.axis)
    if without:
        sentences.append(f"No significant effect on {METRICS[screen.metric].title}: {join_names(without)}.")
    return sentences


def _metric_effects(screen: FirstScreen, level: LevelFinding) -> list[Comparison | Effect]:
    """Return the effects on the shown metric: means over pairs, else the comparison with the baseline."""
    effects: list[Comparison | Effect] = [*level.main_effects] or [*level.one_at_a_time]
    shown = (effect for effect in effects if effect.metric == screen.metric and effect.condition == screen.condition)
    return [effect for effect in shown if effect.percent.value is not None]


def _level_sentence(screen: FirstScreen, axis: AxisFinding, level: LevelFinding) -> str:
    effects = [
        *_metric_effects(screen, level),
        *(effect for effect in level.startup if effect.percent.value is not None),
    ]
    significant = [effect for effect in effects if effect.verdict in wording.SIGNIFICANT]
    if not significant or axis.reference is None:
        return ""
    many = len(screen.findings.sweep.workloads) > 1
    changes = "; ".join(
        f"{wording.inside(METRICS[effect.metric].title)}{f' on {effect.workload}' if many and effect.workload else ''} "
        f"{wording.sentence_percent(effect.percent)}, {effect.verdict.value}"
        for effect in significant
    )
    return f"{axis.axis}={level.level} compared with {axis.axis}={axis.reference}: {changes}."


def finding_sentences(screen: FirstScreen) -> list[str]:
    """Return what each setting does, and the most important remarks."""
    sentences = [*axis_sentences(screen), *(_sentence(remark.text) for remark in screen.findings.remarks)]
    return sentences[:MAX_FINDINGS]


@dataclass(frozen=True)
class Step:
    """What to run next. `command`: the command that does exactly that; empty: no single command does."""

    text: str
    command: str

    @property
    def line(self) -> str:
        """The step in one line."""
        return f"{self.text}: {self.command}" if self.command else _sentence(self.text)


def steps(screen: FirstScreen) -> list[Step]:
    """Return what to run next to make the answer surer."""
    findings = screen.findings
    wanted = [
        Step(
            step.text.rstrip("."),
            _repeat_command(screen, [findings.variant(name) for name in step.variants], step.repeats),
        )
        for step in findings.next_steps
    ]
    if any(has_failed(group.first) for group in screen.failures):
        wanted.append(Step("To try the failed runs again", f"hpcsweep retry {findings.sweep.sweep}"))
    return wanted[:MAX_STEPS]


def next_steps(screen: FirstScreen) -> list[str]:
    """Return the same in one line per step."""
    return [step.line for step in steps(screen)]


def _repeat_command(screen: FirstScreen, variants: Sequence[Variant], repeats: int) -> str:
    """Return the command that repeats these variants; empty where no choice of levels gives exactly these."""
    levels = {
        axis: list(dict.fromkeys(variant.axes[axis] for variant in variants if axis in variant.axes))
        for axis in screen.axes
    }
    if math.prod(len(values) for values in levels.values()) != len(variants):
        return ""
    every = [axis for axis in screen.axes if len(levels[axis]) < len(screen.findings.sweep.axes[axis])]
    options = [
        f"--set {axis}={levels[axis][0]}" if len(levels[axis]) == 1 else f"--levels {axis}={','.join(levels[axis])}"
        for axis in every
    ]
    return " ".join(["hpcsweep submit", screen.findings.sweep.experiment, *options, f"--repeats {repeats}"])


def cost_sentence(screen: FirstScreen) -> str:
    """Return the GPU-hours, with those that failed starts took."""
    cost = screen.findings.costs
    if not cost.used.value:
        return "Cost: no GPU-hours."
    wasted = f", of which {wording.hours(cost.wasted.value)} in runs without a result" if cost.wasted.value else ""
    return f"Cost: {wording.hours(cost.used.value)} GPU-hours{wasted}."


def more_sentence(screen: FirstScreen) -> str:
    """Return where to find more."""
    sweep = screen.findings.sweep.sweep
    first = screen.findings.runs[0].label if screen.findings.runs else "RUN"
    return f"More: hpcsweep report {sweep} --full; -o report.html for plots; hpcsweep show {sweep}/{first} for one run."
