"""Create attempt folders, and close those whose agent has died.

An attempt's number is taken by an exclusive mkdir, and only the process that created the folder writes into it, so two
starts of one job never share an attempt. An agent that finds a folder without exit.json reads its owner.json. When
the owner is certainly dead (same host, and the process is not running or the host has rebooted), the attempt is closed
as `lost`. An owner on another host may still be running, so its folder is left alone.
"""

import contextlib
import json
import re
import secrets
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from hpcsweep.containers.launch import container_name
from hpcsweep.containers.registry import get_runtime
from hpcsweep.errors import ContainerError
from hpcsweep.events.log import EVENTS_FILE
from hpcsweep.node.identity import Identity, boot_id
from hpcsweep.node.process.cleanup import clean_up
from hpcsweep.node.process.family import Member, kill_attempt
from hpcsweep.node.process.processes import process_lives, send
from hpcsweep.node.record.notes import Note
from hpcsweep.node.records import EXIT_FILE, NOT_RUN_FILE, OWNER_FILE, read_record, write_record
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.records import ExitRecord, OwnerRecord

_ATTEMPT = re.compile(r"attempt-(\d+)")
_ENDED_FROM_OUTSIDE = frozenset(
    {OutcomeKind.WALLTIME, OutcomeKind.PREEMPTED, OutcomeKind.CANCELLED, OutcomeKind.LOST, OutcomeKind.NOT_RUN}
)
LOST_HINT = "the agent was killed: by the scheduler, the kernel's OOM killer, or a user"


@dataclass(frozen=True)
class AttemptFolder:
    """A folder that this agent created. `token`: in the environment of all processes of the attempt."""

    path: Path
    number: int
    token: str


