"""Results of load clients, recognised by their shape: their figures, their failures, and what is refused."""

import copy
import json
from pathlib import Path

import pytest

from hpcsweep.check.findings import BAD
from hpcsweep.check.recomputed.result_blocks import recompute
from hpcsweep.imports.read_document import read_bytes, read_text
from hpcsweep.imports.results.bench_sweep import folder_parameters
from hpcsweep.imports.results.vllm_serving import UNKNOWN_TOOL
from hpcsweep.imports.sweep import imported_sweep
from hpcsweep.spec.phases import OutcomeKind

RESULTS = Path(__file__).parents[1] / "transcripts" / "results"
SWEEP = RESULTS / "90-import-vllm-bench-sweep"
SECONDS = "91-import-other-tool-same-keys.json"
ALL_FAILED = "92-import-all-failed.json"
PLAIN = "95-import-ok-vllm-bench.json"
AIPERF = "96-import-aiperf-json.json"


def load(name):
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def read(value):
    return read_text(json.dumps(value), "r.json")


def only(value):
    (one,) = read(value).benchmarks
    return one


def figures(one):
    return {name: number.value for name, number in one.figures.items()}


def swept():
    files = sorted(SWEEP.glob("*/run=*.json"))
    return [read_bytes(file.read_bytes(), str(file)) for file in files]


def test_a_plain_result_is_the_one_of_its_tool():
    one = only(load(PLAIN))
    assert (one.tool, one.repeat, dict(one.parameters)) == ("vllm bench serve", None, {})
    assert not [finding for finding in recompute(one) if finding.verdict in BAD]


# --- vllm bench sweep -----------------------------------------------------------------------------------------------


def test_a_swept_folder_gives_configurations_with_repeats():
    made = imported_sweep("x", swept(), 0.0, {})
    assert [(run.variant_id, run.repeat) for run in made.sweep.runs] == [
        ("max_num_seqs=4", 1),
        ("max_num_seqs=4", 2),
        ("max_num_seqs=8", 1),
        ("max_num_seqs=8", 2),
    ]
    assert made.sweep.axes == {"config": ["max_num_seqs=4", "max_num_seqs=8"]}
    workloads = {event.workload for events in made.events.values() for event in events if hasattr(event, "workload")}
    assert workloads == {"max_concurrency=2-num_prompts=8"}


def test_the_parameters_are_in_the_file_too():
    value = json.loads(next(SWEEP.glob("*=8-BENCH*/run=1.json")).read_text(encoding="utf-8"))
    one = only(value)
    assert (dict(one.parameters), one.repeat) == ({"max_num_seqs": "8"}, 1)


def test_a_summary_of_the_same_runs_adds_nothing():
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(SWEEP.glob("*=4-BENCH*/run=*.json"))]
    folder = str(next(SWEEP.glob("*=4-BENCH*")))
    files = [*swept(), read_text(json.dumps(runs), f"{folder}/summary.json")]
    made = imported_sweep("x", files, 0.0, {})
    assert len(made.sweep.runs) == 4
    assert len(made.left_out) == 2
    assert "duplicate of" in made.left_out[0]


def test_two_loads_of_one_server_are_two_workloads_of_its_run():
    first = json.loads(next(SWEEP.glob("*=4-BENCH*/run=0.json")).read_text(encoding="utf-8"))
    files = [
        read_text(
            json.dumps(first | {"duration": 2.0 + load}), f"s/SERVE--a=1-BENCH--max_concurrency={load}/run=0.json"
        )
        for load in (2, 4)
    ]
    made = imported_sweep("x", files, 0.0, {})
    assert [run.label for run in made.sweep.runs] == ["a=1"]
    names = [event.workload for event in made.events["a=1"] if event.kind == "workload_started"]
    assert names == ["max_concurrency=2", "max_concurrency=4"]


