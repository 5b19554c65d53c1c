"""`hpcsweep explain`: every recorded log, text of schedulers, run folders, standard input; the answer comes first."""

import json
import re
import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner
from sweep_folders import make_sweep

from hpcsweep.cli.main import main
from hpcsweep.engines.logs import sglang_log, trtllm_log, vllm_log
from hpcsweep.engines.logs.literals import required_literal
from hpcsweep.errors import EngineError
from hpcsweep.imports.documents.log_times import LogTimes
from hpcsweep.imports.explanation import explain, recognise

ENGINES = Path(__file__).parent.parent / "transcripts" / "engines"
LOGS = sorted(path for path in ENGINES.rglob("*.log") if path.parent.name != "forms")
FIRST_SCREEN = 24
NOT_RECOGNISED = {"fail-port-in-use.log", "fail-model-missing.log"}
"""Logs without a line of the engine's own: killed at once, or a traceback whose paths were replaced."""


def run(*args, stdin=None):
    """(exit code, output) of `hpcsweep explain ARGS`."""
    done = CliRunner().invoke(main, ["explain", *map(str, args)], input=stdin, env={"COLUMNS": "120"})
    return done.exit_code, done.output


def document(*args, stdin=None):
    """What `hpcsweep explain ARGS --json` prints."""
    code, output = run(*args, "--json", stdin=stdin)
    assert code == 0, output
    return json.loads(output)


def engine_of(path):
    """The engine that wrote a recorded log."""
    if path.parent.name == "public":
        return {"vllm": "vllm", "sglang": "sglang", "trt": "trtllm"}[path.name.split("-")[1]]
    return (path.name if path.parent.name == "from-source" else path.parent.name).split("-")[0]


@pytest.mark.parametrize("path", LOGS, ids=lambda path: f"{path.parent.name}/{path.name}")
class TestEveryRecordedLog:
    def test_engine_and_phases_are_found(self, path):
        found = document(path)
        if path.name not in NOT_RECOGNISED:
            assert (found["engine"], found["engine_recognised"]) == (engine_of(path), True)
        named = document(path, "--engine", engine_of(path))
        assert named["engine"] == engine_of(path) and not named["engine_recognised"]
        if path.name not in NOT_RECOGNISED:
            assert named["phases"] == found["phases"] and named["facts"] == found["facts"]

    def test_a_failure_is_told_on_the_first_screen(self, path):
        found = document(path)
        code, output = run(path)
        screen = " ".join(" ".join(output.splitlines()[:FIRST_SCREEN]).split())
        assert code == 0
        if path.name.startswith("fail-") and path.name not in ("fail-port-in-use.log", "fail-kv-too-small.log"):
            assert found["outcome"] and found["reason"]
        if found["outcome"]:
            assert output.startswith(found["outcome"])
            assert found["reason"][:60] in screen
            assert found["hint"][:40] in screen
        else:
            assert "no failure" in output.splitlines()[0]

    def test_times_are_those_of_the_log(self, path):
        spans = [span for span in document(path)["phases"] if span["start_s"] is not None]
        assert all(span["took_s"] is None or span["took_s"] >= 0 for span in spans)
        assert [span["start_s"] for span in spans] == sorted(span["start_s"] for span in spans)


def test_the_phases_of_a_start_on_a_gpu_have_their_times():
    found = document(ENGINES / "vllm-0.22-h200" / "compile-cold.log")
    took = {span["phase"]: span["took_s"] for span in found["phases"]}
    assert took["compile"] == pytest.approx(25.0, abs=0.1) and took["capture_graphs"] == pytest.approx(11.6, abs=0.1)
    assert found["ready"] and found["phase"] == "ready" and found["outcome"] is None
    assert found["facts"]["kv_cache_tokens"] == {"value": 4625360.0, "unit": "tokens"}


def test_the_line_of_the_reason_is_named():
    found = document(ENGINES / "public" / "24-vllm-source-line-as-message.log")
    assert found["evidence_line"] == 6
    assert found["evidence"].startswith("(EngineCore_DP0 pid=22) ERROR 12-01 10:01:00 [core.py:843] RuntimeError: NCCL")
    assert found["hint_id"] == "nccl-invalid-usage"


