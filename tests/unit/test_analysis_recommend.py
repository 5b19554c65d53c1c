"""The recommendation by each kind of objective, its command, and what a written command loses."""

import subprocess
from dataclasses import replace

import pytest
from study_rows import ARGV, attempt, run, samples, sweep, workload

from hpcsweep.analysis.decision.commands import lost_flags, serve_command, shell_text, without_run_flags
from hpcsweep.analysis.decision.objective import read_goal
from hpcsweep.analysis.summary import analyse
from hpcsweep.spec.phases import OutcomeKind

SERVER = {
    "engine": "vllm",
    "model": "zai-org/GLM-4.6",
    "settings": {"tensor_parallel_size": 8, "expert_parallel": True},
    "flags": {"--dtype": "bfloat16"},
    "env": {"NAME": "two words"},
}


def variant(level, seconds, *, ttft_s=0.5, gpus=8, startup_s=300.0, repeats=2, workloads=("w",), **changes):
    """Runs of one variant; `seconds` a request, the repeats 0.4% apart."""
    runs = []
    for number in range(1, repeats + 1):
        factor = 1 + 0.002 * (2 * number - 3)
        found = [replace(s, ttft_s=ttft_s) for s in samples([(100, seconds * factor)] * 8, tokens=64)]
        rows = [workload(name, tuple(found), settings={"slo": {"ttft_s": 0.4}}) for name in workloads]
        tried = attempt(rows, startup_s=startup_s)
        runs.append(run({"a": level}, [tried], repeat=number, gpus=gpus, server=SERVER, **changes))
    return runs


def advice(*groups, objective=None, baseline="1"):
    runs = [one for group in groups for one in group]
    levels = tuple(dict.fromkeys(one.axes["a"] for one in runs))
    found = analyse(sweep(runs, {"a": levels}, {"a": baseline}, objective=objective or {"metric": "tps"}))
    return found.recommendation


OBJECTIVES = [  # (objective, chosen): 1 is the baseline; 2 is fast, 3 answers early, 4 starts early, 5 is small
    pytest.param({"metric": "tps"}, "a-2", id="tps"),
    pytest.param({"metric": "tps", "samples": "all"}, "a-2", id="tps of all samples"),
    pytest.param({"metric": "ttft"}, "a-3", id="ttft"),
    pytest.param({"metric": "goodput"}, "a-3", id="goodput"),
    pytest.param({"metric": "startup"}, "a-4", id="startup"),
    pytest.param({"metric": "output_tps_per_gpu"}, "a-5", id="per GPU"),
    pytest.param({"metric": "total_tps_per_gpu", "workload": "w"}, "a-5", id="per GPU on a named workload"),
    pytest.param({"metric": "weighted", "weights": {"tps": 1.0, "ttft": 0.1}}, "a-2", id="mostly speed"),
    pytest.param({"metric": "weighted", "weights": {"tps": 0.1, "ttft": 1.0}}, "a-3", id="mostly TTFT"),
]


@pytest.mark.parametrize(("objective", "chosen"), OBJECTIVES)
def test_the_objective_decides(objective, chosen):
    found = advice(
        variant("1", 2.0),
        variant("2", 1.0),
        variant("3", 2.0, ttft_s=0.2),
        variant("4", 2.0, startup_s=100.0),
        variant("5", 2.2, gpus=2),
        objective=objective,
    )
    assert found.chosen == chosen
    assert not found.provisional
    assert found.candidates[0].rank == 1
    chances = [c.chance_best for c in found.candidates if c.chance_best is not None]
    assert not chances or sum(chances) == pytest.approx(1)


def test_a_goodput_of_zero_has_no_score():
    found = advice(variant("1", 2.0), variant("2", 2.0, ttft_s=0.2), objective={"metric": "goodput"})
    assert found.chosen == "a-2"
    late = next(c for c in found.candidates if c.variant == "a-1")
    assert [(reason.code, reason.values["workload"]) for reason in late.validity.reasons] == [("zero", "w")]
    assert [statement.code for statement in found.statements] == ["only_variant", "no_result_on_workload"]
    assert found.statements[1].values == {"workload": "w", "reason": "zero", "variants": ["a-1"]}
    assert found.missing == ()


EQUALS = [  # (the other variant, best, chosen, code of the preference)
    pytest.param({"seconds": 1.999}, "a-2", "a-1", "is_baseline", id="the baseline changes nothing"),
    pytest.param({"seconds": 2.001, "gpus": 4}, "a-1", "a-2", "fewer_gpus", id="a smaller one that is as good wins"),
]


