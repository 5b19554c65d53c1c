"""The lock of a sweep: one holder at a time, a dead one is found out, a living one is named."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcsweep.errors import HpcsweepError
from hpcsweep.node.identity import identify
from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.node.process.processes import read_process
from hpcsweep.submit.sweep_lock import LOCK_FILE, STALE_S, SweepLock, changing, changing_if_free
from hpcsweep.sweep.layout import SweepFolder

HOLD = """
import sys, time
from pathlib import Path
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.submit.sweep_lock import changing
folder, log, rounds, hold_s = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
for _ in range(rounds):
    with changing([SweepFolder(folder)], "retry", lambda text: None):
        with log.open("a") as out:
            out.write("+")
            out.flush()
            time.sleep(hold_s)
            out.write("-")
"""


def holder(folder: Path, log: Path, rounds: int = 1, hold_s: float = 0.01) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(log), str(rounds), str(hold_s)])


def until_held(log: Path) -> None:
    deadline = time.monotonic() + 30
    while not log.exists() or not log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pretend(folder: Path, age_s: float = 0.0, **holder: object) -> Path:
    """The lock file of a process that cannot be seen from here."""
    path = folder / LOCK_FILE
    path.write_text(json.dumps({"host": "login2", "boot_id": "other", "pid": 77, "started_ticks": 1, **holder}))
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def take(folder: Path, wait_s: float = 0.0) -> SweepLock:
    lock = SweepLock(SweepFolder(folder), "cancel")
    lock.take(lambda text: None, wait_s=wait_s)
    return lock


def test_never_two_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = [holder(tmp_path, log, rounds=10) for _ in range(4)]
    assert [process.wait(timeout=60) for process in started] == [0] * 4
    assert log.read_text() == "+-" * 40
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_holder_is_named_and_a_killed_one_is_found_out(tmp_path: Path) -> None:
    process = holder(tmp_path, tmp_path / "log", hold_s=60)
    until_held(tmp_path / "log")
    with pytest.raises(HpcsweepError, match=rf"in use by process {process.pid} on .* \(hpcsweep retry\)"):
        take(tmp_path)
    process.send_signal(signal.SIGSTOP)  # suspended (Ctrl-Z) is not dead
    with pytest.raises(HpcsweepError, match="in use"):
        take(tmp_path)
    process.kill()
    process.wait()
    take(tmp_path).release()


@pytest.mark.parametrize(
    "hidden",
    [{"host": "login2"}, {"pid_namespace": "pid:[1]"}, {"uid": 4242}],
    ids=["another host", "another container", "another user, whose processes hidepid hides"],
)
def test_of_a_holder_that_cannot_be_seen_the_age_counts(tmp_path: Path, hidden: dict[str, object]) -> None:
    me = read_process(os.getpid())
    assert me is not None
    ours = {"boot_id": identify({}, 0).boot_id, "pid": 2**22 + 1} if "host" not in hidden else {}
    pretend(tmp_path, age_s=STALE_S / 2, **{**ours, **hidden})
    with pytest.raises(HpcsweepError, match=f"process {ours.get('pid', 77)} on login2"):
        take(tmp_path)
    pretend(tmp_path, age_s=STALE_S * 2, **{**ours, **hidden})
    take(tmp_path).release()


def test_the_lock_is_refreshed_so_that_it_never_looks_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path, identify({}, 0), refresh_s=0.05)
    assert lock.take() is None
    os.utime(path, (1.0, 1.0))
    deadline = time.monotonic() + 10
    while path.stat().st_mtime < time.time() - 60:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lock.release()


def test_one_who_lost_the_lock_submits_nothing_more_and_leaves_it_to_its_new_holder(tmp_path: Path) -> None:
    lock = take(tmp_path)
    lock.check()
    path = pretend(tmp_path)
    with pytest.raises(HpcsweepError, match="lost the lock"):
        lock.check()
    lock.release()
    assert path.exists()


def test_waiting_is_said_once_and_ends(tmp_path: Path) -> None:
    process = holder(tmp_path, tmp_path / "log", hold_s=1)
    until_held(tmp_path / "log")
    said: list[str] = []
    lock = SweepLock(SweepFolder(tmp_path), "cancel")
    lock.take(said.append)
    lock.release()
    assert said == [said[0]] and f"waiting for process {process.pid}" in said[0]
    assert process.wait(timeout=30) == 0


def test_status_never_waits(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    with changing([sweep], "retry", print), changing_if_free(sweep, "status") as free:
        assert free  # a retry asks for the status itself
    assert not (tmp_path / LOCK_FILE).exists()
    pretend(tmp_path)
    with changing_if_free(sweep, "status") as free:
        assert not free
    assert (tmp_path / LOCK_FILE).exists()


def test_the_folder_may_be_on_a_file_system_without_hard_links(tmp_path: Path) -> None:
    """Some network file systems have none; the lock is then made by exclusive creation."""
    code = (
        "import os\n"
        "def link(*a, **k): raise OSError(1, 'Operation not permitted')\n"
        "os.link = link\n"
        "from pathlib import Path\n"
        "from hpcsweep.sweep.layout import SweepFolder\n"
        "from hpcsweep.submit.sweep_lock import changing, changing_if_free\n"
        f"sweep = SweepFolder(Path({str(tmp_path)!r}))\n"
        "with changing([sweep], 'retry', print):\n"
        "    assert (sweep.path / '.lock').exists()\n"
        "assert not (sweep.path / '.lock').exists()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
