"""Samples of one workload: derived metrics, cold ones apart, outliers, drift."""

from dataclasses import replace

import numpy as np
import pytest
from study_rows import attempt, run, samples, sweep, workload

from hpcsweep.analysis.columns import SampleColumns, SampleRow
from hpcsweep.analysis.measured.cells import build_cells
from hpcsweep.analysis.measured.samples import measure, with_cold_marks
from hpcsweep.analysis.measured.vllm_bench import bench_summary
from hpcsweep.analysis.rows import WorkloadRow


def mixed_samples():
    """Good, failed, warm-up, one-token and not streamed ones."""
    return (
        SampleRow("w", 0, 0.0, 10, 8, 0.5, 1.0, warmup=True),
        SampleRow("a", 1, 1.0, 10, 8, 0.25, 2.0),
        SampleRow("b", 2, 2.0, 12, 1, 0.3, 0.3),
        SampleRow("c", 3, 3.0, 12, None, None, None, error="cut"),
        SampleRow("d", 4, 4.0, 11, 16, None, 3.0),
        SampleRow("e", 5, 5.0, 10, 9, 0.2, 1.1),
    )


def cell_of(row, **changes):
    (cell,) = build_cells([run({"a": "1"}, [attempt([row], **changes)])])
    return cell


def test_the_metrics_are_those_of_vllm_bench_serve():
    row = workload("w", mixed_samples(), durations_s=(6.0,), settings={"slo": {"ttft_s": 0.28, "tpot_s": 0.3}})
    cell = cell_of(row)
    theirs = bench_summary(row.samples, 6.0, slo={"ttft_s": 0.28, "tpot_s": 0.3})
    for ours, name in (("ttft_s", "ttft"), ("tpot_s", "tpot"), ("e2e_s", "e2el")):
        summary = cell.summary(ours, "all")
        printed = [theirs[f"{statistic}_{name}_ms"] / 1000 for statistic in ("mean", "median", "p99")]
        assert [summary.mean, summary.median, summary.p99] == pytest.approx(printed)
    assert cell.summary("tps", "all").mean == pytest.approx((8 / 2.0 + 1 / 0.3 + 16 / 3.0 + 9 / 1.1) / 4)
    assert cell.summary("decode_tps", "all").mean == pytest.approx((7 / 1.75 + 8 / 0.9) / 2)
    figures = {name: figure.value for name, figure in cell.throughput.items()}
    assert figures["request_throughput"] == pytest.approx(4 / 6) == theirs["request_throughput"]
    assert figures["output_throughput"] == pytest.approx(34 / 6) == theirs["output_throughput"]
    assert figures["total_throughput"] == pytest.approx(77 / 6) == theirs["total_token_throughput"]
    assert figures["goodput"] == pytest.approx(2 / 6) == theirs["request_goodput"]
    assert figures["output_tps_per_gpu"] == pytest.approx(34 / 6 / 8)
    assert (cell.succeeded, cell.failed, cell.failures) == (4, 1, {"cut": 1})


def test_columns_and_rows_give_the_same_cell():
    rows = mixed_samples()
    by_rows = cell_of(workload("w", rows, durations_s=(6.0,)))
    by_columns = cell_of(WorkloadRow("w", samples_total=6, columns=SampleColumns.from_rows(rows), durations_s=(6.0,)))
    assert by_rows.summaries == by_columns.summaries
    assert by_rows.throughput == by_columns.throughput


def test_warm_leaves_out_every_kind_of_cold_sample():
    kinds = ("first_of_server", "first_of_shape", "first_after_reset", None, None, None)
    found = tuple(
        replace(s, cold=kind) for s, kind in zip(samples([(10, 9.0)] * 3 + [(10, 3.0)] * 3), kinds, strict=True)
    )
    cell = cell_of(workload("w", found))
    assert (cell.summary("e2e_s", "all").n, cell.summary("e2e_s", "warm").n) == (6, 3)
    assert cell.summary("e2e_s", "warm").mean == 3.0
    assert [one.kind for one in cell.cold] == list(kinds[:3])
    assert cell.cold[0].slower_by == pytest.approx(3.0)
    assert cell.cold_share == pytest.approx(3 * (9 - 3) / 36)


COLD_CASES = [  # (workloads as lists of (prompt, seconds), marks expected)
    pytest.param([[(10, 1.0), (10, 1.0)]], [["first_of_server", None]], id="first of the server"),
    pytest.param([[(10, 1.0)], [(1000, 1.0)] * 2], [["first_of_server"], ["first_of_shape", None]], id="a new shape"),
    pytest.param([[(100, 1.0)], [(105, 1.0)]], [["first_of_server"], [None]], id="nearly the same shape"),
    pytest.param([[], [(10, 1.0)]], [[], ["first_of_server"]], id="the first workload failed"),
]


