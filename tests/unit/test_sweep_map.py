"""The map of a sweep: which axes become rows and columns, what a cell shows, what is folded."""

from itertools import product

import pytest
from study_rows import a100_study, attempt, h200_study, run, samples, sweep, workload

from hpcsweep.analysis.summary import analyse
from hpcsweep.report.first_screen import build_first_screen
from hpcsweep.report.formats.html.map_view import SHADES, map_view, shade
from hpcsweep.report.formats.html.plots import plot_data
from hpcsweep.report.map_layout import MAX_CELLS, choose_axes
from hpcsweep.report.sweep_map import STARTUP_LAYER, build_map, relative
from hpcsweep.spec.phases import RunState

LAYOUTS = [
    pytest.param({"a": 3}, (), ("a",), id="one axis: one row"),
    pytest.param({"a": 2, "b": 2, "c": 3}, ("a", "b"), ("c",), id="the axis with most levels is across"),
    pytest.param({"a": 2, "b": 2}, ("b",), ("a",), id="the first one where they are equal"),
    pytest.param({"a": 2, "b": 2, "c": 2, "d": 4}, ("a", "b", "c"), ("d",), id="the fourth goes to the shorter side"),
    pytest.param({"a": 3, "b": 3, "c": 2, "d": 4}, ("a", "b"), ("c", "d"), id="or is nested in the columns"),
]


def map_of(rows):
    return build_map(build_first_screen(analyse(rows)))


def grid(axes):
    """A sweep of every combination of levels; the first axis doubles the speed on its last level."""
    last = next(iter(axes))
    runs = []
    for levels in product(*axes.values()):
        chosen = dict(zip(axes, levels, strict=True))
        seconds = 5.0 if chosen[last] == axes[last][-1] else 10.0
        runs.append(run(chosen, [attempt([workload("w", samples([(10, seconds)] * 3))])]))
    return sweep(runs, axes, {axis: levels[0] for axis, levels in axes.items()})


@pytest.mark.parametrize(("sizes", "rows", "columns"), LAYOUTS)
def test_axes_become_rows_and_columns(sizes, rows, columns):
    assert choose_axes(sizes) == (rows, columns)


def test_the_cells_of_the_h200_study():
    found = map_of(h200_study())
    assert [axis.name for axis in found.layout.rows] == ["ep", "eager"]
    assert [axis.name for axis in found.layout.columns] == ["len"]
    assert [layer.name for layer in found.layers] == ["8k", "64k", STARTUP_LAYER]
    short, long, starts = found.layers
    kinds = [[None if cell is None else cell.kind for cell in row] for row in short.cells]
    assert kinds == [["measured"] * 3, [None, "failed", None], [None, "failed", None], [None] * 3]
    assert short.cells[1][1].text == "startup timeout in compile"
    assert [cell.kind for cell in long.cells[0]] == ["not sent", "not sent", "measured"]
    assert [cell.baseline for cell in short.cells[0]] == [False, True, False]
    assert [cell.recommended for cell in short.cells[0]] == [False, False, True]
    assert max(cell.relative for cell in short.cells[0]) == 1.0
    assert starts.cells[0][0].figure.value == 400.0


def test_repeats_share_a_cell_and_open_a_completed_run():
    good = attempt([workload("w", samples([(10, 1.0)] * 4))])
    bad = attempt(outcome=analyse(h200_study()).runs[1].outcome)
    runs = [run({"a": "1"}, [bad]), run({"a": "1"}, [good], repeat=2), run({"a": "2"}, [good])]
    (layer, _) = map_of(sweep(runs, {"a": ("1", "2")}, {"a": "1"})).layers
    assert [cell.run for cell in layer.cells[0]] == ["a-1_r2", "a-2"]
    assert layer.cells[0][0].text == "1 startup timeout in compile, 1 completed"


def test_a_large_sweep_is_folded_to_the_axes_that_matter():
    axes = {"x": ("a", "b"), "y": tuple(map(str, range(8))), "z": tuple(map(str, range(8))), "u": tuple("abcdef")}
    found = map_of(grid(axes))
    assert found.layout.is_folded
    assert "x" in [axis.name for axis in (*found.layout.rows, *found.layout.columns)]
    assert len(found.layout.folded) == 2
    cells = [cell for row in found.layers[0].cells for cell in row]
    assert len(cells) <= MAX_CELLS
    assert sum(cell.variants for cell in cells) == 768
    assert sum(cell.recommended for cell in cells) == 1


def test_neighbouring_levels_share_a_column():
    found = map_of(grid({"a": tuple(map(str, range(100)))}))
    (axis,) = found.layout.columns
    assert (axis.merged, axis.levels[0], axis.levels[-1]) == (7, "0–6", "98–99")
    assert sum(cell.variants for cell in found.layers[0].cells[0]) == 100


def test_without_axes_there_is_a_ranked_list():
    runs = [
        run({}, [attempt([workload("w", samples([(10, s)] * 3))])], variant_id=name, run=name)
        for name, s in (("slow", 9.0), ("fast", 3.0))
    ]
    found = map_of(sweep(runs, {}, {}))
    assert found.layout is None
    assert [cell.run for cell in found.layers[0].ranked] == ["fast", "slow"]


def test_a_sweep_that_has_not_begun_has_no_map():
    waiting = [run({"a": level}, outcome=None, state=RunState.QUEUED) for level in "12"]
    assert map_of(sweep(waiting, {"a": ("1", "2")}, {"a": "1"})) is None


@pytest.mark.parametrize(
    ("value", "best", "higher", "expected"),
    [(5, 10, True, 0.5), (10, 5, False, 0.5), (0, 0, True, 1.0), (3, 3, False, 1)],
)
def test_relative_is_one_for_the_best_in_both_directions(value, best, higher, expected):
    assert relative(value, best, higher_is_better=higher) == expected


def test_shades_follow_the_distance_from_the_best():
    assert [shade(value) for value in (1.0, 0.98, 0.9, 0.8, 0.6, 0.0)] == list(range(len(SHADES)))


def test_a_cell_in_words():
    findings = analyse(a100_study())
    view = map_view(findings, build_map(build_first_screen(findings)))
    (_, cells) = view.layers[0].rows[0]
    assert (view.corner, view.across, cells[0].text) == (("ep",), ("batched_tokens",), "349")
    assert cells[0].detail.endswith("349 tok/s/GPU (n = 1 benchmark), 98.7 % of the best, recommended, baseline")
    assert view.layers[0].rows[1][1][1:] == (None, None, None)


def test_the_front_has_the_region_of_the_slo():
    given = workload("w", samples([(10, 5.0)] * 4), settings={"slo": {"tpot_s": 0.01}})
    without = workload("v", samples([(10, 5.0)] * 4), settings={"slo": {"ttft_s": 2.0}})
    rows = sweep([run({"a": "1"}, [attempt([given, without])])], {"a": ("1",)}, {"a": "1"})
    assert plot_data(analyse(rows))["slowest_user"] == {"w": pytest.approx(100.0)}
