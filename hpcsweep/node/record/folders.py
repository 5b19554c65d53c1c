"""Attempt folders: who takes which number, who owns it, and what became of those that were left.

The rule that keeps two lives of one job apart: an attempt's number is taken by an exclusive mkdir, and only the process
that made the folder ever writes into it. Whoever finds a folder without exit.json asks its owner.json: an owner that
is surely dead (same host, no such process, or the host was started anew) is closed as `lost`; one on another host may
live, so its folder is left alone.
"""

import json
import re
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcsweep.events.log import EVENTS_FILE
from hpcsweep.node.process.family import Member, kill_attempt
from hpcsweep.node.process.processes import recorded_process_lives, send
from hpcsweep.node.record.identity import Identity, boot_id
from hpcsweep.node.record.records import EXIT_FILE, NOT_RUN_FILE, OWNER_FILE, read_json, write_json
from hpcsweep.spec.phases import OutcomeKind

_ATTEMPT = re.compile(r"attempt-(\d+)")
_ENDED_FROM_OUTSIDE = frozenset(
    kind.value
    for kind in (
        OutcomeKind.WALLTIME,
        OutcomeKind.PREEMPTED,
        OutcomeKind.CANCELLED,
        OutcomeKind.LOST,
        OutcomeKind.NOT_RUN,
    )
)


@dataclass(frozen=True)
class AttemptFolder:
    """A folder that is ours. `token` marks all processes of the attempt."""

    path: Path
    number: int
    token: str


def attempt_numbers(run_dir: Path) -> list[int]:
    """Numbers of the attempts that have a folder, smallest first."""
    if not run_dir.is_dir():
        return []
    matches = (_ATTEMPT.fullmatch(entry.name) for entry in run_dir.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def take_attempt(run_dir: Path, attempt_offset: int, identity: Identity) -> AttemptFolder:
    """Make the next attempt's folder, above `attempt_offset` and above all that are there. Raises OSError."""
    run_dir.mkdir(parents=True, exist_ok=True)
    while True:
        number = max([attempt_offset, *attempt_numbers(run_dir)]) + 1
        path = run_dir / f"attempt-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue  # somebody was quicker: the next number is ours
        break
    token = secrets.token_hex(12)
    write_json(path / OWNER_FILE, {**identity.as_dict(), "token": token, "taken_at": time.time()})
    (run_dir / NOT_RUN_FILE).unlink(missing_ok=True)
    return AttemptFolder(path, number, token)


def ended_in_this_job(
    run_dir: Path, attempt_offset: int, job_id: str | None, restarts: int | None = None
) -> str | None:
    """The outcome with which this run already ended by itself in an earlier life of this job; None: it has to run.

    By hand (no job id, or `restarts` of this life the same as then: typed again within one allocation) a run is always
    done anew. So is one that was ended from outside: walltime, preempted, cancelled, lost. `restarts` None: the
    scheduler does not count them.
    """
    if job_id is None:
        return None
    for number in reversed(attempt_numbers(run_dir)):
        folder = run_dir / f"attempt-{number}"
        owner, ended = read_json(folder / OWNER_FILE), read_json(folder / EXIT_FILE)
        if number <= attempt_offset or owner is None or ended is None or owner.get("job_id") != job_id:
            continue
        if restarts is not None and owner.get("restart_count") == restarts:
            continue
        outcome = str(ended.get("outcome"))
        if outcome not in _ENDED_FROM_OUTSIDE:
            return outcome
    return None


def close_dead_attempts(run_dir: Path, identity: Identity) -> list[str]:
    """Close attempts of this run whose owner is dead, and end what is left of their processes here.

    Comes back with a sentence for each attempt without an end: closed, or left alone and why.
    """
    told = []
    for number in attempt_numbers(run_dir):
        folder = run_dir / f"attempt-{number}"
        if (folder / EXIT_FILE).exists():
            continue
        owner = read_json(folder / OWNER_FILE)
        if owner is None:
            told.append(f"attempt-{number} has neither owner nor end: left alone")
        elif owner.get("host") != identity.host:
            told.append(f"attempt-{number} belongs to {owner.get('host')}, which may still work on it: left alone")
        elif _alive(owner, identity) and identity.job_id is not None and owner.get("job_id") == identity.job_id:
            # The scheduler lost sight of the node for a while and started the job anew: its first life still runs.
            send(int(owner["pid"]), signal.SIGKILL)
            killed = kill_attempt(str(owner.get("token")), _server_of(owner))
            close_as_lost(folder, owner, "the job was started anew on this host", "the next life of the job", killed)
            told.append(
                f"attempt-{number} was still being worked on by this job's earlier life: stopped, {len(killed)} killed"
            )
        elif _alive(owner, identity):
            told.append(f"attempt-{number} is being worked on by process {owner.get('pid')} of this host: left alone")
        else:
            killed = kill_attempt(str(owner.get("token")), _server_of(owner))
            close_as_lost(folder, owner, f"the agent (process {owner.get('pid')}) is gone", "the next agent", killed)
            told.append(f"attempt-{number} was left by an agent that is gone: closed as lost, {len(killed)} killed")
    return told


def note_server(folder: AttemptFolder, member: Member) -> None:
    """Add the server's process to owner.json: it tells the next agent whom to look for. Raises OSError."""
    owner = read_json(folder.path / OWNER_FILE) or {}
    write_json(folder.path / OWNER_FILE, {**owner, "server": list(member)})


def _server_of(owner: dict[str, Any]) -> list[Member]:
    server = owner.get("server")
    if not isinstance(server, list) or owner.get("boot_id") != boot_id():
        return []
    return [(int(server[0]), int(server[1]), int(server[2]))]


def _alive(owner: dict[str, Any], identity: Identity) -> bool:
    return bool(owner.get("boot_id") == identity.boot_id) and recorded_process_lives(owner)


def _last_phase(folder: Path) -> str | None:
    """The phase that the dead agent recorded last; None: it came to none."""
    try:
        lines = (folder / EVENTS_FILE).read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if b'"kind":"phase_entered"' in line:
            try:
                return str(json.loads(line)["phase"])
            except (ValueError, KeyError):  # torn: the agent died in the middle of it
                continue
    return None


def close_as_lost(folder: Path, owner: dict[str, Any], reason: str, decided_by: str, killed: list[str]) -> None:
    """Write exit.json for an attempt whose agent is dead. Nothing is added to its events: they were its own."""
    ended_at = time.time()
    write_json(
        folder / EXIT_FILE,
        {
            "attempt": int(folder.name.removeprefix("attempt-")),
            "outcome": OutcomeKind.LOST.value,
            "phase": _last_phase(folder),
            "reason": reason,
            "decided_by": decided_by,
            "hint": "somebody killed the agent: the scheduler, the kernel for want of memory, or a person",
            "evidence": [],
            "exit_code": None,
            "killed": killed,
            "ended_at": ended_at,
            "host": owner.get("host"),
            "job_id": owner.get("job_id"),
        },
    )