@pytest.mark.parametrize(("other", "best", "chosen", "code"), EQUALS)
def test_of_equals_the_simpler_or_cheaper_is_preferred(other, best, chosen, code):
    found = advice(variant("1", 2.0), variant("2", **other))
    assert {c.variant for c in found.candidates if c.equal_to_best} == {"a-1", "a-2"}
    assert (found.best, found.chosen) == (best, chosen)
    assert [statement.code for statement in found.statements] == ["best_not_distinct", code]


def test_of_equals_with_as_many_changes_the_shorter_startup_is_preferred():
    found = advice(variant("2", 2.0), variant("3", 2.001, startup_s=100.0), variant("1", 4.0))
    assert (found.best, found.chosen) == ("a-2", "a-3")
    assert found.statements[1].code == "starts_sooner"
    assert found.why[1] == "E02 is preferred: it starts in 100 s instead of 300 s"


def test_a_valid_result_goes_before_a_better_provisional_one():
    found = advice(variant("1", 2.0), variant("2", 1.0, repeats=1))
    assert (found.chosen, found.provisional) == ("a-1", False)
    fast = next(c for c in found.candidates if c.variant == "a-2")
    assert (fast.rank, fast.chance_best) == (None, None)
    assert [reason.code for reason in fast.validity.reasons] == ["one_run_only"]
    assert [(statement.code, statement.values) for statement in found.statements] == [
        ("only_variant", {"variant": "a-1"}),
        ("only_provisional", {"variants": ["a-2"]}),
    ]
    assert found.candidates[0].chance_best is None  # compared with nothing: not a chance of 100 %


def test_nothing_measured_gives_no_recommendation_and_no_crash():
    found = advice([run({"a": "1"}, [], reason="cancelled")])
    assert (found.chosen, found.best, found.command) == (None, None, "")
    assert [statement.code for statement in found.statements] == ["no_valid_result"]
    assert found.confidence is None
    empty = analyse(sweep([], {}, {}))
    assert empty.recommendation.chosen is None
    assert empty.next_steps == ()
    assert empty.costs.used.value == 0


def test_a_workload_that_fits_one_variant_only_gives_a_recommendation_per_workload():
    both = variant("2", 2.0, workloads=("w", "long"))
    short = [
        replace(r, attempts=tuple(replace(a, workloads=(*a.workloads, left_out)) for a in r.attempts))
        for r in variant("1", 1.0)
        for left_out in [workload("long", (), left_out="does not fit: 48002 > 8192")]
    ]
    found = advice(short, both)
    assert (found.chosen, found.per_workload) == ("a-2", True)
    assert {best.workload: best.chosen for best in found.by_workload} == {"w": "a-1", "long": "a-2"}
    assert {best.workload: best.not_measured for best in found.by_workload} == {"w": (), "long": ("a-1",)}
    assert found.missing == ()
    assert found.statements[1].values == {"workload": "long", "reason": "does_not_fit", "variants": ["a-1"]}
    assert [candidate.chance_best for candidate in found.candidates] == [None, None]
    assert found.confidence.level == "low"
    assert [reason.code for reason in found.confidence.reasons] == ["only_variant", "spread_assumed"]
    assert not advice(both, variant("3", 2.5, workloads=("w", "long"))).per_workload


def test_a_workload_without_any_valid_result_is_not_in_the_score():
    left_out = workload("long", (), left_out="does not fit")
    group = [
        replace(r, attempts=tuple(replace(a, workloads=(*a.workloads, left_out)) for a in r.attempts))
        for r in variant("1", 2.0)
    ]
    found = advice(group)
    assert found.chosen == "a-1"
    assert found.objective == "highest mean TPS of warm samples on workload w"
    assert [(one.code, one.values) for one in found.missing] == [("workload_without_result", {"workload": "long"})]


def test_the_text_of_a_goal():
    assert read_goal({}, ["w"]).text == "highest mean TPS of warm samples on workload w"
    weighted = read_goal({"metric": "weighted", "weights": {"tps": 2, "startup": 1}}, ["v", "w"])
    assert weighted.text == (
        "highest mean TPS of warm samples (weight 2) and lowest mean Startup (weight 1) over workloads v, w"
    )
    assert sum(term.weight for term in weighted.terms) == 3


def test_the_command_comes_from_the_configuration():
    found = advice(variant("1", 2.0))
    assert found.argv == (
        "vllm", "serve", "zai-org/GLM-4.6", "--served-model-name", "zai-org/GLM-4.6",
        "--tensor-parallel-size", "8", "--enable-expert-parallel", "--dtype", "bfloat16",
    )  # fmt: skip
    assert found.env == {"NAME": "two words"}
    assert lost_flags(found.command) == ()


