"""What is kept of processes that are stuck, with the real tools."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from hpcsweep.node.process.processes import read_process
from hpcsweep.node.process.roles import ProcessKind, ProcessRole
from hpcsweep.node.watch.confirmation import Confirmation
from hpcsweep.node.watch.diagnostics import collect, py_spy_argv
from hpcsweep.node.watch.stacks import StackActivity
from hpcsweep.node.watch.stall import Situation

STUCK = """
import time

def waits_for_ever():
    print("here", flush=True)
    time.sleep(600)

waits_for_ever()
"""


@pytest.fixture
def stuck():
    """A Python process that has come to its last line, and is stopped there."""
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
            time.sleep(0.05)
        found = read_process(process.pid)
        yield found
        process.kill()


def test_the_python_stack_of_a_stopped_process(tmp_path, stuck):
    assert py_spy_argv() is not None, "py-spy comes with the extra `test`"
    written = collect(tmp_path, [stuck], ["its last line"], {stuck.pid: 0.0})
    assert {"last_lines.txt", "processes.txt", "stacks.txt", "sockets.txt"} <= set(written)
    stacks = (tmp_path / "diagnostics" / "stacks.txt").read_text()
    if "ermission" in stacks or "not permitted" in stacks:
        pytest.skip("this machine lets no process look into another one")
    assert "waits_for_ever" in stacks
    table = (tmp_path / "diagnostics" / "processes.txt").read_text()
    assert str(stuck.pid) in table and "stopped" in table


def test_what_there_is_no_time_for_is_said(tmp_path, stuck):
    begun = time.monotonic()
    collect(tmp_path, [stuck], [], {}, hurry=lambda: True)
    assert "out of time" in (tmp_path / "diagnostics" / "stacks.txt").read_text()
    assert time.monotonic() - begun < 15


SPINS = """
import sys

def all_reduce():
    print("here", flush=True)
    while True:
        pass

def step():
    print("here", flush=True)
    while True:
        pass

all_reduce() if sys.argv[1] == "waits" else step()
"""


@pytest.fixture
def ranks(stuck):
    """A stopped process, one that busy-waits, and one that is busy by itself."""
    started = [
        subprocess.Popen([sys.executable, "-c", SPINS, what], stdout=subprocess.PIPE) for what in ("waits", "works")
    ]
    for process in started:
        assert process.stdout.readline() == b"here\n"
    yield [stuck, *(read_process(process.pid) for process in started)]
    for process in started:
        process.kill()
        process.communicate()


def confirmed(folder, processes, not_server_pids, situation):
    roles = {process.pid: ProcessRole(ProcessKind.RANK, f"TP{n}") for n, process in enumerate(processes)}
    confirmation = Confirmation(folder, processes, roles, 0.5, not_server_pids)
    deadline = time.monotonic() + 60
    while (found := confirmation.step(time.monotonic(), situation)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_two_samples_of_real_stacks(tmp_path, ranks):
    not_server_pids: set[int] = set()
    found = confirmed(tmp_path, ranks, not_server_pids, Situation.STARTING)
    dumps = {path.name for path in (tmp_path / "diagnostics").iterdir()}
    assert dumps == {f"stack-{process.pid}-{n}.json" for process in ranks for n in (1, 2)}
    assert not_server_pids == set(), "no tool is left"
    if found.activity[ranks[1].pid] is StackActivity.UNKNOWN:
        pytest.skip("this machine lets no process look into another one")
    assert [found.activity[process.pid] for process in ranks] == [
        StackActivity.STOPPED,
        StackActivity.WAITING,
        StackActivity.LOOPING,
    ]
    assert [found.functions[process.pid].split(" ")[0] for process in ranks] == ["waits_for_ever", "all_reduce", "step"]
    assert found.certain, "one is stopped"
    assert not confirmed(tmp_path, ranks[1:], not_server_pids, Situation.STARTING).certain
    assert confirmed(tmp_path, ranks[1:], not_server_pids, Situation.SERVING).certain


def test_without_py_spy_a_busy_process_is_not_confirmed_stuck(tmp_path, ranks, monkeypatch):
    monkeypatch.setattr("hpcsweep.node.watch.confirmation.py_spy_argv", lambda: None)
    found = confirmed(tmp_path, ranks[1:], set(), Situation.SERVING)
    assert not found.certain and "py-spy" in found.problem
    assert confirmed(tmp_path, ranks, set(), Situation.SERVING).certain, "a stopped one is, by its state alone"


def test_tools_that_hang_are_ended_with_the_confirmation(tmp_path, ranks, monkeypatch):
    tool = tmp_path / "hangs"
    tool.write_text("#!/bin/sh\nexec sleep 600\n")
    tool.chmod(0o755)
    monkeypatch.setattr("hpcsweep.node.watch.confirmation.py_spy_argv", lambda: [str(tool)])
    not_server_pids: set[int] = set()
    roles = {process.pid: ProcessRole(ProcessKind.RANK) for process in ranks}
    confirmation = Confirmation(tmp_path, ranks, roles, 0.1, not_server_pids)
    assert confirmation.step(time.monotonic(), Situation.SERVING) is None and len(not_server_pids) == 3
    tools = [psutil.Process(pid) for pid in not_server_pids]
    confirmation.stop()
    assert not_server_pids == set() and not any(tool.is_running() for tool in tools)
