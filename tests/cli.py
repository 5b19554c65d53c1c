"""Runs the command line as a user does: a process of its own, in an empty folder."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HPCSWEEP = [sys.executable, "-m", "hpcsweep.cli.main"]


@dataclass
class Cli:
    """The command line in one folder. `env` is added to a small, clean environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / ".hpcsweep"

    def environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "SLURM_CONF", "VIRTUAL_ENV")
        names = [name for name in os.environ if name in kept or name.startswith("COVERAGE")]
        return {name: os.environ[name] for name in names} | {"NO_COLOR": "1"} | self.env

    def start(self, *args: str, **more: Any) -> subprocess.Popen[str]:
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
        return subprocess.Popen([*HPCSWEEP, *args], cwd=self.folder, env=self.environment(), **more)

    def run(self, *args: str, code: int | None = 0, timeout: float = 110) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*HPCSWEEP, *args], cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=timeout
        )
        if code is not None:
            assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def runs(self, sweep: str | None = None) -> dict[str, dict[str, Any]]:
        """Label -> what `status --json` says of the run, of the latest sweep."""
        sweeps = self.json("status", *([sweep] if sweep else []))["sweeps"]
        return {run["run"]: run for run in sweeps[-1]["runs"]}
