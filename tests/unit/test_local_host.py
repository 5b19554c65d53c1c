"""Commands on this machine: how they are stopped."""

import time

import psutil

from hpcsweep.hosts.local import LocalHost


def test_what_a_stopped_command_started_is_stopped_too(tmp_path):
    """Below a shell, the qstat of a hung server would wait for ever, one more with every look."""
    pid_file = tmp_path / "pid"
    answer = LocalHost().run(("/bin/sh", "-c", 'sleep 600 & echo $! > "$1"; wait', "sh", str(pid_file)), timeout_s=2)
    assert answer.exit_code is None
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_input_and_output_pass_unchanged():
    answer = LocalHost().run(("/bin/cat",), timeout_s=20, stdin="a\udcffb\n")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "a\udcffb\n", "")
