"""What the team of agents of one server needs of its attempt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.launchers.base import Launcher
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.record.journal import Journal
from hpcsweep.node.watch.inbox import Inbox
from hpcsweep.spec.job import RunSpec
from hpcsweep.spec.phases import Phase


@dataclass(frozen=True)
class TeamContext:
    """What a team needs of its attempt. `nodes`: of the job that the server spans, that of this agent first.

    `warn`: records a warning with its code and text. `phase`: returns that of the first node, and so of the attempt.
    """

    run: RunSpec
    job_dir: Path
    attempt_dir: Path
    nodes: Sequence[str]
    launcher: Launcher
    env: Mapping[str, str]
    inbox: Inbox
    journal: Journal
    clock: Clock
    not_server_pids: set[int]
    warn: Callable[[str, str], None]
    phase: Callable[[], Phase]