SCHEDULERS = [  # (text, scheduler, outcome, piece of the reason, piece of the hint)
    ("sbatch: error: invalid partition specified: nosuch\n"
     "sbatch: error: Batch job submission failed: Invalid partition name specified",
     "slurm", None, "Invalid partition name specified", "set partition"),
    ("Batch job submission failed: Requested node configuration is not available", "slurm", None,
     "Requested node configuration", "request less"),
    ("JobId=71 JobName=a\n   JobState=PENDING Reason=PartitionTimeLimit Dependency=(null)", "slurm", None,
     "walltime exceeds the partition's MaxTime", "lower resources.walltime"),
    ("JobId=71 JobName=a\n   JobState=TIMEOUT Reason=TimeLimit Dependency=(null)", "slurm", "walltime",
     "reached its time limit", "--walltime"),
    ("JobId=71 JobState=OUT_OF_MEMORY Reason=OutOfMemory", "slurm", "out_of_memory", "more main memory", "memory"),
    ("qsub: Unknown queue", "pbs", None, "Unknown queue", "qstat -Q"),
    ("qsub: Illegal attribute or resource value select.mem", "pbs", None, "Illegal attribute", "correct the value"),
    ("Job Id: 12.p\n    Job_Name = x\n    job_state = F\n    Exit_status = -29\n    run_count = 1\n"
     "    Resource_List.walltime = 01:00:00", "pbs", "walltime", "walltime of 01:00:00", "--walltime"),
    ("Job Id: 12.p\n    job_state = Q\n    comment = Can Never Run: Insufficient amount of resource: ngpus", "pbs",
     None, "Can Never Run", "ngpus"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "scheduler", "outcome", "words", "hint"), SCHEDULERS)
def test_text_of_a_scheduler(text, scheduler, outcome, words, hint):
    found = document("-", stdin=text + "\n")
    assert (found["scheduler"], found["outcome"]) == (scheduler, outcome)
    assert words in found["reason"] and hint in found["hint"]


@pytest.mark.parametrize(("folder", "command"), [("slurm", "sbatch"), ("pbs", "qsub")])
def test_every_recorded_refusal_is_understood(folder, command):
    refusals = set()
    for path in (ENGINES.parent / folder).glob("*.txt"):
        refusals |= set(re.findall(rf"^{command}: .+$", path.read_text(errors="replace"), re.MULTILINE))
    refusals = {line for line in refusals if "error: " in line or command == "qsub"}
    assert len(refusals) > 5
    for line in refusals:
        found = document("-", stdin=line + "\n")
        assert found["scheduler"] == folder and found["reason"] in line


def test_a_job_killed_by_its_scheduler_says_so_although_the_engine_was_fine():
    log = (
        "(EngineCore_DP0 pid=22) INFO 12-01 10:00:05 [gpu_model_runner.py:2602] Starting to load model m...\n"
        "slurmstepd: error: *** JOB 4711 ON n1 CANCELLED AT 2026-12-01T11:00:00 DUE TO TIME LIMIT ***\n"
    )
    found = document("-", stdin=log)
    assert (found["engine"], found["outcome"], found["phase"]) == ("vllm", "walltime", "load_weights")


@pytest.fixture
def attempt(tmp_path):
    """The folder of an attempt that failed, in the folder of a run."""
    folder = tmp_path / "runs" / "ep-on" / "attempt-2"
    folder.mkdir(parents=True)
    (folder.parent / "attempt-1").mkdir()
    (folder / "server.log").write_text((ENGINES / "public" / "29-vllm-exception-without-error-in-name.log").read_text())
    (folder / "run.json").write_text(json.dumps({"label": "ep-on", "server": {"engine": "vllm"}}))
    end = {"outcome": "crashed", "phase": "load_weights", "reason": "the server ended with exit code 1", "hint": "look"}
    (folder / "exit.json").write_text(json.dumps(end))
    return folder


def test_a_run_folder_and_an_attempt_and_its_log_are_the_same(attempt):
    by_run, by_attempt, by_log = document(attempt.parent), document(attempt), document(attempt / "server.log")
    assert {**by_log, "file": ""} == {**by_run, "file": ""} == {**by_attempt, "file": ""}
    assert by_run["engine"] == "vllm" and not by_run["engine_recognised"]
    assert by_run["recorded"] == {
        "outcome": "crashed", "phase": "load_weights", "reason": "the server ended with exit code 1", "hint": "look",
        "decided_by": "",
    }  # fmt: skip
    _, output = run(attempt.parent)
    assert " ".join(output.split()).startswith("crashed in phase load_weights (")
    assert "the server ended with exit code 1" in output and "OutOfResources" in output


def test_a_run_that_failed_before_its_server_started_has_no_log_and_still_an_explanation(attempt):
    (attempt / "server.log").unlink()
    end = {"outcome": "model_not_found", "reason": "no such path", "hint": "is it mounted?"}
    (attempt / "exit.json").write_text(json.dumps(end))
    code, output = run(attempt.parent)
    assert code == 0 and "no such path" in output and "is it mounted?" in output


def test_a_run_of_a_made_sweep_is_explained(tmp_path):
    sweep = make_sweep(tmp_path, axes={"ep": ["on"]}, samples=1)
    (label,) = sweep.labels
    sweep.write(label, sweep.lines(label).started(job_id="12").ended("crashed"), end="crashed")
    found = document(sweep.folder.path / "runs" / label)
    assert found["recorded"]["outcome"] == "crashed"


