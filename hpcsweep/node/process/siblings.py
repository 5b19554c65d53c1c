"""One agent per job: what `srun hpcsweep-node` and the like start beside it exits at once.

Two checks. A launcher gives each of its processes a rank; only rank 0 works. And the agent that works has made a claim
file, exclusively, for this life of the job; a second agent of the same life finds it. A later life of a requeued job
has another claim, so it is not kept from working.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from hpcsweep.node.process.processes import read_process
from hpcsweep.node.record.identity import Identity, start_name
from hpcsweep.node.record.records import read_json

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
"""Where launchers put the rank of a process. PBS_NODENUM: of the node, for pbsdsh; 0 on the job's first node."""


def other_rank(env: Mapping[str, str]) -> str | None:
    """Return `NAME=3` when a launcher started this process as the fourth of several; None: as the first, or alone."""
    ranks = {name: env[name] for name in _RANKS if env.get(name, "").isdigit()}
    return next((f"{name}={rank}" for name, rank in ranks.items() if int(rank) > 0), None)


class AgentClaim:
    """The claim of one element, from `take` until `release`."""

    def __init__(self, job_dir: Path, index: int, identity: Identity, env: Mapping[str, str]) -> None:
        self._identity, self._held = identity, False
        this_life = start_name(env)
        self._path: Path | None = None
        if identity.job_id is not None and this_life:
            digest = hashlib.sha256(f"{identity.job_id}/{this_life}".encode()).hexdigest()[:12]
            self._path = job_dir / "elements" / f"{index}.agent-{digest}.json"

    def take(self) -> str | None:
        """Claim the element. Returns a description of the agent that has it already; None: it is ours.

        Nothing is claimed where no scheduler names the life of the job: agents that are started manually are
        independent, and take an attempt each. An agent that died on this host loses its claim. A folder that cannot be
        written is no reason to stop: the attempt itself reports it.
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
                with contextlib.suppress(FileNotFoundError):  # another process was quicker
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
        """Remove the claim: the element may be executed again, for example by hand."""
        if self._held and self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._held = False

    def _dead(self, owner: dict[str, object]) -> bool:
        """Whether the owner is surely not running: on this host, after a reboot or without its process."""
        identity = self._identity
        if owner.get("host") != identity.host:
            return False
        if owner.get("boot_id") != identity.boot_id:
            return True
        process = read_process(int(str(owner.get("pid") or 0)))
        return process is None or process.started != owner.get("started_ticks")
