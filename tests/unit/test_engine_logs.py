"""The log reader: recorded logs of real starts, lines of other versions, and hostile input."""

import re
from pathlib import Path

import pytest

from hpcsweep.engines.logs.reader import LogReader, PhaseSeen
from hpcsweep.engines.registry import get_engine
from hpcsweep.spec.phases import OutcomeKind, Phase

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts" / "engines"
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} (?P<line>.*)$")


def recorded_lines(path):
    """The engine's own lines: without the arrival stamps of recorded logs, and without comments."""
    for raw in path.read_text().split("\n"):
        stamped = STAMP.match(raw)
        line = stamped["line"] if stamped else raw
        if not line.startswith("# "):
            yield line


def read(path, engine):
    """(reader after the last line, names of the phases in the order they were entered)."""
    reader, phases = LogReader(get_engine(engine)), []
    for t_s, line in enumerate(recorded_lines(path)):
        phases += [seen.phase.value for seen in reader.feed(line, float(t_s)) if isinstance(seen, PhaseSeen)]
    return reader, phases


def check_log(folder, name, phases, facts, outcome, evidence):
    """The reader of a recorded log of vLLM, which must have told all this."""
    reader, entered = read(TRANSCRIPTS / folder / name, "vllm")
    assert entered == phases
    assert {fact: reader.facts[fact].value for fact in facts} == facts
    assert (reader.failure.outcome.value if reader.failure else None) == outcome
    assert evidence in (reader.failure.words if reader.failure else "")
    return reader


EAGER = ["engine_init", "load_weights", "kv_cache", "warmup"]
LOADED = ["engine_init", "load_weights"]
ALL_PHASES = [*LOADED, "compile", "profile", "kv_cache", "capture_graphs", "warmup"]
COMMON = {"engine_version": "0.32.0", "architecture": "Glm4MoeForCausalLM"}
GIB = 2**30
REAL = [  # (file, phases, some facts, outcome of the failure, a piece of its evidence)
    pytest.param(
        "eager-len512.log", EAGER,
        {**COMMON, "max_model_len_tokens": 512, "load_s": 0.07, "kv_cache_bytes": GIB, "kv_cache_tokens": 699_008,
         "max_concurrency_full_length": 1365.25, "init_engine_s": 52.04},
        None, "", id="eager, SIGTERM during a request: what a request got is no reason",
    ),
    pytest.param("eager-len2048.log", EAGER, {"init_engine_s": 63.57}, None, "", id="eager, SIGKILL of the parent"),
    pytest.param("eager-len2048-ready.log", EAGER, {"max_model_len_tokens": 2048}, None, "", id="eager, to ready"),
    pytest.param("compile-len512-cold.log", [*LOADED, "compile"], {"load_s": 1.43}, None, "", id="killed in compile"),
    pytest.param(
        "compile-len512-ready.log", [*LOADED, "compile", "profile", "kv_cache", "warmup"],
        {**COMMON, "load_s": 0.03, "profile_s": 1.23, "init_engine_s": 114.4, "compile_cache": "miss"}, None, "",
        id="compiled, to ready: vLLM prints no total on CPUs",
    ),
    pytest.param(
        "compile-len512-warm.log", [*LOADED, "compile", "kv_cache", "warmup"],
        {**COMMON, "init_engine_s": 6.71, "inductor_cache_hits": 1}, None, "",
        id="compiled with Inductor's graph from the cache, not ahead of time",
    ),
    pytest.param("forced-compile-len512-cold.log", ["engine_init"], COMMON, None, "", id="cut short"),
    pytest.param(
        "fail-compile-error-forced.log", [*LOADED, "compile"], {"dynamo_s": 69.82}, "crashed",
        "torch._inductor.exc.InductorError: AttributeError: '_OpNamespace' '_C' object has no attribute",
        id="compile error: the worker's own exception, not its echo",
    ),
    pytest.param("fail-kv-too-large.log", LOADED, COMMON, "out_of_memory", "memory for kv (64.0 GiB)", id="kv space"),
    pytest.param("fail-kv-too-small.log", LOADED, COMMON, None, "", id="cut short before its error"),
    pytest.param(
        "fail-max-model-len.log", ["engine_init"], COMMON, "bad_arguments", "max_model_len (100000)", id="max-model-len"
    ),
    pytest.param(
        "fail-model-missing.log", ["engine_init"], {"engine_version": "0.32.0"}, "model_not_found",
        "HFValidationError: Repo id must be", id="model missing",
    ),
    pytest.param("fail-unknown-flag.log", [], {}, "bad_arguments", "arguments: --no-such-flag", id="unknown flag"),
    pytest.param("fail-unknown-flag-fork.log", [], {}, "bad_arguments", "--no-such-flag", id="unknown flag, forked"),
    pytest.param("fail-cli-no-metadata.log", [], {}, "crashed", "PackageNotFoundError: No package", id="no metadata"),
    pytest.param("fail-port-in-use.log", [], {}, None, "", id="killed at once"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "phases", "facts", "outcome", "evidence"), REAL)
