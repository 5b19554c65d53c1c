"""The reason of a failure: logs from public bug reports, and every form in which an exception reaches a log."""

import re
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hpcsweep.engines.logs import sglang_log
from hpcsweep.engines.logs.reader import LogReader, PhaseSeen
from hpcsweep.engines.registry import get_engine
from hpcsweep.spec.phases import Phase

PUBLIC = Path(__file__).parent.parent / "transcripts" / "engines" / "public"
SGLANG = PUBLIC.parent / "sglang-0.5.23-cpu"


def read(lines, engine="vllm"):
    """A reader that has read all `lines`."""
    reader = LogReader(get_engine(engine))
    for number, line in enumerate(lines):
        reader.feed(line, float(number))
    return reader


def reason(text, engine="vllm"):
    """What the log says of the failure, in one line; None: nothing."""
    failure = read(text.split("\n"), engine).failure
    return failure.words if failure else None


CASES = [  # (file, outcome, a piece of the reason, a piece of the hint)
    ("20-vllm-frontend-exception", "unsupported", "ValueError: Tokenizer class TokenizersBackend does not exist",
     "transformers is older"),
    ("22-vllm-nccl-watchdog", "stalled", "Watchdog caught collective operation timeout", "NCCL_P2P_DISABLE"),
    ("24-vllm-source-line-as-message", "crashed",
     "RuntimeError: NCCL error: invalid usage (run with NCCL_DEBUG=WARN for details)", "NCCL_DEBUG=WARN"),
    ("25-vllm-nvcc-missing", "crashed", "nvcc: not found", "module load cuda"),
    ("29-vllm-exception-without-error-in-name", "unsupported", "OutOfResources: out of resource: shared memory",
     "more shared memory than this GPU"),
    ("31-vllm-log-format-without-bracket", "bad_arguments",
     "AssertionError: n_physical_experts=256 must be divisible by ep_size=3.", "experts"),
    ("32-vllm-pydantic-cause-on-next-line", "bad_arguments",
     "Total number of attention heads (40) must be divisible by tensor parallel size (3).", "tensor parallel size"),
    ("33-vllm-core-killed", "crashed", "{'EngineCore_DP0': -9}", "main memory"),
    ("35-vllm-shm-full", "failed", "No space left on device: '/dev/shm/psm_1a2b3c4d'", "--shm-size"),
    ("39-trt-exception-line", "crashed", "Assertion failed: Failed: MPI error", "first rank"),
    ("40-vllm-ok-kv-cache-too-small", "out_of_memory", "maximum model length is 91504", "lower max_model_len"),
    ("42-vllm-hub-rate-limit", "failed", "429 Client Error: Too Many Requests", "HF_HUB_OFFLINE=1"),
    ("44-vllm-two-prefixes", "crashed", "RuntimeError: Could not find nvcc", "module load cuda"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "outcome", "words", "hint"), CASES, ids=lambda value: str(value)[:24])
def test_reason_of_a_public_log(name, outcome, words, hint):
    engine = {"vllm": "vllm", "trt": "trtllm"}[name.split("-")[1]]
    failure = read((PUBLIC / f"{name}.log").read_text().split("\n"), engine).failure
    assert failure.outcome.value == outcome
    assert words in failure.words
    assert hint in failure.hint


def test_a_core_that_was_killed_is_placed_in_the_phase_it_was_in():
    assert read((PUBLIC / "33-vllm-core-killed.log").read_text().split("\n")).phase is Phase.LOAD_WEIGHTS


