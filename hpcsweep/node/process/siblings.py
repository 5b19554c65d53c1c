"""Ensure that only one agent executes a job, for example when it is started by `srun hpcsweep-node`.

There are two checks. A launcher gives each of its processes a rank, and only rank 0 continues. The agent also creates
a claim file exclusively, for this start of the job, which a second agent finds. After a requeue the claim has another
name, so that the new agent can work.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.node.identity import Identity, start_name
from hpcsweep.node.process.processes import read_process
from hpcsweep.node.records import read_json

_RANKS = (
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "PALS_RANKID",
    "MV2_COMM_WORLD_RANK",
    "ALPS_APP_PE",
    "JSM_NAMESPACE_RANK",
    "FLUX_TASK_RANK",
    "PBS_NODENUM",
)
"""Variables with the rank of a process. PBS_NODENUM: number of the node, for pbsdsh; 0 on the first one."""


def other_rank(env: Mapping[str, str]) -> str | None:
    """Return `NAME=3` when a launcher started this process as the fourth of several; None: as the first, or alone."""
    ranks = {name: env[name] for name in _RANKS if env.get(name, "").isdigit()}
    return next((f"{name}={rank}" for name, rank in ranks.items() if int(rank) > 0), None)


class AgentClaim:
    """The claim of one array task, from `take` until `release`."""

    def __init__(self, job_dir: Path, index: int, identity: Identity, env: Mapping[str, str]) -> None:
        self._identity, self._held = identity, False
        this_life = start_name(env)
        self._path: Path | None = None
        if identity.job_id is not None and this_life:
            digest = hashlib.sha256(f"{identity.job_id}/{this_life}".encode()).hexdigest()[:12]
            self._path = job_dir / "tasks" / f"{index}.agent-{digest}.json"

    def take(self) -> str | None:
        """Claim the array task. Return a description of the agent that has claimed it; None: it is ours.

        Without a scheduler that identifies the start of the job nothing is claimed: agents that are started manually
        are independent, and execute an attempt each. An agent that died on this host loses its claim. A folder that is
        not writable is not reported here, because the attempt reports it.
        """
        if self._path is None:
            return None
        for _ in range(3):
            try:
                self._path.parent.mkdir(exist_ok=True)
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                owner = read_json(self._path) or {}
                if not self._dead(owner):
                    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
                aside = self._path.with_name(f".{self._path.name}.{self._identity.host}-{os.getpid()}")
                with contextlib.suppress(FileNotFoundError):  # another process removed it first
                    self._path.rename(aside)
                    aside.unlink()
                continue
            except OSError:
                return None
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(self._identity.as_dict(), file)
            self._held = True
            return None
        return "an agent that was started at the same time"

    def release(self) -> None:
        """Remove the claim, so that the array task may be executed again, for example manually."""
        if self._held and self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._held = False

    def _dead(self, owner: dict[str, object]) -> bool:
        """Return whether the owner was on this host and is certainly not running: no such process, or a reboot."""
        identity = self._identity
        if owner.get("host") != identity.host:
            return False
        if owner.get("boot_id") != identity.boot_id:
            return True
        process = read_process(int(str(owner.get("pid") or 0)))
        return process is None or process.started != owner.get("started_ticks")