def test_what_cannot_be_read_is_an_error_with_the_next_step(tmp_path):
    assert run(tmp_path / "none.log")[0] == 1
    code, output = run(tmp_path)
    assert code == 1 and "not the folder of a run" in output
    (tmp_path / "wide.log").write_bytes("Traceback".encode("utf-16"))
    code, output = run(tmp_path / "wide.log")
    assert code == 1 and "iconv" in output
    code, output = run(tmp_path / "wide.log", "--engine", "vlm")
    assert code == 1 and "did you mean 'vllm'" in output


def test_an_empty_log_and_one_of_another_program_are_no_failure_of_ours():
    assert "log is empty" in run("-", stdin="")[1]
    found = document("-", stdin="hello\nworld\n")
    assert (found["engine"], found["outcome"], found["last_lines"]) == (None, None, ["hello", "world"])


def test_binary_noise_is_read():
    found = document("-", stdin=bytes(range(256)) * 50)
    assert found["outcome"] is None


def test_an_exception_of_any_python_program_is_found():
    found = document("-", stdin="Traceback (most recent call last):\n  File 'x', line 1\nKeyError: 'a'\n")
    assert found["reason"] == "KeyError: 'a'" and found["engine"] is None


def test_memory_does_not_grow_with_the_log():
    def endless(count):
        yield "INFO 12-01 10:00:00 [api_server.py:1] vLLM API server version 0.12.0"
        for number in range(count):
            yield f"(Worker_TP{number % 8} pid={number}) INFO 12-01 10:00:00 [x.py:1] line {number} " + "x" * 300

    peaks = []
    for count in (6_000, 24_000):
        tracemalloc.start()
        explain(endless(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.3 + 200_000, peaks


def test_an_unknown_engine_is_an_error():
    with pytest.raises(EngineError, match="unknown engine"):
        explain(["x"], "nope")


@pytest.mark.parametrize(
    ("line", "engine"),
    [
        ("[2025-12-23 14:17:55] server_args=ServerArgs(model_path='m')", "sglang"),
        ("[TensorRT-LLM] TensorRT-LLM version: 1.0.0", "trtllm"),
        ("(APIServer pid=11) INFO 04-08 05:31:30 [utils.py:299]  version 0.19.0", "vllm"),
        ("KeyError: 'a'", None),
    ],
)
def test_an_engine_is_recognised(line, engine):
    assert recognise([line]) == engine


TIMES = [
    (["INFO 12-31 23:59:50 x", "no time here", "INFO 01-01 00:00:10 y"], [0.0, 0.0, 20.0]),
    (["[2025-12-23 14:17:55 TP0] a", "[2025-12-23 14:18:05] b"], [0.0, 10.0]),
    (["[11/21/2026-02:00:00] [TRT-LLM] a", "[11/21/2026-02:01:00] b"], [0.0, 60.0]),
    (["2026-11-21T02:44:10.402 INFO 11-21 05:00:00 a", "2026-11-21T02:44:10.902 INFO 11-21 05:00:00 b"], [0.0, 0.5]),
    (["x", "INFO 12-01 10:00:00 a", "INFO 12-01 09:00:00 an hour back"], [None, 0.0, 0.0]),
    (["INFO 13-45 10:00:00 no date", "INFO 02-29 10:00:00 a", "INFO 03-01 10:00:00 b"], [None, 0.0, 86400.0]),
]


@pytest.mark.parametrize(("lines", "expected"), TIMES)
def test_times_of_lines(lines, expected):
    times = LogTimes()
    assert [times.read(line) for line in lines] == expected


def test_the_quick_look_for_a_literal_never_hides_a_match():
    patterns = [one.regex for log in (vllm_log, sglang_log, trtllm_log) for one in (*log.PHASES, *log.FACTS)]
    assert sum(bool(required_literal(regex)) for regex in patterns) > 80
    lines = {line for path in LOGS for line in path.read_text(errors="replace").split("\n")}
    for regex in patterns:
        literal = required_literal(regex)
        assert all(literal in line.lower() for line in lines if regex.search(line)), regex.pattern


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"abc", "abc"), (r"ab?c", "a"), (r"a|bcd", ""), (r"(?:ab|cd)efg", "efg"), (r"x[]a]yz", "yz"),
        (r"ab{2}cd", "cd"),
        (r"\bfoo\.bar\b", "foo.bar"), (r"A+BC", "bc"), (r"[^\]x]tail", "tail"), (r"", ""), (r"a\(b", "a(b"),
    ],
)  # fmt: skip
def test_the_literal_of_a_pattern(pattern, literal):
    assert required_literal(re.compile(pattern)) == literal
