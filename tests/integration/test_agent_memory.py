"""A server that the kernel kills for being over the job's memory limit: in a real cgroup, made for the test."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_job import Job

from hpcsweep.node.process.memory_limit import MemoryCgroup

LIMIT_BYTES = 300 << 20

GREEDY = """#!{python}
import os, sys, time
if sys.argv[1:] == ["--version"]:
    print("0.32.0")
elif "--help=all" in sys.argv:
    sys.exit(1)
else:
    print("loading", flush=True)
    held = []
    if {in_child}:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            print("Failed core proc(s): {{'EngineCore_0': -9}}", flush=True)
            sys.exit(1)
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 8)
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup with a limit, of whichever version this machine has."""
    top = Path("/sys/fs/cgroup")
    version_1 = (top / "memory" / "memory.limit_in_bytes").exists()
    folder = (top / "memory" if version_1 else top) / f"hpcsweep-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(LIMIT_BYTES))
    except OSError as exc:
        pytest.skip(f"needs root and a memory cgroup: {exc}")
    yield folder
    folder.rmdir()


@pytest.mark.parametrize("in_child", [False, True], ids=["the server itself", "its engine core"])
def test_out_of_host_memory(job: Job, cgroup: Path, tmp_path: Path, in_child: bool) -> None:
    vllm = tmp_path / "bin" / "vllm"
    vllm.parent.mkdir()
    vllm.write_text(GREEDY.format(python=sys.executable, in_child=in_child))
    vllm.chmod(0o755)
    job.write(job.run_spec(simulation=None))
    path = {"PATH": f"{vllm.parent}:{os.environ['PATH']}"}
    _, err = job.execute(path, setup=f"echo $$ >{cgroup}/cgroup.procs")
    ended = job.ended()
    assert ended["outcome"] == "out_of_memory", (ended, err)
    assert ended["code"] == "out_of_host_memory" and "(limit 300" in ended["reason"]
    assert "oom_kill" in ended["decided_by"] and "`memory`" in ended["hint"]


def test_the_counters_of_version_2_and_of_version_1(tmp_path: Path) -> None:
    """As Slurm 24.11 lays it out with cgroup/v2: the limit is that of the job, above the step's own group."""
    membership = tmp_path / "cgroup"
    job_folder = tmp_path / "system.slice" / "slurmstepd.scope" / "job_7"
    task = job_folder / "step_batch" / "user" / "task_0"
    task.mkdir(parents=True)
    (task / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\n")
    (task / "memory.max").write_text("max\n")
    (job_folder / "memory.max").write_text("104857600\n")
    membership.write_text("0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n")
    group = MemoryCgroup(tmp_path, membership)
    assert (group.kills(), group.limit_bytes()) == (2, 100 << 20)

    old = tmp_path / "memory" / "slurm" / "job_7"
    old.mkdir(parents=True)
    (old / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (old / "memory.limit_in_bytes").write_text("104857600\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    membership.write_text("11:cpuset:/x\n6:memory:/slurm/job_7\n0::/x\n")
    group = MemoryCgroup(tmp_path, membership)
    assert (group.kills(), group.limit_bytes()) == (1, 100 << 20)

    nothing = MemoryCgroup(tmp_path / "nowhere", tmp_path / "missing")
    assert (nothing.kills(), nothing.limit_bytes()) == (None, None)