def test_log_of_a_real_vllm(name, phases, facts, outcome, evidence):
    check_log("vllm-0.32-cpu", name, phases, facts, outcome, evidence)


H200 = {  # what two starts in a row, the second from the cache of the first, have in common
    "engine_version": "0.22.1", "architecture": "Glm4MoeForCausalLM", "max_model_len_tokens": 2048,
    "checkpoint_bytes": round(4.73 * GIB), "weights_bytes_per_gpu": round(4.73 * GIB),
    "kv_cache_bytes": round(105.87 * GIB), "kv_cache_tokens": 4_625_360, "max_concurrency_full_length": 2258.48,
    "graphs_bytes": round(0.55 * GIB),
}  # fmt: skip
GPU = [
    pytest.param(
        "compile-cold.log", ALL_PHASES,
        {**H200, "load_s": 1.092879, "dynamo_s": 3.86, "inductor_s": 18.51, "compile_s": 24.66, "profile_s": 4.92,
         "graphs_compiled": 1, "graphs_saved": 1, "compile_cache": "miss", "capture_graphs_s": 12,
         "init_engine_s": 53.18, "kernels_compiled_in_requests": 1}, "", "", id="compiled on a GPU, cold",
    ),
    pytest.param(
        "compile-warm.log", ALL_PHASES,
        {**H200, "load_s": 1.234524, "dynamo_s": 1.31, "compile_s": 1.94, "profile_s": 1.89, "cache_load_s": 0.517,
         "graphs_from_cache": 2, "compile_cache": "hit", "capture_graphs_s": 6, "init_engine_s": 12.4,
         "kernels_compiled_in_requests": 1}, "", "",
        id="compiled on a GPU, from the cache",
    ),
    pytest.param(
        "fail-flashinfer-missing.log", ["engine_init"], {"engine_version": "0.22.1"},
        "ModuleNotFoundError: No module named 'flashinfer'", "", id="the engine core's own exception, not its echo",
    ),
    pytest.param(
        "fail-no-main-guard.log", ["engine_init"], {"engine_version": "0.22.1"},
        "attempt has been made to start a new process before", "__main__", id="a script without a main guard",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "phases", "facts", "evidence", "hint"), GPU)
def test_log_of_a_real_vllm_on_an_h200(name, phases, facts, evidence, hint):
    reader = check_log("vllm-0.22-h200", name, phases, facts, "crashed" if evidence else None, evidence)
    assert hint in (reader.failure.hint if reader.failure else "")


def test_every_recorded_log_is_in_the_table():
    for folder, cases in (("vllm-0.32-cpu", REAL), ("vllm-0.22-h200", GPU)):
        assert {case.values[0] for case in cases} == {path.name for path in (TRANSCRIPTS / folder).glob("*.log")}


