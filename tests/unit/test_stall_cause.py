"""Which process is what, what it does, and which one is the odd one out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpcsweep.load.schedule import Schedule, ScheduledRequest
from hpcsweep.node.process.roles import ProcessKind, ProcessRole, logged_name, role_of
from hpcsweep.node.watch.confirmation import judge
from hpcsweep.node.watch.log_progress import FRESH_TIMES, LogProgress
from hpcsweep.node.watch.stacks import (
    ProcessStack,
    StackActivity,
    compare_stacks,
    innermost_function,
    parse_dump,
    waits,
)
from hpcsweep.node.watch.stall import Situation, Snapshot, StallWatch
from hpcsweep.node.watch.stall_cause import RankUse, find_cause
from hpcsweep.node.watch.traffic import Traffic
from hpcsweep.spec.phases import StallCause

STACKS = Path(__file__).parents[1] / "transcripts" / "stacks"
LOGS = Path(__file__).parents[1] / "transcripts" / "engines"

ROLES = {
    "VLLM::EngineCore": (ProcessKind.ENGINE_CORE, "EngineCore"),
    "VLLM::EngineCore_DP1": (ProcessKind.ENGINE_CORE, "EngineCore_DP1"),
    "VLLM::Worker": (ProcessKind.RANK, ""),
    "VLLM::Worker_TP1": (ProcessKind.RANK, "TP1"),
    "VLLM::Worker_PP0_TP1_EP1": (ProcessKind.RANK, "PP0_TP1_EP1"),
    "VLLM::Worker_DP1_PP0_TP3_EP7": (ProcessKind.RANK, "DP1_PP0_TP3_EP7"),
    "VLLM::APIServer_0": (ProcessKind.FRONT_END, "APIServer_0"),
    "/env/bin/python /env/bin/vllm serve /models/glm --port 8000": (ProcessKind.FRONT_END, ""),
    "python -m sglang.launch_server --model-path x": (ProcessKind.FRONT_END, ""),
    "/env/bin/python3.11 /env/bin/sglang serve --model-path x": (ProcessKind.FRONT_END, ""),
    "sglang::scheduler": (ProcessKind.ENGINE_CORE, "scheduler"),
    "sglang::scheduler_TP0": (ProcessKind.RANK, "TP0"),
    "sglang::scheduler_DP1_TP0_EP0": (ProcessKind.RANK, "DP1_TP0_EP0"),
    "sglang::detokenizer": (ProcessKind.FRONT_END, "detokenizer"),
    "ray::RayWorkerWrapper.execute_method": (ProcessKind.RANK, "3"),
    "python3 -m mpi4py.futures.server": (ProcessKind.RANK, "3"),
    "/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus -quiet -I /x a.cpp": (ProcessKind.COMPILER, ""),
    "g++ /tmp/a.cpp -shared -o a.so": (ProcessKind.COMPILER, ""),
    "/usr/local/cuda/bin/ptxas -lineinfo -v": (ProcessKind.COMPILER, ""),
    "/env/bin/python /env/torch/_inductor/compile_worker/__main__.py --workers=32": (ProcessKind.COMPILER, ""),
    "sleep 5": (ProcessKind.OTHER, ""),
    "python -c from multiprocessing.spawn import spawn_main; spawn_main()": (ProcessKind.OTHER, ""),
    "": (ProcessKind.OTHER, ""),
}


@pytest.mark.parametrize(("command", "expected"), ROLES.items())
def test_roles(command, expected):
    role = role_of(command, environment={"PMIX_RANK": "3"} if "ray" in command or "mpi4py" in command else {})
    assert (role.kind, role.name) == expected


def test_before_it_has_its_title_a_process_is_what_it_signs_as():
    spawned = "python -c from multiprocessing.spawn import spawn_main; spawn_main()"
    assert logged_name("(Worker_TP1 pid=7) INFO 11-21 01:19:00 [x.py:1] hello") == (7, "Worker_TP1")
    assert logged_name("INFO 11-21 01:19:00 [x.py:1] hello (see pid)") is None
    assert str(role_of(spawned, "Worker_TP1")) == "rank TP1"


def test_every_process_that_signs_a_recorded_log_has_a_role():
    signed = {}
    for path in LOGS.rglob("*.log"):
        for line in path.read_text(errors="replace").splitlines():
            found = logged_name(line.split("Z ", 1)[-1])
            if found is not None:
                signed[found[1]] = role_of("", found[1])
    assert len(signed) >= 3 and all(role.kind is not ProcessKind.OTHER for role in signed.values()), signed


@pytest.mark.parametrize(
    "form", ["still waiting for the other ranks, {0} s", "11-21 01:19:00 polled {0} times, 0/8 done"]
)
def test_a_line_that_repeats_itself_is_no_progress(form):
    log = LogProgress()
    told = [log.informative(form.format(10 * n)) for n in range(10)]
    assert told == [True] * FRESH_TIMES + [False] * (10 - FRESH_TIMES)


def test_a_progress_bar_is_progress_as_long_as_it_grows():
    log = LogProgress()
    bar = "Loading safetensors checkpoint shards: {0:3d}% Completed | {0}/61 [00:{0:02d}<00:30,  1.2s/it]"
    assert all(log.informative(bar.format(n)) for n in range(60))
    assert not any(log.informative(bar.format(59)) for _ in range(5))


def test_eight_ranks_say_the_same():
    log = LogProgress()
    lines = [
        f"(Worker_TP{n} pid={n}) INFO 11-21 01:19:00 [x.py:1] Loading weights took {n}.5 seconds" for n in range(8)
    ]
    assert [log.informative(line) for line in lines] == [True] * FRESH_TIMES + [False] * (8 - FRESH_TIMES)


def recorded(name: str, process: str, state: str, cpu_s: float) -> tuple[ProcessStack, ProcessStack]:
    first, second = json.loads((STACKS / f"{name}.json").read_text())[process]
    parsed = [parse_dump(json.dumps(dump)) for dump in (first, second)]
    return tuple(
        ProcessStack(state, cpu_s * at, "futex_wait", threads, main) for at, (threads, main) in enumerate(parsed)
    )


RECORDED = {  # (recording, process): state, CPU between the samples, what it did, where
    ("serving_rank1_stopped", "Worker_TP0"): (
        "R",
        0.9,
        StackActivity.WAITING,
        "OpOverloadPacket.__call__ (torch/_ops.py)",
    ),
    ("serving_rank1_stopped", "Worker_TP1"): (
        "T",
        0.0,
        StackActivity.STOPPED,
        "UnquantizedFusedMoEMethod.forward_native",
    ),
    ("serving_rank1_stopped", "EngineCore"): ("S", 0.0, StackActivity.BLOCKED, "Poller.poll (zmq/sugar/poll.py)"),
    ("serving_core_stopped", "EngineCore"): (
        "T",
        0.0,
        StackActivity.STOPPED,
        "sched_yield (vllm/distributed/utils.py)",
    ),
    ("serving_core_stopped", "Worker_TP0"): ("S", 0.02, StackActivity.BLOCKED, "Poller.poll (zmq/sugar/poll.py)"),
}


@pytest.mark.parametrize(("of", "expected"), RECORDED.items(), ids=map(" ".join, RECORDED))
def test_recorded_stacks(of, expected):
    state, cpu_s, what, place = expected
    first, second = recorded(*of, state, cpu_s)
    assert compare_stacks(first, second, 1.0) is what
    assert innermost_function(second).startswith(place)


WAITING = [
    ("OpOverloadPacket.__call__ (torch/_ops.py)", "_CPUSHMDistributed.all_reduce (vllm/x/cpu_communicator.py)"),
    ("SpinCondition.wait (vllm/distributed/device_communicators/shm_broadcast.py)",),
    ("ProcessGroup.barrier (x.py)",),
    ("synchronize (torch/cuda/__init__.py)",),
    ("Condition.wait (threading.py)",),
    ("recv_multipart (zmq/sugar/socket.py)",),
]
WORKING = [
    ("forward_native (vllm/model_executor/layers/fused_moe/unquantized_fused_moe_method.py)", "apply (x.py)"),
    ("compile_fx_inner (torch/_inductor/compile_fx.py)", "inner (contextlib.py)"),
    ("load_weights (vllm/model_executor/models/glm4_moe.py)", "load_model (vllm/x/default_loader.py)"),
    (),
]


def test_what_waits():
    assert all(waits(frames) for frames in WAITING) and not any(waits(frames) for frames in WORKING)


def one(state, cpu_s, *frames, threads=None):
    return ProcessStack(state, cpu_s, "", {1: frames} if threads is None else threads, 1)


DOING = {
    "loops": (one("R", 0, "step (a.py)"), one("R", 2, "step (a.py)"), StackActivity.LOOPING),
    "moves on": (one("R", 0, "layer_1 (a.py)"), one("R", 2, "layer_2 (a.py)"), StackActivity.CHANGING),
    "waits in another way": (
        one("R", 0, "wait (threading.py)"),
        one("R", 2, "all_reduce (b.py)"),
        StackActivity.WAITING,
    ),
    "sleeps": (one("S", 0, "f (a.py)"), one("S", 0.01, "f (a.py)"), StackActivity.BLOCKED),
    "cannot be read": (ProcessStack("R", 0), ProcessStack("R", 2), StackActivity.UNKNOWN),
    "cannot be read, and sleeps": (ProcessStack("S", 0), ProcessStack("S", 0), StackActivity.BLOCKED),
    "a thread beside the waiting main one works": (
        one("R", 0, threads={1: ("result (concurrent/futures/_base.py)",), 2: ("lower (a.py)",)}),
        one("R", 2, threads={1: ("result (concurrent/futures/_base.py)",), 2: ("codegen (a.py)",)}),
        StackActivity.CHANGING,
    ),
    "continued in between": (one("T", 0, "f (a.py)"), one("R", 2, "f (a.py)"), StackActivity.LOOPING),
}


@pytest.mark.parametrize(("first", "second", "expected"), DOING.values(), ids=DOING.keys())
def test_two_samples_of_one_process(first, second, expected):
    assert compare_stacks(first, second, 2.0) is expected


def test_what_is_no_dump():
    assert parse_dump("Error: Permission denied (os error 13)") is None
    assert parse_dump("[1, 2]") is None


TP0, TP1 = ProcessRole(ProcessKind.RANK, "TP0"), ProcessRole(ProcessKind.RANK, "TP1")
CORE, FRONT = ProcessRole(ProcessKind.ENGINE_CORE, "EngineCore"), ProcessRole(ProcessKind.FRONT_END)
PARTS = {0: TP0, 1: TP1, 2: CORE, 3: FRONT}
STARTING, SERVING, PREFILL = Situation.STARTING, Situation.SERVING, Situation.PREFILL
B, W, L, C, U, T = (
    StackActivity.BLOCKED,
    StackActivity.WAITING,
    StackActivity.LOOPING,
    StackActivity.CHANGING,
    StackActivity.UNKNOWN,
    StackActivity.STOPPED,
)

JUDGED = {  # doing of TP0, TP1, core, front end; certain while starting, serving, in a prefill
    "all wait": ([W, B, B, B], True, True, True),
    "one is stopped, the other still computes": ([C, T, B, B], True, True, True),
    "one compiles, the other waits": ([W, C, B, B], False, False, False),
    "one stays in a function": ([W, L, B, B], False, True, True),
    "both stay in a function": ([L, L, B, B], False, True, False),
    "no stacks": ([U, U, B, B], False, False, False),
    "the front end is stopped, the ranks poll": ([C, C, C, T], True, True, True),
    "only the front end moves": ([W, W, B, C], True, True, True),
}


@pytest.mark.parametrize(("what", "starting", "serving", "prefill"), JUDGED.values(), ids=JUDGED.keys())
def test_what_confirms_a_stall(what, starting, serving, prefill):
    doings = dict(enumerate(what))
    assert [judge(doings, PARTS, one)[0] for one in (STARTING, SERVING, PREFILL)] == [starting, serving, prefill]
    certain, why = judge(doings, PARTS, STARTING)
    assert certain == (why == "")


def rank(
    number, state="R", cores=0.98, quiet_s=0.0, what=None, function="", kind=ProcessKind.RANK, name=None, ready=False
):
    return RankUse(100 + number, ProcessRole(kind, name or f"TP{number}"), state, cores, quiet_s, what, function, ready)


SPINNING = [rank(n, what=W, function="all_reduce (cpu_communicator.py)") for n in range(7)]
CORE_IDLE = rank(50, "S", 0.0, 52.0, B, kind=ProcessKind.ENGINE_CORE, name="EngineCore")

CORE_STOPPED = replace(CORE_IDLE, state="T", activity=T)

CAUSES = {  # processes, serving, active: cause, the odd ones, what the sentence says
    "one of eight is stopped": (
        [*SPINNING, rank(7, "T", 0.0, 52.0, T), CORE_IDLE], True, True, "rank_stuck", ["TP7"],
        "rank TP7 (pid 107, node n1) has been in state T (stopped) "
        "without CPU time for 52s; the other 7 ranks busy-wait",
    ),
    "one of eight sleeps": (
        [*SPINNING, rank(7, "S", 0.0, 52.0, B, "open (nfs.py)")], False, True, "rank_stuck", ["TP7"],
        "in state S (sleeping) without CPU time for 52s, in open (nfs.py)",
    ),
    "one of two is in the file system": (
        [rank(0, what=W), rank(1, "D", 0.0, 52.0, B)], False, True, "rank_stuck", ["TP1"],
        "the other rank, TP0, busy-waits",
    ),
    "one of eight loops by itself": (
        [*SPINNING, rank(7, what=L, function="step (plugin.py)")], True, True, "rank_stuck", ["TP7"],
        "in step (plugin.py)",
    ),
    "the core is stopped": (
        [rank(0, "S", 0.02, 50.0), rank(1, "S", 0.02, 50.0), CORE_STOPPED],
        True, False, "rank_stuck", ["EngineCore"],
        "in state T (stopped) without CPU time for 52s; its 2 ranks wait for it",
    ),
    "one of two is busy, and its stack is not known": (
        [rank(0, what=U), rank(1, "S", 0.0, 52.0, B)], False, True, "busy_wait", [], "rank TP0",
    ),
    "all wait in a loop": (SPINNING, True, True, "busy_wait", [], "rank TP0 (pid 100, 1.0 cores"),
    "half of a starved machine": (
        [*(rank(n, cores=0.12, what=W) for n in range(3)), rank(3, "S", 0.0, 9.0, B)], True, True, "rank_stuck",
        ["TP3"], "the other 3 ranks busy-wait for it",
    ),
    "they wait in a loop, without a core": (
        [*(rank(n, "R", 0.01, 9.0, W, ready=True) for n in range(3)), rank(3, "S", 0.0, 9.0, B)], False, True,
        "rank_stuck", ["TP3"], "the other 3 ranks busy-wait for it",
    ),
    "nothing runs, requests wait": (
        [rank(0, "S", 0.0, 52.0), CORE_IDLE], True, False, "requests_stuck", [], "requests are in flight",
    ),
    "nothing runs": ([rank(0, "S", 0.0, 52.0), CORE_IDLE], False, False, "idle", [], "idle"),
    "only a GPU is busy": ([rank(0, "S", 0.0, 52.0), CORE_IDLE], True, True, "busy_wait", [], "no process"),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUSES.values(), ids=CAUSES.keys())
def test_the_odd_one_out(case):
    processes, serving, active, cause, odd, sentence = case
    found = find_cause(processes, serving=serving, active=active, node="n1")
    assert (found.cause, [use.name for use in found.odd]) == (StallCause(cause), odd)
    assert sentence in found.sentence, found.sentence


def in_flight(process, requests, without_token, received_ns=0):
    return {"process": process, "requests": requests, "without_token": without_token, "received_ns": received_ns}


def test_what_a_ready_server_has_to_do():
    traffic = Traffic()
    assert traffic.situation() is Situation.NOTHING_TO_DO
    traffic.begin()
    assert traffic.situation() is PREFILL, "nothing is known yet: it may have requests"
    traffic.closed_loop = True
    assert traffic.situation() is PREFILL
    traffic.closed_loop = False
    assert traffic.situation() is Situation.NOTHING_TO_DO, "the next arrival may be far away"
    traffic.gauges({"running": 0.0, "waiting": 0.0})
    assert traffic.situation() is Situation.NOTHING_TO_DO
    traffic.gauges({"running": 1.0, "waiting": 0.0})
    assert traffic.situation() is PREFILL
    traffic.client(in_flight(1, 2, 1))
    traffic.client(in_flight(2, 3, 0, received_ns=7))
    traffic.gauges({"running": 0.0, "waiting": 0.0})  # of an engine that stands still: the client knows better
    assert (traffic.situation(), traffic.received) == (PREFILL, 7)
    traffic.client(in_flight(1, 2, 0))
    assert traffic.situation() is SERVING
    traffic.client(in_flight(1, 0, 0))
    traffic.client(in_flight(2, 0, 0))
    assert traffic.situation() is Situation.NOTHING_TO_DO
    traffic.client(in_flight(2, 1, 1))
    traffic.end()
    assert traffic.situation() is Situation.NOTHING_TO_DO


def test_arrival_times_of_a_plugin_dataset_make_an_open_loop():
    """The stall watch must not depend on the kind of dataset: only the schedule has arrival times."""
    items = [ScheduledRequest(f"s{n}", n, due_s, 8, 4, 0, 10) for n, due_s in enumerate((0.0, 1500.0))]
    schedule = Schedule("w", 1, "h", 1, "/p", 4, True, 1.0, 0.0, 60.0, 60.0, 1, items)
    assert not schedule.closed_loop
    assert replace(schedule, items=[replace(item, due_s=0.0) for item in items]).closed_loop
    traffic = Traffic()
    traffic.begin()
    traffic.closed_loop = schedule.closed_loop
    watch = StallWatch(Snapshot(at_s=0.0))
    watch.update(Snapshot(at_s=1500.0), traffic.situation())
    assert watch.idle_s(1500.0) == 0.0
