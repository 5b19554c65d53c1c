"""Run the commands of a preparation, with their output in a log, until they end or the job has to stop."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.node.process.family import Family, leader_of_its_own
from hpcsweep.node.process.memory_limit import MemoryCgroup
from hpcsweep.node.process.server import Server
from hpcsweep.node.process.signals import Stop
from hpcsweep.node.record.folders import AttemptFolder, record_server
from hpcsweep.node.watch.outcome import EVIDENCE_LINES, AttemptVerdict, exit_text, out_of_host_memory
from hpcsweep.spec.phases import OutcomeKind

PREPARE_LOG = "prepare.log"
_STOP_GRACE_S = 5.0  # PBS leaves ten seconds between SIGTERM and SIGKILL
_LOOK_EVERY_S = 0.2
_SIGNAL_FOLLOWS_WITHIN_S = 1.0
"""A scheduler signals all processes of a job, and the commands can end before the agent has been signalled."""
_LONGEST_EVIDENCE = 300
"""Characters of a line that are kept: a progress bar is one line of megabytes."""


@dataclass(frozen=True)
class CommandsEnd:
    """How the commands ended. `verdict` None: with exit code 0. `killed`: processes that they had left running."""

    verdict: AttemptVerdict | None
    last_lines: tuple[str, ...]
    killed: list[str]


def run_commands(
    script: Path,
    environment: Mapping[str, str],
    folder: AttemptFolder,
    *,
    hidden: Sequence[bytes],
    in_session: bool,
    not_ours: Collection[int],
    check_stop: Callable[[], Stop | None],
    wake: threading.Event,
) -> CommandsEnd:
    """Run `script` with bash. `check_stop` is asked often; `wake` is set when a signal has arrived.

    `hidden`: values that are masked in the log. `not_ours`: children of the agent that do not belong to the commands.
    Raises OSError when bash cannot be started.
    """
    lines: deque[str] = deque(maxlen=EVIDENCE_LINES)
    family = Family(folder.token, not_ours)
    memory = MemoryCgroup()
    kills_before = memory.kills()
    process = Server(
        ["/bin/bash", str(script)], environment, folder.path, folder.token,
        lambda text, at_s: lines.append(text.strip()[:_LONGEST_EVIDENCE]),
        hidden=hidden, in_session=in_session, log_name=PREPARE_LOG,
    )  # fmt: skip
    leader = leader_of_its_own(process.pid)
    if leader is not None:
        record_server(folder, leader)
    stop: Stop | None = None
    while process.exit_code() is None and (stop := check_stop()) is None:
        pause(_LOOK_EVERY_S, wake)
    if stop is None:
        process.drain()
        stop = _late_stop(check_stop, wake) if process.exit_code() != 0 else None
    teardown = process.end(family, not_ours, _STOP_GRACE_S if stop is not None else 0.0)
    exit_code = teardown.exit_code
    verdict: AttemptVerdict | None = None
    if stop is not None:
        verdict = AttemptVerdict(stop.kind, stop.code, stop.reason, stop.decided_by)
    elif exit_code != 0:
        ended = exit_text(exit_code) if exit_code is not None else "unknown exit code"
        reason = f"{ended}: {lines[-1]}" if lines else f"{ended}, without output"
        verdict = AttemptVerdict(
            OutcomeKind.FAILED,
            "preparation_command_failed",
            reason,
            "the exit code of its commands",
            f"see {folder.path / PREPARE_LOG}; then `hpcsweep retry`",
            exit_code=exit_code,
        )
        now = memory.kills()
        kills = now - kills_before if now is not None and kills_before is not None else 0
        verdict = out_of_host_memory(verdict, kills, memory.limit_bytes())
    return CommandsEnd(verdict, tuple(lines), teardown.killed)


def _late_stop(check_stop: Callable[[], Stop | None], wake: threading.Event) -> Stop | None:
    """Return why the job has to stop, if that is what ended the commands."""
    stop = check_stop()
    if stop is None:
        pause(_SIGNAL_FOLLOWS_WITHIN_S, wake)
        stop = check_stop()
    return stop


def pause(seconds: float, wake: threading.Event) -> None:
    """Wait, or return at once when a signal has arrived."""
    wake.wait(seconds)
    wake.clear()