FACTS = [
    ("26-vllm-compile-total-0.17", "vllm",
     {"dynamo_s": 5.72, "inductor_s": 20.06, "compile_s": 29.93, "compile_s_includes": "profile"}),
    ("27-vllm-draft-model-overwrites", "vllm",
     {"read_weights_s": 15.54, "load_s": 16.696915, "profile_s": 57.37, "compile_s": 10.48}),
    ("37-sglang-two-captures", "sglang", {"capture_graphs_s": 31.3, "graphs_bytes": round(1.94 * 2**30)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "engine", "facts"), FACTS)
def test_figures_of_a_public_log(name, engine, facts):
    reader = read((PUBLIC / f"{name}.log").read_text().split("\n"), engine)
    found = {fact: reader.facts[fact].value for fact in facts}
    assert found == {name: pytest.approx(value) if isinstance(value, float) else value for name, value in facts.items()}
    assert reader.failure is None


def test_every_public_log_is_in_a_table():
    assert {path.stem for path in PUBLIC.glob("*.log")} == {case[0] for case in (*CASES, *FACTS)}


FORMS = PUBLIC.parent / "forms"


def form(path):
    """(the log, the reason that its first line expects; None: none)."""
    first, _, log = path.read_text().partition("\n")
    expected = first.removeprefix("# reason: ")
    return log.rstrip("\n"), None if expected == "none" else expected


@pytest.mark.parametrize("path", sorted(FORMS.glob("*.log")), ids=lambda path: path.stem)
def test_form_of_an_exception(path):
    log, expected = form(path)
    assert reason(log) == expected
    assert expected is None or not expected.startswith(("raise ", "assert ", "File ", "self."))


def test_there_are_forms_with_and_without_a_reason():
    expected = [form(path)[1] for path in FORMS.glob("*.log")]
    assert len(expected) >= 20 and expected.count(None) >= 5


REPORTS = YAML(typ="safe").load((PUBLIC.parent / "reports.yaml").read_text())


@pytest.mark.parametrize("report", [pytest.param(report, id=report["id"]) for report in REPORTS])
def test_log_rebuilt_from_a_report(report):
    failure = read(report["log"].split("\n"), report["engine"]).failure
    if report["reason"] is None:
        assert failure is None
        return
    assert report["reason"] in failure.words
    assert failure.outcome.value in report["outcomes"]
    assert re.search(report["hint"], failure.hint, re.IGNORECASE)


def test_workers_side_by_side_count_once_and_the_slowest_holds():
    lines = [
        f"(Worker_TP{rank} pid={rank + 10}) INFO 12-01 10:00:00 [x.py:1] {text}"
        for rank, (took, graphs) in enumerate(((3.0, 0.5), (9.0, 0.75)))
        for text in (
            f"Loading weights took {took:.2f} seconds",
            f"Model loading took 10.00 GiB memory and {took + 1:.2f} seconds",
            f"Compiling a graph for compile range (1, 8) takes {took:.2f} s",
            f"Compiling a graph for compile range (9, 64) takes {took:.2f} s",
            f"Graph capturing finished in {took:.0f} secs, took {graphs:.2f} GiB",
        )
    ]
    facts = {name: fact.value for name, fact in read(lines).facts.items()}
    assert facts["read_weights_s"] == 9.0 and facts["load_s"] == 10.0
    assert facts["inductor_s"] == 18.0 and facts["graphs_compiled"] == 2
    assert facts["capture_graphs_s"] == 9 and facts["graphs_bytes"] == 0.75 * 2**30


def test_a_draft_model_changes_neither_architecture_nor_length():
    vllm = read([
        "(APIServer pid=1) INFO 12-01 10:00:00 [model.py:5] Resolved architecture: Qwen3MoeForCausalLM",
        "(APIServer pid=1) INFO 12-01 10:00:00 [model.py:9] Using max model len 32768",
        "(APIServer pid=1) INFO 12-01 10:00:00 [model.py:5] Resolved architecture: Eagle3LlamaForCausalLM",
        "(APIServer pid=1) INFO 12-01 10:00:00 [model.py:9] Using max model len 2048",
    ])  # fmt: skip
    assert vllm.facts["architecture"].value == "Qwen3MoeForCausalLM"
    assert vllm.facts["max_model_len_tokens"].value == 32768
    sglang = read([
        "[2025-12-23 14:18:04 TP0] Load weight end. elapsed=20.00 s, type=LlamaForCausalLM, mem usage=14.99 GB.",
        "[2025-12-23 14:18:09 TP0] Load weight end. elapsed=2.00 s, type=LlamaForCausalLMEagle, mem usage=0.81 GB.",
    ], "sglang")  # fmt: skip
    assert sglang.facts["architecture"].value == "LlamaForCausalLM"
    assert sglang.facts["load_s"].value == 22.0
    assert sglang.facts["weights_bytes_per_gpu"].value == round(14.99 * 2**30) + round(0.81 * 2**30)


def test_a_kv_cache_of_given_size_is_read():
    reader = read([
        "INFO 12-01 10:00:00 [gpu_worker.py:1] Initial free memory 78.1 GiB, reserved 40.0 GiB memory for KV Cache as "
        "specified by kv_cache_memory_bytes config and skipped memory profiling."
    ])  # fmt: skip
    assert reader.facts["kv_cache_bytes"].value == 40 * 2**30
    assert reader.phase is Phase.KV_CACHE


def test_a_long_warm_up_before_the_graphs_is_a_phase_and_does_not_hide_them():
    reader, phases = LogReader(get_engine("vllm")), []
    for line in (
        "(Worker pid=1) INFO 08-20 17:22:30 [x.py:1] Available KV cache memory: 10.0 GiB",
        "(Worker pid=1) INFO 08-20 17:22:31 [x.py:1] GPU KV cache size: 1,000 tokens",
        "(Worker pid=1) 2026-08-20 17:22:38,159 - INFO - autotuner.py:651 - flashinfer.jit: [Autotuner]: Autotuning "
        "process starts ...",
        "DeepGEMM warmup:  12%|█▉  | 1902/16384 [00:00<00:00, 19014.49it/s]",
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|███| 51/51 [00:04<00:00, 10.66it/s]",
        "DeepGEMM warmup:  99%|█▉  | 1902/16384 [00:00<00:00, 19014.49it/s]",
        "(EngineCore pid=1) INFO 08-20 17:23:40 [x.py:1] init engine (profile, create kv cache, warmup model) took 9 s",
    ):
        phases += [seen.phase.value for seen in reader.feed(line, 1.0) if isinstance(seen, PhaseSeen)]
    assert phases == ["kv_cache", "warmup", "capture_graphs", "warmup"]


REAL_SGLANG = [  # (file, phase at the end, outcome, piece of the reason)
    ("start-glm4moe.log", "warmup", None, ""),
    ("two-nodes-rank-0.log", "warmup", None, ""),
    ("two-nodes-rank-1.log", "warmup", None, ""),
    ("fail-two-nodes-one-numa-node.log", "engine_init", "crashed", "SGLANG_CPU_OMP_THREADS_BIND is not set, in this"),
    ("hpcsweep-server-eager.log", "warmup", None, ""),
    ("hpcsweep-server-noeager.log", "warmup", None, ""),
    ("fail-port-taken-2.log", "warmup", "port_in_use", "[Errno 98] error while attempting to bind on address"),
    ("fail-model-missing.log", "launch", "model_not_found", "Repo id must be in the form"),
    ("fail-context-too-large.log", "launch", "bad_arguments", "User-specified context_length (8192) is greater than"),
    ("fail-unknown-flag.log", "launch", "bad_arguments", "unrecognized arguments: --swap-space 4"),
    ("fail-memory-fraction.log", "kv_cache", "out_of_memory",
     "ValueError: Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=1e-05"),
    ("fail-scheduler-killed-starting.log", "engine_init", "crashed",
     "Rank 0 scheduler died during initialization (exit code: -9)"),
    ("fail-detokenizer-killed-starting.log", "warmup", "crashed", "Subprocess detokenizer (pid="),
    ("cpu-default-backend-compile.log", "capture_graphs", "crashed", "no attribute 'init_cpu_graph_state'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "phase", "outcome", "words"), REAL_SGLANG)
def test_log_of_a_real_sglang(name, phase, outcome, words):
    reader = read((SGLANG / name).read_text().split("\n"), "sglang")
    assert reader.phase.value == phase
    if outcome is None:
        assert reader.failure is None or reader.failure.code in ("sglang-subprocess-died", "sglang-echo")
    else:
        assert reader.failure.outcome.value == outcome and words in reader.failure.words


def test_phases_of_a_real_sglang():
    reader = read((SGLANG / "start-glm4moe.log").read_text().split("\n"), "sglang")
    assert {phase.value for phase in reader.unseen_phases()} == set()
    assert [phase for phase in Phase if reader.has_entered(phase)] == [
        Phase.LAUNCH, Phase.ENGINE_INIT, Phase.LOAD_WEIGHTS, Phase.KV_CACHE, Phase.WARMUP,
    ]  # fmt: skip
    assert reader.facts["load_s"].value == 0.02 and reader.facts["kv_cache_tokens"].value == 732_197
    assert reader.facts["init_engine_s"].value == 3.58
    assert "weights_bytes_per_gpu" not in reader.facts, "the difference of free main memory is no weight"


def test_phases_of_another_node_of_a_real_sglang():
    reader = read((SGLANG / "two-nodes-rank-1.log").read_text().split("\n"), "sglang")
    assert reader.unseen_phases() == [] and reader.has_entered(Phase.WARMUP)
    assert reader.facts["load_s"].value == 0.1 and reader.facts["kv_cache_tokens"].value == 32768


def test_only_a_scheduler_that_ends_by_itself_is_a_failure():
    """At the end the first node tells the others to stop theirs, which then exit with 0."""
    recorded = (SGLANG / "two-nodes-rank-1.log").read_text()
    assert read(recorded.split("\n"), "sglang").failure is None
    killed = recorded.replace("terminated with 0", "terminated with -9")
    death = read(killed.split("\n"), "sglang").death
    assert death.outcome.value == "crashed" and death.words.endswith("terminated with -9")


def test_free_main_memory_is_never_taken_for_the_size_of_weights():
    """A neighbour on the machine that allocates 3 GB while the tiny model loads."""
    recorded = (SGLANG / "start-glm4moe.log").read_text()
    lines = re.sub(r"mem usage=-?[\d.]+ GB", "mem usage=3.10 GB", recorded).split("\n")
    assert "weights_bytes_per_gpu" not in read(lines, "sglang").facts
    lines = [line.replace("'device': 'cpu'", "'device': 'cuda'") for line in lines]
    assert read(lines, "sglang").facts["weights_bytes_per_gpu"].value == round(3.1 * 2**30)


def test_patterns_of_sglang_0_5_23_occur_in_it():
    """In the recorded starts on CPUs; what only GPUs print, in lines from its source."""
    recorded = [line for path in SGLANG.glob("*.log") for line in path.read_text().split("\n")]
    on_gpus = (PUBLIC.parent / "from-source" / "sglang-0.5.23.log").read_text().split("\n")
    of_gpus = ("Entering DeepGEMM", "mem usage=", "graph end")
    for pattern in (*sglang_log.PHASES, *sglang_log.FACTS):
        if "0.5.23" in pattern.seen_in and not pattern.regex.pattern.startswith("Entering DeepGEMM"):
            gpu_only = any(words in pattern.regex.pattern for words in of_gpus)
            assert any(pattern.regex.search(line) for line in (on_gpus if gpu_only else recorded)), pattern


ENDS = [  # (file, piece of a line after which SGLang cannot recover, outcome)
    ("fail-port-taken-2.log", "Errno 98", "port_in_use"),
    ("fail-scheduler-killed-starting.log", "RuntimeError: Rank 0 scheduler died", "crashed"),
    ("fail-detokenizer-killed-starting.log", "Subprocess detokenizer", "crashed"),
]


@pytest.mark.parametrize(("name", "words", "outcome"), ENDS)
def test_the_line_is_the_end_of_sglang_though_its_process_may_hang_on(name, words, outcome):
    lines = (SGLANG / name).read_text().split("\n")
    stop = next(n for n, line in enumerate(lines) if words in line)
    assert read(lines[:stop], "sglang").death is None
    death = read(lines[: stop + 1], "sglang").death
    assert death is not None and death.outcome.value == outcome


HOSTILE = {
    "one endless line": ["x" * 2_000_000],
    "open brackets": ["(" * 15_000] * 20,
    "prefixes without end": ["[2025-01-01 10:00:00] " * 700] * 50,
    "words and colons": ["Error: " * 2_200] * 50,
    "a traceback that never ends": ["Traceback (most recent call last):", *['  File "a", line 1, in f'] * 20_000],
    "a message that never ends": ["ValueError: x", *["and more"] * 20_000],
    "chains without end": [
        "Traceback (most recent call last):", "ValueError: x",
        "During handling of the above exception, another exception occurred:",
    ] * 6_000,
    "ten thousand processes": [f"(P{n} pid={n}) Traceback (most recent call last):" for n in range(10_000)],
    "dots": ["a." * 8_000, "a." * 8_000 + "Error: x"] * 20,
    "spaces": [" " * 15_999 + "x"] * 50,
    "carriage returns": ["\r".join(["Capturing CUDA graphs: 1%"] * 600)] * 5,
    "percent of everything": ["error fail fp8 CUDA NCCL memory not supported " * 350] * 20,
}  # fmt: skip


@pytest.mark.parametrize("lines", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_log_takes_time_in_proportion_to_its_length(lines):
    begun = time.process_time()
    reader = read(lines)
    reader.failure  # noqa: B018
    size = sum(min(len(line), 16_000) for line in lines)
    assert time.process_time() - begun < 2 + size / 100_000, "more than 10 microseconds a character"
