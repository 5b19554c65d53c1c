"""The agent's pure decisions: progress signals, outcomes, signals, the walltime, budgets."""

import signal
from dataclasses import replace

import pytest

from hpcsweep.engines.logs.reader import FailureSeen
from hpcsweep.node.agent import EXIT_CODES, larger, retry_asked
from hpcsweep.node.process.gpu_work import GpuSample
from hpcsweep.node.process.signals import meaning
from hpcsweep.node.process.stop_reasons import Stopper
from hpcsweep.node.process.walltime import Walltime, job_walltime
from hpcsweep.node.watch.counters import Counters
from hpcsweep.node.watch.outcome import (
    AttemptVerdict,
    client_ended,
    out_of_host_memory,
    server_exited,
    stalled,
    startup_timeout,
    unready,
    workload_failed,
)
from hpcsweep.node.watch.stall import Situation, Snapshot, StallWatch, signals
from hpcsweep.node.watch.stall_cause import StallFinding
from hpcsweep.node.watch.startup import over_budget
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.phases import OutcomeKind, Phase, StallCause

GPU = GpuSample(utilization=0.0, memory_traffic=0.0, power_w=90.0, memory_bytes=10**10)
RESTING = Counters(7, 1, cpu_s=100.0, faults=5000, io_bytes=10**9, io_calls=9000, rss_bytes=10**9)
REST = {
    "log_lines": 10, "processes": {7: RESTING}, "workers": frozenset({7}), "gpus": {"a": GPU}, "cache_entries": 3,
    "cache_bytes": 5000, "tokens": 7.0, "kv_cache_usage": 0.25,
}  # fmt: skip


def used(**more):
    return {"processes": {7: replace(RESTING, **more)}}


STARTING, SERVING, PREFILL = Situation.STARTING, Situation.SERVING, Situation.PREFILL
COMPUTES = GpuSample(utilization=60.0, memory_traffic=20.0, power_w=90.0, memory_bytes=10**10)
SPINS = GpuSample(utilization=100.0, memory_traffic=0.0, power_w=130.0, memory_bytes=10**10)
SIGNALS = {  # (what differs 5 s later, progress while starting, while serving, activity)
    "nothing moves": ({}, [], [], []),
    "an informative line": ({"log_lines": 11}, ["log"], [], []),
    "half a core": (used(cpu_s=102.5), [], [], ["cpu"]),
    "an idle event loop": (used(cpu_s=100.1), [], [], []),
    "a compiler comes": ({"new_processes": 1}, ["processes"], [], []),
    "a process goes": ({"processes": {}}, [], [], []),
    "a process of the same number": (
        {"processes": {7: Counters(7, 2, faults=4000)}}, ["memory", "faults"], ["prefill"], [],
    ),
    "weights are read": (used(io_bytes=2 * 10**9), ["io"], [], []),
    "our own health checks": (used(io_bytes=10**9 + 250_000, io_calls=9045, faults=5016), [], [], []),
    "memory is taken": (used(faults=5501, cpu_s=105.0), ["faults"], ["prefill"], ["cpu"]),
    "memory grows by mapping": (used(rss_bytes=10**9 + 5 * 10**6), ["memory"], [], []),
    "memory leaks slowly": (used(rss_bytes=10**9 + 10**5), [], [], []),
    "many small files": (used(io_calls=15_000), ["calls"], [], []),
    "a GPU computes": ({"gpus": {"a": COMPUTES}}, ["gpu"], ["prefill"], ["gpu"]),
    "GPU not seen this time": ({"gpus": {}}, [], [], []),
    "GPU memory grows": ({"gpus": {"a": replace(GPU, memory_bytes=10**10 + 10**9)}}, ["gpu"], ["prefill"], []),
    "GPU memory trembles": ({"gpus": {"a": replace(GPU, memory_bytes=10**10 + 4096)}}, [], [], []),
    "a GPU busy-waits": ({"gpus": {"a": SPINS}}, [], [], ["gpu"]),
    "the cache grows": ({"cache_bytes": 5001}, ["cache"], ["jit"], []),
    "tokens come": ({"tokens": 8.0}, ["tokens"], ["tokens"], []),
    "a chunk of a prompt is done": ({"kv_cache_usage": 0.3}, ["kv_cache"], ["kv_cache"], []),
    "metrics do not answer": ({"tokens": None, "kv_cache_usage": None}, [], [], []),
    "a sample is done": ({"samples": 1}, ["samples"], ["samples"], []),
    "a chunk of an answer": ({"received": 9}, ["chunks"], ["chunks"], []),
}  # fmt: skip


