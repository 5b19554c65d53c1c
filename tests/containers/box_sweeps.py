"""A sweep of an ordinary user in the box of the container tests, watched from this machine.

The box has its own processes and mounts, which this machine sees; its /tmp is a folder here. So tests read the files of
a sweep and the processes of a server directly, and enter the box only for commands of the user.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcsweep.node.process.processes import TOKEN_VARIABLE

CHECKOUT = Path(__file__).resolve().parents[2]
USER = os.environ.get("HPCSWEEP_TEST_USER", "hpcsweep-test")
IMAGE = f"{os.environ.get('HPCSWEEP_CONTAINER_IMAGES', '/nowhere')}/vllm"
SECRET = "not-in-any-argument-7431"


class BoxSweep:
    """One project: an experiment, a model, cluster profiles with containers, HPCSWEEP_HOME."""

    def __init__(self) -> None:
        box = os.environ["HPCSWEEP_CONTAINER_BOX"]
        self._enter = [str(CHECKOUT / "scripts/test-box"), "run", box]
        self._root = Path(os.environ["HPCSWEEP_CONTAINER_ROOT"])
        self.outside = Path(tempfile.mkdtemp(prefix="sweep-", dir=os.environ["HPCSWEEP_CONTAINER_TMP"]))
        self.inside = Path("/tmp") / self.outside.name
        self.image = self._root / IMAGE.lstrip("/")
        self.uid = (self.image / "usr/local/bin").stat().st_uid
        self.sweep_dir = self.outside / "home/sweeps/study-0001"
        (self.outside / "model").mkdir()
        (self.outside / "model/config.json").write_text("{}")
        rows = [{"id": f"s{i}", "prompt": "word " * 20, "max_tokens": 20} for i in range(2)]
        (self.outside / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.write("apptainer")
        self._mounts = self._mount_points()

    def write(self, runtime: str, *, profile: dict[str, Any] | None = None, **experiment: Any) -> None:
        """Write the experiment and the profile. `profile`: keys that replace those of the profile."""
        document = {
            "name": "study",
            "model": {"name": "tiny", "path": f"{self.inside}/model"},
            "engine": {"name": "vllm", "version": ">=0.11"},
            "env_from": ["STUDY_TOKEN"],
            "axes": {"len": ["1k"]},
            "workloads": {"w": {"dataset": {"kind": "samples", "path": "samples.jsonl"}, "endpoint": "completions"}},
            "resources": {"gpus": 0, "walltime": "10m"},
            "budgets": {"startup": "5m", "stall": "4m", "walltime_margin": "5s"},
            **experiment,
        }
        (self.outside / "study.yaml").write_text(json.dumps(document))
        cluster = {"scheduler": "local", "container": {"runtime": runtime, "image": IMAGE}, **(profile or {})}
        (self.outside / "hpcsweep.yaml").write_text(json.dumps({"default": "box", "clusters": {"box": cluster}}))
        for path in (self.outside, *self.outside.glob("*"), *self.outside.glob("model/*")):
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def own_image(self) -> Path:
        """Return the path in the box of a copy of the image that only this test uses."""
        subprocess.run(["cp", "-al", str(self.image), str(self.outside / "image")], check=True)
        return self.inside / "image"

    def slow(self) -> dict[str, str]:
        """Return the environment of a server whose answers take the better part of an hour."""
        profile = self.outside / "slow.yaml"
        profile.write_text(
            (CHECKOUT / "tests/fakes/vllm/profile.yaml").read_text().replace("decode_tps: 200", "decode_tps: 0.001")
        )
        return {"VLLM_TEST_PROFILE": str(self.inside / "slow.yaml")}

    def command(self, *argv: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, in the project's folder."""
        user = ["runuser", "-u", USER, "--", "env", f"HOME={self.inside}", f"HPCSWEEP_HOME={self.inside}/home"]
        user += [f"HPCSWEEP_CONFIG={self.inside}/hpcsweep.yaml", f"STUDY_TOKEN={SECRET}", "PYTHONDONTWRITEBYTECODE=1"]
        user += [
            "CI=",
            "COLUMNS=200",
            f"SLURM_CONF={os.environ.get('SLURM_CONF_BOX', '/tmp/hpcsweep-slurm/etc/slurm.conf')}",
        ]
        user += ["sh", "-c", 'cd "$0" && exec "$@"', str(self.inside), *argv]
        return subprocess.run(
            [*self._enter, *user], cwd=CHECKOUT, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def submit(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Submit the experiment."""
        return self.command("hpcsweep", "submit", "study.yaml", *options)

    def completed(self) -> "BoxSweep":
        """Submit the experiment and wait until its runs have completed."""
        done = self.submit("--wait")
        assert done.returncode == 0, done.stdout + done.stderr + self.story()
        self.sweep_dir = max((self.outside / "home/sweeps").iterdir(), key=lambda path: path.name)
        return self

    def attempt_dir(self, label: str = "len-1k") -> Path:
        return self.sweep_dir / f"runs/{label}/attempt-1"

    def events(self, kind: str, label: str = "len-1k") -> list[dict[str, Any]]:
        """Return the events of one kind."""
        lines = (self.attempt_dir(label) / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.attempt_dir() / name).read_text())

    def story(self) -> str:
        """Return what can explain a failure."""
        parts = [path.read_text()[-3000:] for path in self.outside.glob("home/sweeps/*/runs/*/*/server.log")]
        parts += [path.read_text()[-2000:] for path in self.outside.glob("home/sweeps/*/jobs/*/logs/*")]
        return "\n".join(parts)

    def wait_for(self, what: Callable[[], Any], within_s: float = 30) -> Any:
        """Return the first result of `what` that is not empty."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                result = what()
            except (OSError, ValueError, IndexError):
                result = None
            if result:
                return result
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.1)

    def agent_pid(self) -> int:
        """Return the agent's pid as this machine counts."""
        return next(pid for pid, argv in self.processes().items() if "hpcsweep.node.agent" in argv)

    def processes(self) -> dict[int, list[str]]:
        """Return pid -> arguments of the user's processes that belong to this project, also its FUSE mounts."""
        tokens = [
            json.loads(path.read_text())["token"] for path in self.outside.glob("home/sweeps/*/runs/*/*/owner.json")
        ]
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or entry.stat().st_uid != self.uid:
                    continue
                argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            ours = any(f"{TOKEN_VARIABLE}={token}" in environment for token in tokens) or any(
                str(self.inside) in word for word in argv
            )
            if ours:
                found[int(entry.name)] = argv
        return found

    def engine_environment(self) -> dict[str, str]:
        """Return the environment of the engine's process in the container."""
        pid = next(
            pid
            for pid, argv in self.processes().items()
            if argv[:2] == ["/opt/hpcsweep/bin/python", "/usr/local/bin/vllm"]
        )
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def check_nothing_is_left(self) -> None:
        """Assert that no process, mount or instance of the project is left."""
        self.wait_for(lambda: not self.processes(), 15)
        assert self._mount_points() == self._mounts
        assert "INSTANCE NAME" in (listed := self.command("apptainer", "instance", "list").stdout)
        assert len(listed.strip().splitlines()) == 1, listed

    def _mount_points(self) -> list[str]:
        return self.command("cat", "/proc/self/mounts").stdout.splitlines()

    def remove(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.outside, ignore_errors=True)
