"""What the fake server knows: one JSON file below $FAKE_PBS_DIR, changed under a lock by every command."""

import contextlib
import fcntl
import getpass
import json
import os
import sys
import tempfile
import time
from pathlib import Path

SERVER = "pbshost"
VERSION = "23.06.06"


def root() -> Path:
    """The folder of the fake server."""
    return Path(os.environ.get("FAKE_PBS_DIR") or f"{tempfile.gettempdir()}/fake-pbs-{getpass.getuser()}")


def user() -> str:
    """The user that commands are run as."""
    return os.environ.get("FAKE_PBS_USER") or getpass.getuser()


def operator() -> bool:
    """Whether this caller has operator rights: with FAKE_PBS_OPERATOR=1."""
    return os.environ.get("FAKE_PBS_OPERATOR") == "1"


def fresh() -> dict:
    """A server with the recorded site: four vnodes of 16 CPUs and 8 GPUs, queues workq and gpuq."""
    return {
        "next": 0,
        "up": True,
        "moms": {f"gpunode{n}": True for n in range(1, 5)},
        "nodes": {f"gpunode{n}": {"ncpus": 16, "ngpus": 8, "mem": 200 << 20} for n in range(1, 5)},
        "queues": {name: {"enabled": True, "started": True} for name in ("workq", "gpuq", "limq")},
        "server": {
            "default_queue": "workq",
            "max_array_size": 10000,
            "job_history_enable": True,
            "kill_delay": 10.0,
            "mom_poll_s": 0.0,
        },
        "jobs": {},
    }


class Refused(Exception):
    """A command ends here: words for stderr, and its exit code."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.words, self.code = words, code


@contextlib.contextmanager
def locked(*, asks: str = "", down_code: int = 162):
    """The state, read and written back under the lock. `asks`: the command; a server that is down refuses it."""
    folder = root()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / "state.json"
        state = json.loads(path.read_text()) if path.exists() else fresh()
        if asks:
            _reachable(state, asks, down_code, lock)
        before = json.dumps(state)
        yield state
        after = json.dumps(state)
        if after != before or not path.exists():
            beside = path.with_suffix(".new")
            beside.write_text(after)
            beside.replace(path)


def _reachable(state: dict, asks: str, code: int, lock) -> None:
    if state["up"] == "frozen":
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(3600)
    if not state["up"]:
        if asks == "qdel":
            raise Refused(f"Connection refused\nCouldn't connect to cluster: {SERVER}", code)
        if asks == "pbsnodes":
            raise Refused(f"Connection refused\npbsnodes: cannot connect to server {SERVER}, error=15010", code)
        raise Refused(f"Connection refused\n{asks}: cannot connect to server {SERVER} (errno=15010)", code)


def job_id(number: int, index: int | None = None, *, array: bool = False) -> str:
    """`12.pbshost`, `12[].pbshost`, `12[3].pbshost`."""
    inner = f"[{'' if index is None else index}]" if array or index is not None else ""
    return f"{number}{inner}.{SERVER}"


def ctime(at: float) -> str:
    """As qstat writes times: local, without zone."""
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))


def began(at: float) -> str:
    """As comments write times."""
    return time.strftime("%a %b %d at %H:%M", time.localtime(at))


def run_command(command, argv: list[str]) -> int:
    """The exit code of a command; its refusal goes to stderr, as the recorded ones did."""
    try:
        return command(argv) or 0
    except Refused as exc:
        if exc.words:
            sys.stderr.write(exc.words + "\n")
        return exc.code
    except BrokenPipeError:
        return 141