@pytest.mark.parametrize(
    ("name", "server", "load"),
    [
        pytest.param("SERVE--a=1-b.c=x-y-BENCH--d=2", {"a": "1", "b.c": "x-y"}, {"d": "2"}, id="both"),
        pytest.param("BENCH--max_concurrency=2", {}, {"max_concurrency": "2"}, id="load only"),
        pytest.param("SERVE--model=org/m-8b", {"model": "org/m-8b"}, {}, id="server only"),
        pytest.param("results", {}, {}, id="no such folder"),
    ],
)
def test_a_folder_name_holds_parameters(name, server, load):
    assert folder_parameters(name) == (server, load)


# --- shapes -------------------------------------------------------------------------------------------------------


def test_times_without_a_unit_are_seconds_where_the_concurrency_shows_it():
    one = only(load(SECONDS))
    assert one.tool == UNKNOWN_TOOL
    assert (figures(one)["median_ttft_ms"], figures(one)["p99_e2el_ms"]) == pytest.approx((74400.0, 115300.0))


def test_times_without_a_unit_are_told_where_nothing_shows_it():
    value = {key: content for key, content in load(SECONDS).items() if "e2el" not in key}
    found = read(value)
    assert not [name for name in found.benchmarks[0].figures if name.endswith("_ms")]
    assert "median_ttft" in found.skipped[0].what
    assert "the unit (s or ms) is not given" in found.skipped[0].why


def test_a_result_in_which_all_failed_has_failed():
    one = only(load(ALL_FAILED))
    assert one.has_failed
    assert set(one.figures) == {"completed", "failed", "duration"}
    made = imported_sweep("x", [read(load(ALL_FAILED))], 0.0, {})
    (events,) = made.events.values()
    assert (events[-1].outcome, events[-1].reason) == (OutcomeKind.FAILED, "8 of 8 requests failed")
    assert not any(event.kind.startswith("workload") for event in events)


def test_requests_that_are_missing_have_failed():
    value = {key: content for key, content in load(PLAIN).items() if key != "failed"} | {"num_prompts": 10}
    assert figures(only(value))["failed"] == 2.0


def test_aiperf():
    one = only(load(AIPERF))
    found = figures(one)
    assert (one.tool, found["completed"], found["duration"]) == ("aiperf", 1000.0, 80.0)
    assert (found["mean_ttft_ms"], found["p99_e2el_ms"], found["output_throughput"]) == (101.5, 2010.0, 1600.0)


def test_genai_perf_has_the_same_shape_without_a_version():
    value = {key: content for key, content in load(AIPERF).items() if "version" not in key}
    value["time_to_first_token"] |= {"unit": "s", "avg": 0.1}
    value["inter_token_latency"] = {"unit": "furlong", "avg": 3}
    found = read(value)
    assert found.benchmarks[0].tool == "aiperf or genai-perf"
    assert figures(found.benchmarks[0])["mean_ttft_ms"] == pytest.approx(100.0)
    assert [one.why for one in found.skipped] == ["its unit 'furlong' is unknown"]


def test_inference_perf():
    one = only(load("inference-perf-stage.json"))
    found = figures(one)
    assert (one.tool, found["completed"], found["failed"]) == ("inference-perf", 60.0, 0.0)
    assert found["mean_ttft_ms"] == pytest.approx(33.319, abs=0.001)
    assert found["duration"] == pytest.approx(60.19, abs=0.01)
    assert found["total_input_tokens"] / found["completed"] == pytest.approx(200.683, abs=0.001)
    assert one.label == "request_rate=1.0"


LLMPERF = {
    "version": "2023-08-31",
    "name": "org-m_550_150_summary",
    "model": "org/m",
    "num_concurrent_requests": 4,
    "results_ttft_s_quantiles_p50": 0.25,
    "results_ttft_s_mean": 0.3,
    "results_inter_token_latency_s_mean": 0.02,
    "results_end_to_end_latency_s_mean": 3.1,
    "results_number_input_tokens_mean": 550.0,
    "results_number_output_tokens_mean": 150.0,
    "results_num_requests_started": 60,
    "results_number_errors": 0,
    "results_mean_output_throughput_token_per_s": 180.0,
    "results_num_completed_requests": 60,
    "results_num_completed_requests_per_min": 72.0,
}
"""Names as `LLMPerfResults` flattens them; the values are made up."""