@pytest.mark.parametrize(("change", "starting", "serving", "activity"), SIGNALS.values(), ids=SIGNALS.keys())
def test_what_moved_is_progress_or_activity(change, starting, serving, activity):
    before, after = Snapshot(at_s=0.0, **REST), Snapshot(**{"at_s": 5.0, **REST, **change})
    assert signals(before, after, STARTING).progress == tuple(starting)
    assert signals(before, after, PREFILL).progress == tuple(serving)
    assert signals(before, after, SERVING).progress == tuple(name for name in serving if name != "prefill")
    assert signals(before, after).activity == tuple(activity)


def test_a_compiler_at_work_in_the_middle_of_a_request_is_progress():
    looks = [
        Snapshot(at_s=at, processes={7: replace(RESTING, faults=faults)}, compilers=frozenset({7}))
        for at, faults in ((0.0, 0), (1.0, 3000))
    ]
    assert signals(*looks, SERVING).progress == ("jit",)


def test_idle_time_counts_from_the_last_sign():
    watch = StallWatch(Snapshot(at_s=0.0))
    assert watch.update(Snapshot(at_s=5.0, log_lines=1)).progress == ("log",)
    assert watch.update(Snapshot(at_s=50.0, log_lines=1)).progress == ()
    assert watch.idle_s(60.0) == 55.0
    watch.update(Snapshot(at_s=58.0, log_lines=1), Situation.NOTHING_TO_DO)
    assert watch.idle_s(60.0) == 2.0


def test_a_silent_compile_is_no_stall_and_a_loop_at_full_cpu_or_a_chatty_dead_engine_is_one():
    compiling, looping, dead = (StallWatch(Snapshot(at_s=0.0)) for _ in range(3))
    for look in range(1, 200):
        at_s = 5.0 * look
        compiling.update(Snapshot(at_s=at_s, processes={7: Counters(7, 1, cpu_s=9.0 * look, faults=4000 * look)}))
        looping.update(Snapshot(at_s=at_s, processes={7: Counters(7, 1, cpu_s=9.0 * look)}))
        # noise lines are not counted
        dead.update(Snapshot(at_s=at_s, processes={7: Counters(7, 1, cpu_s=0.01 * look, io_bytes=300 * look)}))
    assert (compiling.idle_s(995.0), looping.idle_s(995.0), dead.idle_s(995.0)) == (0.0, 995.0, 995.0)


def test_time_in_which_nobody_could_look_is_no_silence_but_not_for_ever():
    watch = StallWatch(Snapshot(at_s=0.0), every_s=1.0, stall_s=20.0)
    for at_s in (1.0, 2.5, 4.5):  # a little late is still silence
        watch.update(Snapshot(at_s=at_s))
    assert watch.idle_s(4.5) == 4.5
    watch.update(Snapshot(at_s=16.5))  # the machine was frozen for 11 seconds
    assert watch.idle_s(16.5) == 5.5 and watch.held_up_s == 11.0
    for at_s in (27.0, 37.0, 47.0):
        watch.update(Snapshot(at_s=at_s))
    assert watch.idle_s(47.0) == 27.0  # 20 of 47 seconds are excused, not more
    watch.update(Snapshot(at_s=48.0, log_lines=1))
    watch.update(Snapshot(at_s=60.0, log_lines=1))
    assert watch.idle_s(60.0) == 1.0
    assert watch.held_up_s == 11.0 + 9.5 + 9.0 + 9.0 + 11.0  # all of it is told, excused or not


