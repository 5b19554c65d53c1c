"""The points of the tables: their numbers are those of the findings, and no verdict is made up."""

import io
from dataclasses import replace

import pytest
from study_rows import a100_study, h200_study, run, sweep

from hpcsweep.analysis.findings.compared import Verdict
from hpcsweep.analysis.findings.measured import CacheEffect, Figure
from hpcsweep.analysis.summary import analyse
from hpcsweep.report import points, run_points
from hpcsweep.report.chapters.full_report import build_document
from hpcsweep.report.document import Quantity, Table
from hpcsweep.report.formats.registry import ReportOptions, get_format
from hpcsweep.report.wording import number


@pytest.fixture(scope="module")
def study():
    return analyse(h200_study())


def tables(findings):
    return [
        (section.title, block)
        for section in build_document(findings).sections
        for block in section.blocks
        if isinstance(block, Table)
    ]


@pytest.mark.parametrize("rows", [h200_study(), a100_study()], ids=["h200", "a100"])
def test_every_table_has_a_short_point(rows):
    made = tables(analyse(rows))
    assert len(made) > 10
    assert [title for title, table in made if not 0 < len(table.point) <= points.LONGEST] == []


def test_speed_names_the_best_and_what_is_not_different(study):
    eight, long = study.recommendation.by_workload
    assert points.results(study) == (
        f"8k: E01 at {number(eight.score.value)} tok/s, not significantly different from E04, E03; "
        f"64k: only E04 has a result, {number(long.score.value)} tok/s"
    )


def test_workloads_without_a_clear_winner_have_one_sentence(study):
    eight, long = study.recommendation.by_workload
    both = (eight, replace(long, equal=(eight.best,)))
    findings = replace(study, recommendation=replace(study.recommendation, by_workload=both))
    assert points.results(findings) == (
        f"Not significantly different: E01 ({number(eight.score.value)} tok/s) and E04, E03 on 8k; "
        f"E04 ({number(long.score.value)} tok/s) and E01 on 64k"
    )


def test_a_withheld_verdict_is_not_a_verdict(study):
    text = points.against_baseline(study, "output_throughput", "all")
    assert text.startswith("Output throughput: no verdict; cold requests lower the throughput")


def test_a_provisional_comparison_says_so():
    findings = analyse(a100_study())
    text = points.against_baseline(findings, "output_throughput", "all")
    assert text == "Output throughput: no significant difference from the baseline E01 (provisional)"
    assert points.results(findings) == text


def test_a_significant_change_has_its_size(study):
    one, *others = [c for c in study.comparisons if (c.metric, c.condition) == ("tps", "warm")]
    changed = replace(one, verdict=Verdict.WORSE, provisional=False, percent=replace(one.percent, value=-12.04))
    findings = replace(study, comparisons=(changed, *others))
    assert "E03 -12.0 % on 8k, worse" in points.against_baseline(findings, "tps", "warm")


def test_the_decision_gives_the_score(study):
    (scored,) = [c for c in study.recommendation.candidates if c.score.value is not None]
    assert points.decision(study).startswith(f"E04 is recommended (provisional): {number(scored.score.value)} tok/s;")
    empty = analyse(sweep([run({"a": "1"})], {"a": ("1",)}, {"a": "1"}))
    assert points.decision(empty).startswith("No recommendation")


def test_starts_count_the_failed_ones_by_phase(study):
    assert run_points.startup(study) == "Startup takes 400 s; 2 of 5 starts failed, in compile or load_weights"


def test_an_axis_states_changes_then_what_does_not_change(study):
    by_axis = {axis.axis: axis for axis in study.axes}
    assert run_points.levels(by_axis["eager"]) == "3 of 5 runs completed, none with eager=no"

    def startup(axis):
        return run_points.changes(axis, [(one.level, e) for one in by_axis[axis].levels for e in one.startup])

    assert startup("ep") == "ep=off: load takes 2.0x as long"
    assert startup("len") == "len: no significant effect on startup, load"


def test_cost_gives_the_share_without_a_result(study):
    used, wasted = study.costs.used.value, study.costs.wasted.value
    assert run_points.cost(study) == f"{wasted:.2f} of {used:.2f} GPU-hours went into runs without a result"
    none = replace(study, costs=replace(study.costs, wasted=Figure(0.0, "GPU-hours")))
    assert run_points.cost(none).endswith("none of them in runs without a result")


def test_requests_give_the_factor_of_the_cold_one(study):
    cell = next(cell for cell in study.cells if cell.label == "ep-on_eager-yes_len-8k")
    warm_median = (59.07 + 58.88) / 2
    assert f" {79.46 / warm_median:.2f}x " in run_points.requests(cell)


@pytest.mark.parametrize(("high", "clear"), [(110.0, True), (210.0, False), (None, False)])
def test_a_cache_effect_inside_the_noise_says_so(high, clear):
    low = None if high is None else 90.0
    effect = CacheEffect("v", Figure(200.0, "s", 3, low=190.0, high=210.0), Figure(100.0, "s", 3, low=low, high=high))
    text = run_points.cache([effect])
    assert "takes 2.00x as long" in text
    assert ("spread" not in text) == clear


def test_failures_name_what_they_share(study):
    failed = [one for one in study.runs if one.phase is not None and not one.measured]
    text = run_points.failed(failed[:1], [("eager", "no")], 5)
    assert text == "1 of 5 runs: startup timeout in compile, every one with eager=no"


def test_long_points_are_cut_to_one_line():
    parts = [f"workload-{n}: variant E{n:02} is fastest" for n in range(9)]
    assert points.listed(parts).endswith("; and 7 more")
    assert len(points.listed(["x " * 200])) <= points.LONGEST
    assert points.listed([]) == ""


@pytest.mark.parametrize("name", ["markdown", "terminal", "html"])
def test_formats_show_the_point(study, name):
    stream = io.StringIO()
    get_format(name).write(study, stream, ReportOptions(full=True))
    text = stream.getvalue()
    point = run_points.cost(study)
    assert {"markdown": f"\n**{point}**\n", "terminal": f"\n{point}\n", "html": f">{point}<"}[name] in text


def test_figures_carry_their_metric_and_caveats(study):
    _, table = next((title, table) for title, table in tables(study) if title.startswith("Results by"))
    cells = [cell for row in table.rows for cell in row if isinstance(cell, Quantity) and cell.metric]
    assert {cell.metric for cell in cells} == {"tps", "e2e_s"}
    assert {cell.caveats for cell in cells} == {("too_few_samples", "one_run_only")}