def test_llmperf():
    one = only(LLMPERF)
    found = figures(one)
    assert (one.tool, found["duration"], found["p50_ttft_ms"]) == ("llmperf", 50.0, 250.0)
    assert found["total_output_tokens"] == 9000.0
    assert one.settings["max_concurrency"] == "4"


INFERENCEX = {
    "hw": "h200",
    "conc": 64,
    "model": "org/m",
    "framework": "vllm",
    "precision": "fp8",
    "isl": 1024,
    "osl": 1024,
    "is_multinode": False,
    "tp": 8,
    "ep": 1,
    "tput_per_gpu": 1000.0,
    "output_tput_per_gpu": 500.0,
    "median_ttft": 0.5,
    "median_intvty": 40.0,
}
"""Names as utils/process_result.py writes them; the values are made up."""


def test_inferencex():
    one = only([INFERENCEX])
    found = figures(one)
    assert (one.tool, found["total_token_throughput"], found["median_ttft_ms"]) == ("InferenceX", 8000.0, 500.0)
    assert one.label == "org/m h200 vllm fp8 isl=1024 osl=1024 conc=64 tp=8 ep=1"
    made = imported_sweep("x", [read([INFERENCEX])], 0.0, {})
    assert "the duration is not stated" in made.left_out[0]


def test_inferencex_over_several_nodes_counts_all_gpus():
    value = INFERENCEX | {"is_multinode": True, "num_prefill_gpu": 8, "num_decode_gpu": 16}
    assert figures(only(value))["total_token_throughput"] == 24000.0


ALL = [
    pytest.param(load(AIPERF), {"request_count": {"unit": "requests", "avg": 0}}, id="aiperf"),
    pytest.param(LLMPERF, {"results_num_completed_requests": 0, "results_number_errors": 4}, id="llmperf"),
]


@pytest.mark.parametrize(("value", "changes"), ALL)
def test_a_summary_in_which_all_failed_has_no_speed(value, changes):
    one = only(copy.deepcopy(value) | changes)
    assert one.has_failed
    assert set(one.figures) <= {"completed", "failed", "duration"}


def test_a_duration_that_was_computed_confirms_no_rate():
    names = {finding.claim.split(" ")[0] for finding in recompute(only(load("inference-perf-stage.json")))}
    assert not {"request_throughput", "output_throughput"} & names


GUIDELLM = {
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": 2}},
            "duration": 10.0,
            "metrics": {
                "request_totals": {"successful": 4, "errored": 0, "incomplete": 0},
                "requests_per_second": {"successful": {"mean": 0.4}},
                "time_to_first_token_ms": {"successful": {"mean": 20.0}},
            },
            "requests": {"successful": [], "errored": [], "incomplete": []},
        }
    ]
}
REQUEST = {
    "request_id": "a",
    "prompt_tokens": 3,
    "output_tokens": 4,
    "info": {"timings": {"request_start": 1.0, "first_token_iteration": 1.5, "last_token_iteration": 2.0}},
}


def test_a_guidellm_report_that_keeps_a_few_requests_is_read_by_its_averages():
    value = copy.deepcopy(GUIDELLM)
    value["benchmarks"][0]["requests"]["successful"] = [REQUEST]
    found = read(value)
    assert found.benchmarks[0].samples == ()
    assert "has 1 of 4" in found.skipped[0].why