COLD = {
    "architecture": "Glm4MoeForCausalLM", "max_model_len_tokens": 32768, "read_weights_s": 152.4, "load_s": 155.0321,
    "weights_bytes_per_gpu": round(82.6011 * GIB), "dynamo_s": 21.9, "inductor_s": pytest.approx(67.1),
    "compile_s": 88.6, "graphs_compiled": 2, "compile_cache": "miss", "kv_cache_bytes": round(42.1 * GIB),
    "kv_cache_tokens": 959_696, "max_concurrency_full_length": 29.29, "capture_graphs_s": 21,
    "graphs_bytes": round(1.25 * GIB), "init_engine_s": 131.5,
    "compile_cache_dir": "/cache/torch_compile_cache/ab12/rank_0_0/backbone",
}  # fmt: skip
SGLANG = {
    "weights_bytes_per_gpu": round(82.7 * GIB), "kv_cache_tokens": 900_000, "capture_graphs_s": 20,
    "graphs_bytes": round(1.5 * GIB), "max_model_len_tokens": 32768, "architecture": "Glm4MoeForCausalLM",
}  # fmt: skip
FROM_SOURCE = [
    pytest.param("vllm-0.11.0-cold.log", ALL_PHASES, {**COLD, "engine_version": "0.11.0"}, [], id="vLLM 0.11"),
    pytest.param("vllm-0.12.0-cold.log", ALL_PHASES, {**COLD, "engine_version": "0.12.0"}, [], id="vLLM 0.12"),
    pytest.param("vllm-0.16.0-cold.log", ALL_PHASES, {**COLD, "engine_version": "0.16.0"}, [], id="vLLM 0.16"),
    pytest.param(
        "vllm-0.33.0-warm.log", ALL_PHASES,
        {"engine_version": "0.33.0", "compile_cache": "hit", "graphs_from_cache": 2, "cache_load_s": 1.25,
         "compile_s": 11.3, "profile_s": 4.2, "init_engine_s": 30.1}, [], id="vLLM 0.33, warm cache",
    ),
    pytest.param("sglang-0.5.3.log", [*LOADED, "kv_cache", "capture_graphs", "warmup"], SGLANG, [], id="SGLang 0.5.3"),
    pytest.param(
        "sglang-0.5.23.log", [*LOADED, "kv_cache", "capture_graphs", "warmup"], {**SGLANG, "load_s": 152.4}, [],
        id="SGLang 0.5.23",
    ),
    pytest.param(
        "sglang-0.5.3-fp8-on-a100.log", [*LOADED, "kv_cache"], {}, ["capture_graphs", "warmup"], id="fp8 on A100"
    ),
    pytest.param(
        "trtllm-1.1.log", [*LOADED, "profile", "kv_cache", "warmup", "capture_graphs", "warmup"],
        {"engine_version": "1.1.0", "load_s": 161.5, "weights_bytes_per_gpu": round(83.1 * GIB),
         "kv_cache_bytes": round(40.25 * GIB), "kv_cache_tokens": 917_504, "max_model_len_tokens": 32768}, [],
        id="TensorRT-LLM: the first round is its profiling; in the second it tunes kernels before the graphs",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "phases", "facts", "unseen"), FROM_SOURCE)
def test_lines_of_other_versions(name, phases, facts, unseen):
    reader, entered = read(TRANSCRIPTS / "from-source" / name, name.split("-")[0])
    assert entered == phases
    assert {fact: reader.facts[fact].value for fact in facts} == facts
    assert [phase.value for phase in reader.unseen_phases()] == unseen


def test_fp8_on_a100_is_unsupported_although_the_scheduler_line_came_first():
    reader, _ = read(TRANSCRIPTS / "from-source" / "sglang-0.5.3-fp8-on-a100.log", "sglang")
    assert reader.failure.outcome is OutcomeKind.UNSUPPORTED
    assert "fp8e4nv" in reader.failure.evidence and "8.9" in reader.failure.hint


FAILURES = [  # (engine, line, outcome)
    ("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory"),
    ("vllm", "ValueError: No available memory for the cache blocks. ", "out_of_memory"),
    ("vllm", "(12.0 GiB KV cache is needed, which is larger than the available KV cache memory", "out_of_memory"),
    ("vllm", "Free memory on device cuda:0 (1/79 GiB) is less than desired GPU memory utilization", "out_of_memory"),
    ("vllm", "vllm serve: error: argument --max-model-len: invalid human_readable_int value: 'x'", "bad_arguments"),
    ("vllm", "pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig", "bad_arguments"),
    ("vllm", "OSError: /models/x does not appear to have a file named config.json.", "model_not_found"),
    ("vllm", "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", "model_not_found"),
    ("vllm", "OSError: [Errno 98] Address already in use", "port_in_use"),
    ("vllm", "TimeoutError: Timed out waiting for engine core processes to start.", "startup_timeout"),
    ("vllm", "RuntimeError: Did not receive response from front-end process within 5 minutes", "startup_timeout"),
    ("vllm", "TimeoutError: RPC call to execute_model timed out.", "stalled"),
    ("vllm", "RuntimeError: operator torchvision::nms does not exist", "crashed"),
    ("vllm", "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", "crashed"),
    ("vllm", "KeyError: 'some.new.fault'", "crashed"),
    ("vllm", "ERROR:    Exception in ASGI application", None),
    ("vllm", "    raise HFValidationError(", None),
    ("vllm", "(APIServer pid=1) INFO 11-21 [x.py:1] Using max model len 512", None),
    ("sglang", "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", "out_of_memory"),
    ("sglang", "launch_server.py: error: unrecognized arguments: --nope", "bad_arguments"),
    ("sglang", "[2026-11-21 02:00:00 TP0] Watchdog timeout (self.watchdog_timeout=300)", "stalled"),
    ("sglang", "[2026-11-21 02:00:00] server_args=ServerArgs(watchdog_timeout=300)", None),
    ("sglang", "RuntimeError: Rank 1 scheduler died during initialization (exit code: 1)", "crashed"),
    ("trtllm", "Error: No such option: --nope", "bad_arguments"),
    ("trtllm", "pydantic_core.ValidationError: 1 validation error for TorchLlmArgs", "bad_arguments"),
    ("trtllm", "torch.OutOfMemoryError: CUDA out of memory.", "out_of_memory"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "line", "outcome"), FAILURES, ids=lambda value: str(value)[:50])