def attempt_numbers(run_dir: Path) -> list[int]:
    """Return the numbers of the attempts that have a folder, in ascending order."""
    if not run_dir.is_dir():
        return []
    matches = (_ATTEMPT.fullmatch(entry.name) for entry in run_dir.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def create_attempt(run_dir: Path, attempt_offset: int, identity: Identity) -> AttemptFolder:
    """Create the next attempt's folder, numbered above `attempt_offset` and all existing ones. Raises OSError."""
    run_dir.mkdir(parents=True, exist_ok=True)
    while True:
        number = max([attempt_offset, *attempt_numbers(run_dir)]) + 1
        path = run_dir / f"attempt-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue  # another agent created it first: try the next number
        break
    token = secrets.token_hex(12)
    owner = OwnerRecord(
        job_id=identity.job_id,
        host=identity.host,
        boot_id=identity.boot_id,
        pid=identity.pid,
        started_ticks=identity.started_ticks,
        restart_count=identity.restart_count,
        token=token,
        taken_at=time.time(),
    )
    write_record(path / OWNER_FILE, owner)
    (run_dir / NOT_RUN_FILE).unlink(missing_ok=True)
    return AttemptFolder(path, number, token)


def ended_in_this_job(
    run_dir: Path, attempt_offset: int, job_id: str | None, restarts: int | None = None
) -> OutcomeKind | None:
    """Return the outcome of this run in an earlier start of this job; None: it has to run.

    A run that was ended from outside (walltime, preempted, cancelled, lost) has to run again. So does every run that
    is started manually: without a job id, or with the same number of `restarts` as before, which means that the agent
    was called again within one allocation. `restarts` None: the scheduler does not count them.
    """
    if job_id is None:
        return None
    for number in reversed(attempt_numbers(run_dir)):
        folder = run_dir / f"attempt-{number}"
        owner, end = read_record(folder / OWNER_FILE, OwnerRecord), read_record(folder / EXIT_FILE, ExitRecord)
        if number <= attempt_offset or owner is None or end is None or owner.job_id != job_id:
            continue
        if restarts is not None and owner.restart_count == restarts:
            continue
        if end.outcome is not None and end.outcome not in _ENDED_FROM_OUTSIDE:
            return end.outcome
    return None


def close_dead_attempts(run_dir: Path, identity: Identity) -> list[Note]:
    """Close attempts of this run whose agent is dead, and kill their remaining processes on this host.

    Return a note for each attempt without exit.json: whether it was closed or left alone, and why.
    """
    notes = []
    for number in attempt_numbers(run_dir):
        folder = run_dir / f"attempt-{number}"
        if (folder / EXIT_FILE).exists():
            continue
        owner = read_record(folder / OWNER_FILE, OwnerRecord)
        if owner is None:
            notes.append(Note("no_owner", f"attempt-{number} has no owner.json and no exit.json: left alone"))
        elif owner.host != identity.host:
            notes.append(
                Note(
                    "owner_on_other_host",
                    f"attempt-{number} belongs to an agent on {owner.host}, which may be running: left alone",
                )
            )
        elif _alive(owner, identity) and identity.job_id is not None and owner.job_id == identity.job_id:
            # The scheduler lost contact to the node for a while and restarted the job: its first start still runs.
            if owner.pid is not None:
                send(owner.pid, signal.SIGKILL)
            killed = _kill(owner)
            close_as_lost(
                folder, owner, "job_restarted", "the job was restarted on this host", "the restarted agent", killed
            )
            text = f"attempt-{number} was still running in an earlier start of this job: killed its agent and "
            notes.append(Note("earlier_start_killed", f"{text}{len(killed)} other processes"))
        elif _alive(owner, identity):
            notes.append(
                Note(
                    "owner_running",
                    f"attempt-{number} is being executed by process {owner.pid} of this host: left alone",
                )
            )
        else:
            killed = _kill(owner)
            reason = f"the agent (process {owner.pid}) died"
            close_as_lost(folder, owner, "agent_died", reason, "the next agent", killed)
            notes.append(
                Note(
                    "closed_as_lost",
                    f"attempt-{number}: its agent died; closed as lost, killed {len(killed)} processes",
                )
            )
    return notes


def record_server(folder: AttemptFolder, member: Member, container_runtime: str | None = None) -> None:
    """Add the server's process to owner.json, so that the next agent can find what is left of it. Raises OSError."""
    owner = read_record(folder.path / OWNER_FILE, OwnerRecord) or OwnerRecord()
    write_record(folder.path / OWNER_FILE, replace(owner, server=member, container_runtime=container_runtime))


def _kill(owner: OwnerRecord) -> list[str]:
    """Kill what is left of an attempt whose agent is dead, and remove its container. Return the killed processes."""
    killed = kill_attempt(str(owner.token), _server_of(owner))
    if owner.container_runtime is not None:
        # The command is the runtime's own: nothing that a file contains is executed.
        with contextlib.suppress(ContainerError):
            clean_up(get_runtime(owner.container_runtime).cleanup_argv(container_name(str(owner.token))))
    return killed


def _server_of(owner: OwnerRecord) -> list[Member]:
    return [owner.server] if owner.server is not None and owner.boot_id == boot_id() else []


def _alive(owner: OwnerRecord, identity: Identity) -> bool:
    return owner.boot_id == identity.boot_id and process_lives(owner.pid, owner.started_ticks)


def _last_phase(folder: Path) -> Phase | None:
    """Return the last phase that the dead agent recorded; None: it recorded none."""
    try:
        lines = (folder / EVENTS_FILE).read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if b'"kind":"phase_entered"' in line:
            try:
                return Phase(json.loads(line)["phase"])
            except (ValueError, KeyError):  # an incomplete line: the agent was killed while it wrote it
                continue
    return None


def close_as_lost(folder: Path, owner: OwnerRecord, code: str, reason: str, decided_by: str, killed: list[str]) -> None:
    """Write exit.json for an attempt whose agent is dead. Its events are left as they are. Raises OSError."""
    record = ExitRecord(
        attempt=int(folder.name.removeprefix("attempt-")),
        outcome=OutcomeKind.LOST,
        phase=_last_phase(folder),
        code=code,
        reason=reason,
        decided_by=decided_by,
        hint=LOST_HINT,
        evidence=[],
        killed=killed,
        ended_at=time.time(),
        host=owner.host,
        job_id=owner.job_id,
    )
    write_record(folder / EXIT_FILE, record)
