"""What is kept of processes that are stuck, with the real tools."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from hpcsweep.node.diagnostics import collect, py_spy_argv
from hpcsweep.node.processes import read_process

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
    assert "for want of time" in (tmp_path / "diagnostics" / "stacks.txt").read_text()
    assert time.monotonic() - begun < 15
