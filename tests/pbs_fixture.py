"""The fake PBS of tests/fakes/pbs for one test: its own server, home and PATH."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FAKES = Path(__file__).parent / "fakes" / "pbs"


class FakePbs:
    """A fake server below `folder`. `run`: a shell command as the user of a login node."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.home = folder / "server", folder / "home"
        self.jobs = self.home / "jobs"
        self.jobs.mkdir(parents=True)
        self.folder.mkdir()
        # A job finds PBS on the PATH of its user's profile, not on that of qsub's caller.
        (self.home / ".bash_profile").write_text(f'export PATH="$PATH:{FAKES}"\n')
        for name in [name for name in os.environ if name.startswith(("PBS_", "HPCSWEEP_", "SUBMITIT_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PATH", f"{FAKES}:{Path(sys.executable).parent}:/usr/bin:/bin")
        monkeypatch.setenv("FAKE_PBS_DIR", str(self.folder))
        monkeypatch.setenv("FAKE_PBS_USER", "hpcuser")
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("LANG", "C.UTF-8")

    def run(self, command: str, *, operator: bool = False, user: str = "hpcuser") -> subprocess.CompletedProcess[str]:
        """The answer of a shell command in the home folder."""
        env = {**os.environ, "FAKE_PBS_USER": user, **({"FAKE_PBS_OPERATOR": "1"} if operator else {})}
        return subprocess.run(
            ["bash", "-c", command], cwd=self.home, env=env, capture_output=True, encoding="utf-8",
            errors="surrogateescape", timeout=60, check=False,
        )  # fmt: skip

    def out(self, command: str, **kwargs: bool) -> str:
        """stdout of a command that succeeds."""
        done = self.run(command, **kwargs)  # type: ignore[arg-type]
        assert done.returncode == 0, done
        return done.stdout.strip()

    def admin(self, words: str) -> None:
        """What an administrator, or a broken machine, does: see fakepbs-admin."""
        self.out(f"fakepbs-admin {words}")

    def state(self) -> dict:
        """What the server knows."""
        return json.loads((self.folder / "state.json").read_text())

    def attributes(self, job: str) -> dict[str, str]:
        """Attributes of `12` or `69[2]`, as the server keeps them."""
        number, _, index = job.partition("[")
        record = self.state()["jobs"][number]
        return record["subjobs"][index.rstrip("]")] if index.rstrip("]") else record["a"]

    def wait_for(self, job: str, states: str, timeout_s: float = 30.0) -> dict[str, str]:
        """The attributes of a job once it is in one of `states`."""
        return wait_until(
            lambda: next((a for a in [self.attributes(job)] if a["job_state"] in states), None), timeout_s
        )


def wait_until(probe: Callable, timeout_s: float = 30.0):
    """What `probe` gives once it is true. AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {probe}"
        time.sleep(0.05)


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guards: Path) -> Iterator[FakePbs]:
    """A fake PBS server; all its jobs are gone after the test."""
    server = FakePbs(tmp_path / "pbs", monkeypatch)
    monkeypatch.setenv("PATH", os.environ["PATH"].replace(":/usr/bin", f":{guards}:/usr/bin", 1))
    yield server
    server.admin("up")
    server.admin("stop-all")