def test_a_guidellm_benchmark_in_which_all_failed_has_failed():
    value = copy.deepcopy(GUIDELLM)
    value["benchmarks"][0]["metrics"]["request_totals"] = {"successful": 0, "errored": 3, "incomplete": 1}
    one = only(value)
    assert (one.has_failed, figures(one)["failed"], "mean_ttft_ms" in one.figures) == (True, 4.0, False)


# --- llm-d --------------------------------------------------------------------------------------------------------

LLMD = """# Schema version
version: '0.2'
run:
  uid: 38b1f169
  description: latency
  time:
    duration: PT50.0S
scenario:
  load:
    metadata: {}
    native: {}
    standardized: {tool: inference-perf, tool_version: 0.3.0, source: sampled, rate_qps: 10}
results:
  request_performance:
    aggregate:
      requests:
        total: 500
        failures: 20
        input_length: {units: count, mean: 100.0}
        output_length: {units: count, mean: 10.0}
      throughput:
        request_rate: {units: queries/s, mean: 9.6}
        output_token_rate: {units: tokens/s, mean: 96.0}
      latency:
        time_to_first_token: {units: s, mean: 0.04, p50: 0.03, p99p9: 0.5}
        inter_token_latency: {units: fortnight, mean: 1.0}
"""


def test_a_benchmark_report_of_llm_d_is_read_from_yaml():
    found = read_text(LLMD, "br.yaml")
    (one,) = found.benchmarks
    values = figures(one)
    assert (one.tool, one.label) == ("llm-d benchmark report", "latency request_rate=10")
    assert (values["completed"], values["failed"], values["duration"]) == (480.0, 20.0, 50.0)
    assert (values["mean_ttft_ms"], values["median_ttft_ms"], values["p99.9_ttft_ms"]) == (40.0, 30.0, 500.0)
    assert [skipped.why for skipped in found.skipped] == ["its unit 'fortnight' is unknown"]
    assert not [finding for finding in recompute(one) if finding.verdict in BAD]


def test_a_report_of_llm_d_without_performance_is_refused():
    found = read_text("version: '0.2'\nrun: {uid: a}\nresults:\n  observability: {}\n", "br.yaml")
    assert found.benchmarks == ()
    assert "it does not have results.request_performance.aggregate" in found.skipped[0].why


def test_a_torn_report_of_llm_d_is_told():
    found = read_text("version: '0.2'\nrun: {uid: a\nresults:\n  - [", "br.yaml")
    assert "it begins like a report of llm-d" in found.skipped[0].why


# --- refused ------------------------------------------------------------------------------------------------------


def test_an_unknown_shape_is_refused_once_with_what_is_missing():
    found = read_text(
        "\n".join([json.dumps({"completed": 3, "output_throughput": 2.0, "x": n}) for n in range(9)]), "r"
    )
    (refused,) = found.skipped
    assert "a result of vllm bench serve also has duration" in refused.why
    assert refused.location.line == 1


@pytest.mark.parametrize("name", ["throughput_tests.json", "a.json"])
def test_numbers_that_are_none_are_no_crash(name):
    for value in (None, "x", [], {}, True, 10**400, float("nan")):
        for base in (load(PLAIN), load(AIPERF), LLMPERF, INFERENCEX, load("inference-perf-stage.json"), GUIDELLM):
            for key in base:
                read_text(json.dumps(base | {key: value}), name)


@pytest.mark.parametrize(
    ("times", "duration"),
    [
        ({"start_time": 100.0, "end_time": 112.5}, 12.5),
        ({"start_time": 100.0}, None),
        ({"end_time": 112.5}, None),
        ({"start_time": 100.0, "end_time": 112.5, "duration": 10.0}, 10.0),
    ],
)
def test_the_duration_of_a_guidellm_benchmark(times, duration):
    value = copy.deepcopy(GUIDELLM)
    for name in ("duration", "start_time", "end_time"):
        value["benchmarks"][0].pop(name, None)
    value["benchmarks"][0] |= times
    assert figures(read(value).benchmarks[0]).get("duration") == (None if duration is None else pytest.approx(duration))