def test_failure_line(engine, line, outcome):
    reader = LogReader(get_engine(engine))
    reader.feed(line, 1.0)
    assert (reader.failure.outcome.value if reader.failure else None) == outcome


def test_a_root_cause_wins_over_what_follows_from_it_in_any_order():
    consequence = "RuntimeError: Engine core initialization failed. See root cause above."
    cause = "(Worker pid=1) ERROR torch.OutOfMemoryError: CUDA out of memory."
    for lines in ((cause, consequence), (consequence, cause)):
        reader = LogReader(get_engine("vllm"))
        for n, line in enumerate(lines):
            reader.feed(line, float(n))
        assert reader.failure.outcome is OutcomeKind.OUT_OF_MEMORY and reader.failure.evidence == cause
        assert reader.failure.words == "torch.OutOfMemoryError: CUDA out of memory."


def test_the_first_exception_of_the_engine_is_the_cause_and_one_of_a_request_is_not():
    reader = LogReader(get_engine("vllm"))
    for line in (
        "(APIServer pid=1) ERROR 11-27 13:31:07 [serving.py:1] ValueError: this prompt is too long",
        "(Worker_TP0 pid=3) ERROR 11-27 13:31:08 [multiproc_executor.py:1] KeyError: 'a.weight'",
        "(EngineCore_DP0 pid=2) Exception: WorkerProc initialization failed. See stack trace for root cause.",
        "(EngineCore_DP0 pid=2) ERROR 11-27 13:31:09 [core.py:1] AssertionError: x",
        "(APIServer pid=1) vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
    ):
        reader.feed(line, 1.0)
    assert reader.failure.evidence.endswith("KeyError: 'a.weight'")
    assert reader.death == reader.failure


def test_an_engine_that_is_dead_behind_its_front_end_is_told_by_the_log():
    reader = LogReader(get_engine("vllm"))
    reader.feed("torch.OutOfMemoryError: CUDA out of memory.", 1.0)
    assert reader.death is None, "a process may live through it"
    reader.feed(
        "(APIServer pid=1) ERROR vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", 2.0
    )
    assert reader.death == reader.failure and reader.death.outcome is OutcomeKind.OUT_OF_MEMORY


def test_the_engines_own_timeout_says_whose_rule_it_was():
    reader = LogReader(get_engine("vllm"))
    reader.feed("TimeoutError: Timed out waiting for engine core processes to start.", 1.0)
    assert reader.failure.decided_by == "engine: VLLM_ENGINE_READY_TIMEOUT_S"


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        pytest.param("DEBUG Waiting for 1 local, 0 remote core engine proc(s) to start.", True, id="wait"),
        pytest.param("INFO No available shared memory broadcast block found in 60 seconds.", True, id="broadcast"),
        pytest.param('INFO:     127.0.0.1:51194 - "GET /health HTTP/1.1" 200 OK', True, id="our probe"),
        pytest.param('INFO:     127.0.0.1:51194 - "POST /v1/completions HTTP/1.1" 200 OK', False, id="an answer"),
        pytest.param(
            "Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 0.0 tokens/s, Running: 1 reqs",
            True, id="nothing moves",
        ),
        pytest.param(
            "Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 8.7 tokens/s, Running: 1 reqs",
            True, id="an average over 10 s, written by the front end beside a dead engine too",
        ),
        pytest.param("\x1b[1;36m(APIServer pid=1)\x1b[0;0m \x1b[0m", False, id="coloured prefix alone"),
        pytest.param("  \x1b[0;0m\n", True, id="nothing but colour"),
        pytest.param("Loading safetensors checkpoint shards:  25% Completed | 4/16", False, id="progress"),
    ],
)  # fmt: skip
def test_noise(line, noise):
    assert LogReader(get_engine("vllm")).is_noise(line) is noise


