"""Startup times: which start counts, which fact, and which state of the compile cache."""

import pytest
from study_rows import attempt, run

from hpcsweep.analysis.measured.startup import StartupTimes, build_startups
from hpcsweep.analysis.rows import FactRow


def starts(*seconds_and_caches):
    runs = [
        run({"a": "1"}, [attempt(startup_s=seconds, facts=(FactRow("compile_cache", cache),))], repeat=number)
        for number, (seconds, cache) in enumerate(seconds_and_caches, 1)
    ]
    return StartupTimes(build_startups(runs))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param([(900.0, "miss"), (200.0, "hit"), (200.0, "hit")], 200.0, id="more warm starts"),
        pytest.param([(200.0, "hit"), (900.0, "miss"), (900.0, "miss")], 900.0, id="more cold starts"),
        pytest.param([(900.0, "miss"), (200.0, "hit")], 900.0, id="as many of both: the state seen first"),
    ],
)
def test_the_startup_time_is_that_of_the_state_of_the_cache_with_the_most_starts(seen, expected):
    assert starts(*seen).best_known("a-1").value == pytest.approx(expected)


def test_a_variant_that_was_never_ready_has_no_startup_time():
    assert starts((None, "miss")).best_known("a-1") is None
    assert starts((None, "miss")).mean_s("a-1") == float("inf")


def test_of_several_facts_with_the_same_name_the_last_one_is_valid():
    facts = (FactRow("load_s", 100.0, "s"), FactRow("other", 1.0), FactRow("load_s", 150.0, "s"))
    one = attempt(facts=facts)
    assert one.fact("load_s").value == 150.0
    assert one.fact("missing") is None
    (startup,) = build_startups([run({"a": "1"}, [one])])
    assert startup.load_s == 150.0