def test_a_server_that_gets_no_core_is_not_silent_but_not_for_ever():
    """On a machine with too few cores a process may be ready to run for long."""
    watch = StallWatch(Snapshot(at_s=0.0), every_s=1.0, stall_s=20.0)
    for at_s in range(1, 61):
        watch.update(Snapshot(at_s=float(at_s), processes={7: Counters(7, 1, state="R", cpu_s=0.01 * at_s)}))
    assert watch.idle_s(60.0) == 40.0 and watch.held_up_s == 59.0
    assert watch.ready(7) and watch.cores(7) < 0.05
    watch.update(Snapshot(at_s=61.0, log_lines=1))
    for at_s in range(62, 70):
        watch.update(
            Snapshot(at_s=float(at_s), log_lines=1, processes={7: Counters(7, 1, state="R", cpu_s=float(at_s))})
        )
    assert watch.idle_s(69.0) == 8.0, "a loop at full speed is not excused"


OOM = FailureSeen(OutcomeKind.OUT_OF_MEMORY, "use less", 1.0, "torch.OutOfMemoryError: CUDA out of memory")
ENGINE_TIMEOUT = FailureSeen(OutcomeKind.STARTUP_TIMEOUT, "", 1.0, "Timed out waiting", "VLLM_ENGINE_READY_TIMEOUT_S")

EXITS = {
    "a cause in the log": (
        1, Phase.KV_CACHE, OOM, "out_of_memory", "server_exited_with_error", "exit code 1, and its log",
    ),
    "a cause of the knowledge base": (
        1, Phase.KV_CACHE, replace(OOM, code="gpu_full"), "out_of_memory", "gpu_full", "exit code 1, and its log",
    ),
    "the engine's own timeout": (
        1, Phase.COMPILE, ENGINE_TIMEOUT, "startup_timeout", "server_exited_with_error",
        "VLLM_ENGINE_READY_TIMEOUT_S, exit code 1",
    ),
    "usage error": (2, Phase.LAUNCH, None, "bad_arguments", "server_rejected_arguments", "exit code 2"),
    "exit code 2 later is a crash": (2, Phase.COMPILE, None, "crashed", "server_exited", "exit code 2"),
    "exit code 0 is not a success": (0, Phase.LOAD_WEIGHTS, None, "crashed", "server_exited", "exit code 0"),
    "killed": (-9, Phase.LOAD_WEIGHTS, None, "crashed", "server_killed", "SIGKILL"),
    "unknown signal": (-200, Phase.LOAD_WEIGHTS, None, "crashed", "server_exited", "signal 200"),
}  # fmt: skip


@pytest.mark.parametrize(("exit_code", "phase", "failure", "kind", "code", "by"), EXITS.values(), ids=EXITS.keys())
def test_a_server_that_ended(exit_code, phase, failure, kind, code, by):
    verdict = server_exited(exit_code, phase, failure, [f"line {n}" for n in range(50)])
    assert (verdict.kind.value, verdict.code) == (kind, code)
    assert (verdict.decided_by, verdict.exit_code) == (by, exit_code)
    assert "line 49" in verdict.evidence
    if failure:
        assert verdict.evidence[0] == failure.evidence


