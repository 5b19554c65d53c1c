"""Remarks: which ones are made, about what, and with which numbers."""

from dataclasses import replace

import pytest
from study_rows import attempt, run, samples, sweep, workload

from hpcsweep.analysis.rows import FactRow
from hpcsweep.analysis.summary import analyse
from hpcsweep.spec.phases import OutcomeKind, Phase


def remarks(runs, code, levels=("1", "2")):
    return [r for r in analyse(sweep(runs, {"a": levels}, {"a": "1"})).remarks if r.code == code]


def marked(seconds, *cold, workload_name="w", **changes):
    """A workload whose samples with these indexes are marked cold."""
    rows = tuple(
        replace(sample, cold="first_of_server" if sample.index in cold else None)
        for sample in samples([(100, s) for s in seconds], tokens=100)
    )
    return workload(workload_name, rows, **changes)


def runs_of(level, *rows):
    return [run({"a": level}, [attempt([row])], repeat=number) for number, row in enumerate(rows, 1)]


def test_a_comparison_that_a_cold_request_changes_is_a_remark_with_both_percentages_and_the_slowest_request():
    even = marked([2.0] * 5)
    slow = [marked([4.0, 2.0, 2.0, 2.0, 2.0], 0), marked([10.0, 2.0, 2.0, 2.0, 2.0], 0)]
    (remark,) = remarks([*runs_of("1", even, even), *runs_of("2", *slow)], "cold_in_average")
    # TPS over all samples: 50 against (45 + 42) / 2; over warm ones 50 against 50
    assert remark.about == "a-2"
    assert remark.values["all_percent"] == pytest.approx(100 * (43.5 / 50 - 1))
    assert remark.values["warm_percent"] == pytest.approx(0.0)
    assert (remark.values["workload"], remark.values["cold_s"]) == ("w", 10.0)


def test_a_real_difference_is_not_blamed_on_a_cold_request():
    """All samples and warm ones differ from the baseline alike, so the cold requests do not matter."""
    old, new = marked([4.0, 2.0, 2.0, 2.0, 2.0], 0), marked([8.0, 4.0, 4.0, 4.0, 4.0], 0)
    assert remarks([*runs_of("1", old, old), *runs_of("2", new, new)], "cold_in_average") == []


def test_a_cold_request_of_the_baseline_is_named_where_the_variant_has_none():
    old, new = marked([9.0, 2.0, 2.0, 2.0, 2.0], 0), marked([2.0] * 5)
    (remark,) = remarks([*runs_of("1", old, old), *runs_of("2", new, new)], "cold_in_average")
    assert (remark.values["cold_s"], remark.values["warm_percent"]) == (9.0, pytest.approx(0.0))


def test_the_slowest_cold_request_of_each_kind_is_a_remark():
    rows = [marked([4.0, 2.0, 2.0], 0), marked([6.0, 2.0, 2.0], 0), marked([2.1, 2.0, 2.0], 0)]
    (remark,) = remarks(runs_of("1", *rows), "cold_sample", ("1",))
    assert remark.about == "a-1_r2"
    assert remark.values == {"kind": "first_of_server", "slow": 2, "of": 3, "sample": "s_1", "ratio": 3.0}


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        pytest.param("miss", ["a-2"], id="cold"),
        pytest.param(None, ["a-2"], id="not known"),
        pytest.param("hit", [], id="warm already"),
    ],
)
def test_a_start_that_ended_in_compile_with_a_cold_cache_is_a_remark(cache, expected):
    facts = (FactRow("compile_cache", cache),) if cache else ()
    stalled = attempt([], outcome=OutcomeKind.STALLED, phase=Phase.COMPILE, facts=facts)
    found = remarks([*runs_of("1", marked([2.0] * 5)), run({"a": "2"}, [stalled])], "cold_compile")
    assert [remark.about for remark in found] == expected


def test_several_nodes_and_killed_processes_are_remarks():
    row = marked([2.0] * 5)
    runs = [run({"a": str(n)}, [attempt([row], host=f"n{n}", killed=("a", "b"))]) for n in range(1, 9)]
    (hosts,) = remarks(runs, "hosts", tuple("12345678"))
    assert hosts.values == {"hosts": [f"n{n}" for n in range(1, 9)]}
    assert "n6 and 2 more" in hosts.text
    assert [(r.about, r.values) for r in remarks(runs[:1], "killed", ("1",))] == [("a-1", {"processes": 2})]