def test_phases_never_move_back_and_stragglers_count_for_nothing():
    reader = LogReader(get_engine("vllm"))
    reader.feed("Available KV cache memory: 4.00 GiB", 5.0)
    assert reader.feed("Starting to load model m...", 6.0) == []
    assert reader.phase is Phase.KV_CACHE


def test_a_progress_bar_is_one_line_of_the_tail_and_its_pieces_are_read():
    reader = LogReader(get_engine("vllm"), keep_lines=2)
    seen = reader.feed(
        "Capturing CUDA graphs:   0%|\rCapturing CUDA graphs:  50%|\rCapturing CUDA graphs: 100%|\n", 1.0
    )
    assert [event.phase for event in seen] == [Phase.CAPTURE_GRAPHS]
    assert reader.last_lines == ["Capturing CUDA graphs: 100%|"]
    for n in range(5):
        reader.feed(f"line {n}", 2.0)
        reader.feed("INFO No available shared memory broadcast block found in 60 seconds.", 2.0)
    assert reader.last_lines == ["line 3", "line 4"]


def test_an_unknown_log_gives_launch_and_names_what_it_could_not_see():
    reader = LogReader(get_engine("vllm"))
    assert reader.feed("hello from an engine of the year 2040", 1.0) == []
    assert reader.phase is Phase.LAUNCH
    assert [phase.value for phase in reader.unseen_phases()] == ALL_PHASES


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "\r\r\r",
        "\x00\x00",
        "\udcff",
        "Loading weights took 1.2.3 seconds",
        "KV cache size: ,,, tokens",
        "(" * 9000,
    ],
    ids=repr,
)
def test_odd_lines_tell_nothing_and_break_nothing(line):
    reader = LogReader(get_engine("vllm"))
    assert [seen for seen in reader.feed(line, 1.0) if not isinstance(seen, PhaseSeen)] == []


def test_an_endless_line_is_kept_short():
    reader = LogReader(get_engine("vllm"))
    reader.feed("torch.OutOfMemoryError: CUDA out of memory " + "x" * 1_000_000, 1.0)
    assert len(reader.failure.evidence) <= 500
    assert sum(map(len, reader.last_lines)) <= 20_000


def test_the_kind_of_cache_hit():
    reader = LogReader(get_engine("vllm"))
    reader.feed(
        "(Worker pid=1) Directly load the compiled graph(s) for compile range (1, 8) from the cache, took 0.1 s", 1
    )
    assert reader.facts["compile_cache"].value == "hit"
    reader.feed("(Worker pid=1) Compiling a graph for compile range (9, 64) takes 3.00 s", 2)
    assert reader.facts["compile_cache"].value == "partial"


def test_a_compiled_graph_that_cannot_be_loaded_says_why():
    reader = LogReader(get_engine("vllm"))
    reader.feed(
        "WARNING [backbone] Compiling model again due to a load failure from /c/model, reason: no attribute 'x'", 1
    )
    reader.feed("INFO [backbone] saved AOT compiled function to /c/model", 2)
    assert reader.facts["compile_cache_failure"].value == "no attribute 'x'"
    assert reader.facts["compile_cache"].value == "miss"


def test_a_phase_that_begins_is_not_absent_even_if_the_configuration_said_so():
    """A straggler's `end` of an earlier phase must not skip the phase that has begun."""
    reader = LogReader(get_engine("vllm"))
    for line in (
        "with config: model='m', enforce_eager=True, device_config=cuda",
        "Starting to load model m...",
        "Starting torch.compile",
    ):
        reader.feed(line, 1.0)
    assert reader.phase is Phase.COMPILE
    reader.feed("Model loading took 1.2 GiB", 2.0)
    assert reader.phase is Phase.COMPILE
    assert Phase.COMPILE not in reader.unseen_phases() and Phase.CAPTURE_GRAPHS not in reader.unseen_phases()