def test_whose_budget_fired_is_named():
    idle = stalled(Phase.COMPILE, 601.0, 600.0, StallFinding(StallCause.IDLE, "all processes are idle"), "", [])
    assert (idle.code, idle.decided_by, idle.cause) == ("stalled_idle", "budget stall (10m00s)", StallCause.IDLE)
    assert "10m01s" in idle.reason and "all processes are idle" in idle.reason
    slow = startup_timeout(Phase.COMPILE, "compile", 1800.0, 2.0, [])
    assert (slow.code, slow.decided_by) == ("phase_budget_exceeded", "budget compile (30m00s)")
    assert "budgets.phases.compile" in slow.hint
    assert startup_timeout(Phase.COMPILE, "startup", 1800.0, 2.0, []).code == "startup_budget_exceeded"


OUT_OF_MEMORY = {  # outcome, processes killed: does the kernel's count decide?
    "crashed": (OutcomeKind.CRASHED, 1, True),
    "nothing was killed": (OutcomeKind.CRASHED, 0, False),
    "the walltime ended it": (OutcomeKind.WALLTIME, 3, False),
}


@pytest.mark.parametrize(("kind", "kills", "decides"), OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY.keys())
def test_out_of_host_memory(kind, kills, decides):
    verdict = out_of_host_memory(AttemptVerdict(kind, "x", "why", "who"), kills, 300 << 20)
    assert (verdict.code == "out_of_host_memory") is decides
    assert (verdict.kind is OutcomeKind.OUT_OF_MEMORY) is decides
    assert "why" in verdict.reason


def test_the_last_readiness_problem_is_added_to_a_server_that_was_never_ready():
    slow = AttemptVerdict(OutcomeKind.STARTUP_TIMEOUT, "startup_budget_exceeded", "slow", "budget", "more time")
    told = unready(slow, "/v1/models lists a, not b", "", healthy=True)
    assert told.code == slow.code and "/v1/models lists a, not b" in told.reason and told.hint != slow.hint
    assert unready(slow, "connection refused", "", healthy=False).hint == "more time"
    crashed = replace(slow, kind=OutcomeKind.CRASHED)
    assert unready(crashed, "connection refused", "", healthy=False) is crashed


FAILED = {
    "our timeouts": ({"request_timeout": 2, "http_error": 1}, "request_timeout", "all_requests_timed_out"),
    "errors": ({"http_error": 2, "token_timeout": 1}, "failed", "all_requests_failed"),
    "half and half": ({"http_error": 1, "token_timeout": 1}, "failed", "all_requests_failed"),
    "none was sent": ({}, "failed", "no_request_sent"),
}


@pytest.mark.parametrize(("failures", "kind", "code"), FAILED.values(), ids=FAILED.keys())
def test_a_workload_without_success(failures, kind, code):
    verdict = workload_failed("8k", failures, ["x", "x"])
    assert (verdict.kind.value, verdict.code) == (kind, code)


TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT
MEANINGS = {
    "scancel by a stranger": (TERM, False, False, "CANCELLED", "cancelled"),
    "Slurm does not answer": (TERM, False, False, "", "cancelled"),
    "preempted, by Slurm's word": (TERM, False, False, "PREEMPTED", "preempted"),
    "requeued": (TERM, False, False, "REQUEUED", "preempted"),
    "pending again": (TERM, False, False, "PENDING", "preempted"),
    "time limit": (TERM, True, False, "", "walltime"),
    "warning before the time limit": (USR1, True, False, "", "walltime"),
    "early warning": (USR1, False, False, "RUNNING", "preempted"),
    "our cancel": (TERM, True, True, "", "cancelled"),
    "our cancel with USR1": (USR1, False, True, "", "cancelled"),
    "Ctrl-C": (INT, True, False, "", "cancelled"),
}


@pytest.mark.parametrize(("signum", "near", "asked", "state", "kind"), MEANINGS.values(), ids=MEANINGS.keys())
def test_what_a_signal_means(signum, near, asked, state, kind):
    stop = meaning(signum, walltime_near=near, cancel_asked=asked, job_state=state)
    assert stop.kind.value == kind
    assert signal.Signals(signum).name in stop.decided_by
    assert stop.kind in EXIT_CODES


