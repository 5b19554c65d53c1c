"""Progress or activity, on counters of real processes: `tests/transcripts/counters`, once a second."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcsweep.node.process.gpu_work import GpuSample, GpuSignals, gpu_signals
from hpcsweep.node.process.processes import Process
from hpcsweep.node.process.roles import ProcessKind, role_of
from hpcsweep.node.watch.counters import Counters
from hpcsweep.node.watch.stall import Situation, Snapshot, StallWatch, signals

RECORDINGS = Path(__file__).parents[1] / "transcripts" / "counters"
STARTING, PREFILL = Situation.STARTING, Situation.PREFILL


def looks(name: str, every: int = 1) -> list[Snapshot]:
    """A recording as the evidence of its looks; every k-th."""
    lines = [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]
    fields, names, seen = lines[0]["fields"], {}, []
    started: dict[int, int] = {}
    for line in lines[1:]:
        names |= {int(pid): command for pid, command in line["new"].items()}
        started |= {int(pid): len(seen) for pid in line["new"]}
        rows = [dict(zip(fields, row, strict=True)) for row in line["rows"]]
        roles = {row["pid"]: role_of(names[row["pid"]]).kind for row in rows}
        seen.append(
            Snapshot(
                at_s=line["at_s"],
                processes={row["pid"]: Counters(**row, started=started[row["pid"]]) for row in rows},
                workers=frozenset(
                    pid for pid, kind in roles.items() if kind in (ProcessKind.RANK, ProcessKind.ENGINE_CORE)
                ),
                compilers=frozenset(pid for pid, kind in roles.items() if kind is ProcessKind.COMPILER),
            )
        )
    return seen[::every]


@dataclass
class Expected:
    """What the looks of a recording show. `least`: the share of looks with progress; 0: none at all."""

    situation: Situation
    progress: set[str]
    least: float = 0.0
    activity: bool = True
    skip: int = 1


RECORDED = {
    "loop_python": Expected(STARTING, set()),
    "loop_c": Expected(STARTING, set()),
    "loop_c_yield": Expected(STARTING, set(), activity=False),  # on a starved machine: it gave its core away
    "loop_python_poll": Expected(STARTING, set()),
    "read_1mb_per_s": Expected(STARTING, {"io"}, least=1.0, activity=False),
    "map_1mb_per_s": Expected(STARTING, {"memory"}, least=0.9, activity=False),
    "vllm_tp2_start_eager": Expected(STARTING, {"io", "memory", "faults", "calls"}, least=0.95),
    "vllm_tp2_idle": Expected(STARTING, set(), activity=False),
    "vllm_tp2_decode": Expected(PREFILL, set()),  # its tokens show it, not its counters
    "vllm_tp2_prefill": Expected(PREFILL, set()),  # the KV cache fills: its counters look like those of a loop
    "vllm_tp2_compile": Expected(STARTING, {"io", "memory", "faults", "calls"}, least=0.95),
    "vllm_tp2_serving_rank1_stopped": Expected(STARTING, set()),
    "vllm_tp2_serving_core_stopped": Expected(STARTING, set(), activity=False),
}


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("every", [1, 5])
def test_a_recording_shows_what_it_was(name, every):
    expected, found = RECORDED[name], looks(name, every)
    watch = StallWatch(found[expected.skip - 1])
    seen = [watch.update(look, expected.situation) for look in found[expected.skip :]]
    assert {signal for one in seen for signal in one.progress} <= expected.progress
    share = sum(bool(one.progress) for one in seen) / len(seen)
    assert share >= expected.least and (share == 0) == (expected.least == 0)
    if expected.activity:
        assert any("cpu" in one.activity for one in seen)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*.jsonl")))
def test_every_recording_is_expected_to_show_something(name):
    assert name in RECORDED


def test_voluntary_switches_would_prove_the_opposite():
    """Why they are recorded and not used: a rank that polls without work has more of them than one at work."""
    idle, working = (
        [(a.processes[p].switches - b.processes[p].switches) / (a.at_s - b.at_s) for p in a.workers]
        for a, b in ((found[-1], found[0]) for found in (looks("vllm_tp2_idle"), looks("vllm_tp2_decode")))
    )
    assert max(idle) > max(working) > 100


def test_which_rank_is_stuck_is_in_the_counters():
    found = looks("vllm_tp2_serving_rank1_stopped")
    watch = StallWatch(found[0])
    for look in found[1:]:
        assert watch.update(look, Situation.SERVING).progress == ()
    last = found[-1]
    stopped = [pid for pid, counters in last.processes.items() if counters.state == "T"]
    assert len(stopped) == 1 and watch.cores(stopped[0]) == 0.0
    busiest = max(last.processes, key=watch.cores)
    assert watch.cores(busiest) > 0.4 and busiest in last.workers
    assert watch.quiet_s(busiest, last.at_s) < 2.0


def test_a_process_reads_back_what_it_did():
    """The counters of /proc are those of this process: a page touched is a fault, a byte read is I/O."""
    import mmap
    import os

    from hpcsweep.node.process.processes import read_process
    from hpcsweep.node.watch.counters import read_counters

    me = read_process(os.getpid())
    assert isinstance(me, Process)
    before = read_counters([me], switches=True)[me.pid]
    pages = [mmap.mmap(-1, 1 << 22) for _ in range(2)]
    for memory in pages:
        for at in range(0, len(memory), 4096):
            memory[at] = 1
    with Path("/proc/self/maps").open("rb") as stream:
        while stream.read(4096):
            pass
    after = read_counters([read_process(me.pid)], switches=True)[me.pid]
    for memory in pages:
        memory.close()
    evidence = [Snapshot(at_s=float(at), processes={me.pid: one}) for at, one in enumerate((before, after))]
    assert {"faults", "memory"} <= set(signals(*evidence).progress)
    assert after.io_bytes > before.io_bytes and after.io_calls > before.io_calls
    assert after.switches >= before.switches > 0


GPU_SAMPLES = json.loads((RECORDINGS.parent / "gpus" / "samples.json").read_text())


@pytest.mark.parametrize("sample", GPU_SAMPLES, ids=[sample["what"] for sample in GPU_SAMPLES])
def test_what_a_gpu_shows(sample):
    before, after = ({"GPU-a": GpuSample(**sample[when])} for when in ("before", "after"))
    assert gpu_signals(before, after) == GpuSignals(sample["progress"], sample["activity"])
    assert sample["source"].partition(":")[0] in ("measured", "literature", "made up")