def test_without_a_configuration_the_recorded_arguments_serve():
    command = serve_command(run({"a": "1"}, [attempt([])]))
    assert command.argv == ARGV[:3]
    simulated = serve_command(run({"a": "1"}, [attempt([], simulated=True)]))
    assert "simulated" in simulated.trouble
    assert serve_command(run({"a": "1"})).trouble == "no command was recorded"
    damaged = serve_command(run({"a": "1"}, [attempt([])], server={"engine": "nope", "model": "m"}))
    assert "unknown engine 'nope'" in damaged.trouble


def test_host_port_and_key_belong_to_the_run():
    argv = ("vllm", "serve", "m", "--host=1.2.3.4", "--port", "1", "--api-key", "secret", "--x", "--port-range")
    assert without_run_flags(argv) == ("vllm", "serve", "m", "--x", "--port-range")


HOSTILE = ["plain", "two words", "it's", 'a"b', "$(id)", "back\\slash", "new\nline", "# no comment", "tail \\", "", "*"]


@pytest.mark.parametrize("value", HOSTILE)
def test_bash_gets_back_every_argument(value):
    text = shell_text(("printf", "%s\\0", "--flag", value, "--last"), {"V": value})
    assert lost_flags(text) == ()
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == ["--flag", value, "--last"]
    told = subprocess.run(["bash", "-c", shell_text(("printenv", "V"), {"V": value})], capture_output=True, text=True)
    assert told.stdout == value + "\n"


LOST = [  # (script, flags lost)
    pytest.param("a \\\n  --b \\\n  --c\n", [()], id="as it should be"),
    pytest.param("a --b \\ # why\n  --c 1 \\\n  --d\n", [("--c", "--d")], id="a comment after the backslash"),
    pytest.param("a --b \\  \n  --c\n", [("--c",)], id="a blank after the backslash"),
    pytest.param("a --b \\ # one\n  --c \\ # two\n  --d=1\n", [("--c", "--d"), ("--d",)], id="two of them"),
    pytest.param("# a \\ # why\n  --c\n", [()], id="in a comment"),
    pytest.param("a '\\ # x'\necho\n", [()], id="nothing is lost"),
]


@pytest.mark.parametrize(("script", "expected"), LOST)
def test_flags_lost_behind_a_continuation(script, expected):
    assert [one.flags for one in lost_flags(script)] == [flags for flags in expected if flags]


def test_what_was_not_run_for_one_reason_is_one_sentence():
    skipped = [run({"a": str(n)}, (), not_submitted=True, reason="not among `only`") for n in range(2, 20)]
    other = run({"a": "20"}, (), not_submitted=True, reason="needs more GPUs")
    missing = advice(variant("1", 2.0), skipped, [other]).not_measured
    assert sum("not among" in text for text in missing) == 1
    assert any(text.endswith("and 6 more were not run: not among `only`") for text in missing)
    assert "a-20 was not run: needs more GPUs" in missing


def test_variants_that_ended_alike_are_one_sentence_with_what_only_they_have():
    dead = [
        run({"a": level}, [attempt([], outcome=OutcomeKind.STALLED)], reason=f"silent for {level} s")
        for level in ("2", "3")
    ]
    missing = advice(variant("1", 2.0), dead).not_measured
    assert "E02, E03 have no result: stalled in compile; E02: silent for 2 s" in missing


def test_another_client_is_not_called_worse():
    def by(client, level, seconds):
        rows = [workload("w", samples([(10, seconds + 0.001 * n) for n in range(8)]), client=client)]
        return [run({"a": level}, [attempt(rows)], repeat=n) for n in (1, 2, 3)]

    found = advice(by("builtin", "1", 2.0), by("guidellm", "2", 1.0))
    assert found.best == "a-2"
    assert [statement.code for statement in found.statements] == ["best_not_compared", "not_comparable"]
    assert found.statements[1].values == {"variant": "a-1"}
    assert [candidate.comparable for candidate in found.candidates] == [True, False]
    assert not found.candidates[1].equal_to_best


def test_an_excluded_result_is_not_called_unmeasured():
    failing = [replace(s, error="http_500") if s.index < 2 else s for s in samples([(10, 1.0)] * 8)]
    bad = [run({"a": "2"}, [attempt([workload("w", tuple(failing))])], repeat=n) for n in (1, 2)]
    missing = advice(variant("1", 2.0), bad).missing
    assert [(one.code, one.values["variant"], one.values["workload"]) for one in missing] == [("excluded", "a-2", "w")]
    assert "2 of 8 requests failed" in missing[0].text