WALLTIMES = {
    "start of the process": ({}, 1000.0, 120.0, 4600.0, 120.0),
    "told start": ({"HPCSWEEP_JOB_STARTED_AT": "900"}, 1000.0, 120.0, 4500.0, 120.0),
    "Slurm's own end": ({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "4000"}, 1000.0, 120.0, 4000.0, 120.0),
    "garbage": ({"SLURM_JOB_END_TIME": "soon"}, 1000.0, 120.0, 4600.0, 120.0),
    "margin over a quarter": ({}, 1000.0, 3600.0, 4600.0, 900.0),
}


@pytest.mark.parametrize(("env", "started", "margin", "ends", "kept"), WALLTIMES.values(), ids=WALLTIMES.keys())
def test_the_jobs_own_clock(env, started, margin, ends, kept):
    clock = job_walltime(env, 3600.0, margin, started)
    assert (clock.ends_at, clock.margin_s) == (ends, kept)
    assert not clock.over(ends - kept - 1)
    assert clock.over(ends - kept)
    assert clock.near(ends - kept - 100)
    assert not clock.near(ends - kept - 200)


def test_the_first_reason_to_stop_holds():
    asked = []
    stopper = Stopper(Walltime(4e9, 1.0), lambda: False, lambda: asked.append(1) or "PREEMPTED")
    assert stopper.check() is None
    stopper.signalled(TERM)
    stopper.signalled(INT)
    assert stopper.check() is stopper.check()
    assert stopper.check().kind is OutcomeKind.PREEMPTED
    assert asked == [1]


BUDGETS = Budgets(startup=100, phases={"compile": 30}, stall=10, retry_factor=3)


@pytest.mark.parametrize(
    ("phase", "in_phase_s", "since_start_s", "over"),
    [
        (Phase.COMPILE, 29, 90, None),
        (Phase.COMPILE, 31, 90, ("compile", 30)),
        (Phase.COMPILE, 31, 101, ("compile", 30)),
        (Phase.LOAD_WEIGHTS, 99, 99, None),
        (Phase.LOAD_WEIGHTS, 99, 101, ("startup", 100)),
    ],
)
def test_budgets_of_the_startup(phase, in_phase_s, since_start_s, over):
    assert over_budget(BUDGETS, phase, in_phase_s, since_start_s) == over


def test_budgets_of_a_retry():
    assert BUDGETS.busy_stall_s == 10 and larger(BUDGETS).busy_stall_s == 30
    assert larger(BUDGETS.model_copy(update={"busy_stall": 7})).busy_stall_s == 21
    again = larger(BUDGETS)
    assert (again.startup, again.phases, again.stall, again.request) == (300, {"compile": 90}, 30, BUDGETS.request)


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_what_is_tried_again(kind):
    wanted = Budgets(on_stall="retry", on_startup_timeout="retry_warm")
    again = kind in (OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT)
    assert retry_asked(AttemptVerdict(kind, "", "", ""), wanted) is again
    assert not retry_asked(AttemptVerdict(kind, "", "", ""), Budgets())


@pytest.mark.parametrize(
    ("last_lines", "code", "hint"),
    [
        pytest.param(
            ["Error: no text of exactly 512 tokens was found", "hint: a prompt must be longer"],
            "load_client_error", "a prompt must be longer", id="its own error",
        ),
        pytest.param(
            ["Traceback (most recent call last):", "  File x", "MemoryError"],
            "load_client_exited", "see client.log", id="a bug",
        ),
        pytest.param([], "load_client_exited", "see client.log", id="killed"),
    ],
)  # fmt: skip
def test_a_load_client_that_ends_early_says_why(last_lines, code, hint):
    verdict = client_ended("one", 1, last_lines)
    assert (verdict.kind, verdict.code, verdict.hint) == (OutcomeKind.FAILED, code, hint)
    assert "workload one" in verdict.reason
    assert verdict.evidence == tuple(last_lines)