@pytest.mark.parametrize(("shapes", "expected"), COLD_CASES)
def test_cold_marks_by_place_where_nobody_marked(shapes, expected):
    rows = [workload(f"w{n}", samples(shape)) for n, shape in enumerate(shapes)]
    assert [list(columns.cold) for columns in with_cold_marks(attempt(rows))] == expected


def test_a_cold_request_as_quick_as_the_warm_ones_lowers_no_throughput():
    assert cell_of(workload("w", samples([(10, 1.0), (10, 2.0), (10, 2.0)]))).cold_share == 0.0
    assert cell_of(workload("w", samples([(10, 2.0)]))).cold_share == 0.0  # no warm sample to compare with


def test_marks_and_warm_ups_of_the_client_are_left_alone():
    warmed = (replace(samples([(10, 1.0)])[0], warmup=True), *samples([(10, 1.0)]))
    (columns,) = with_cold_marks(attempt([workload("w", warmed)]))
    assert list(columns.cold) == [None, None]


def test_an_outlier_is_named_and_near_equal_values_are_not():
    seconds = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 4.0]
    cell = cell_of(workload("w", samples([(10, s) for s in [1.0, *seconds]])))
    (found,) = cell.outliers
    assert (found.sample, found.metric, found.value) == ("s_8", "e2e_s", 4.0)
    calm = cell_of(workload("w", samples([(10, s) for s in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.03)])))
    assert calm.outliers == ()


def test_drift_is_seen_when_it_matters():
    rising = cell_of(workload("w", samples([(10, 1.0 + 0.05 * n) for n in range(10)])))
    (tps,) = [d for d in rising.drift if d.metric == "tps"]
    assert tps.seen
    assert tps.change.value < -20
    flat = cell_of(workload("w", samples([(10, 1.0 + 0.0001 * n) for n in range(10)])))
    assert not any(d.seen for d in flat.drift)


def test_no_drift_is_a_fall_by_more_than_everything():
    falling = cell_of(workload("w", samples([(10, 10.0 if n < 5 else 0.1) for n in range(40)])))
    (tps,) = [d for d in falling.drift if d.metric == "tps"]
    assert tps.change.value > 100
    rising = cell_of(workload("w", samples([(10, 0.1 if n < 30 else 10.0) for n in range(40)])))
    (tps,) = [d for d in rising.drift if d.metric == "tps"]
    assert -100 < tps.change.low < tps.change.value < -50


def test_requests_that_wait_for_each_other_are_no_drift():
    at_once = [replace(s, sent_s=0.001 * s.index) for s in samples([(10, 1.0 + 0.05 * n) for n in range(10)])]
    assert cell_of(workload("w", tuple(at_once))).drift == ()


def test_nothing_succeeded_gives_no_summary_and_no_crash():
    failed = tuple(replace(s, error="cut", e2e_s=None) for s in samples([(10, 1.0)] * 3))
    cell = cell_of(workload("w", failed, durations_s=(3.0,)))
    assert cell.summaries == ()
    assert cell.throughput["output_throughput"].value == 0
    assert cell.prompt_tokens is None


def test_throughput_over_repeats_has_an_interval():
    found = tuple(replace(s, repeat=1 + n // 2) for n, s in enumerate(samples([(10, 2.0)] * 4, tokens=100)))
    figure = cell_of(workload("w", found, durations_s=(4.0, 5.0))).throughput["output_throughput"]
    assert (figure.n, figure.of, figure.value) == (2, "repeats", pytest.approx((50 + 40) / 2))
    assert figure.low < 40 < 50 < figure.high


def test_energy_is_power_over_time_by_output_tokens():
    looks = tuple((float(t), {"gpu_power_w": 1000.0}) for t in range(11))
    cell = cell_of(workload("w", samples([(10, 5.0)] * 2, tokens=100), telemetry=looks))
    assert cell.energy.value == pytest.approx(1000 * 10 / 200)
    assert cell.energy.unit == "J/token"
    counted = cell_of(
        workload("w", samples([(10, 5.0)] * 2, tokens=100), telemetry=looks, energy_j=(5000.0, 4000.0))
    ).energy
    assert (counted.value, counted.n, counted.of) == (9000 / 200, 2, "repeats") and "counter" in counted.note
    assert cell_of(workload("w", samples([(10, 5.0)]), telemetry=looks[:1])).energy is None


def test_a_zero_duration_is_no_speed():
    measured = measure(SampleColumns.from_rows([SampleRow("a", 0, 0.0, 1, 5, 0.0, 0.0)]))
    assert np.isnan(measured.values("tps", measured.good)).sum() == 0
    assert len(measured.values("tps", measured.good)) == 0


def test_simulated_is_marked_on_everything():
    findings = build_cells([run({"a": "1"}, [attempt([workload("w", samples([(10, 1.0)] * 6))], simulated=True)])])
    (cell,) = findings
    assert cell.simulated
    assert all(summary.simulated for summary in cell.summaries)
    assert all(figure.simulated for figure in cell.throughput.values())
    assert sweep([], {}, {}).simulated is False
