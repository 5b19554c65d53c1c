"""How the commands of a preparation end when the scheduler signals the whole job."""

import threading
import time

import pytest

from hpcsweep.node.identity import Identity
from hpcsweep.node.prepare.commands import run_commands
from hpcsweep.node.process.signals import Stop
from hpcsweep.node.record.folders import create_attempt
from hpcsweep.spec.phases import OutcomeKind

CANCEL = Stop(OutcomeKind.CANCELLED, "the job was cancelled", "SIGTERM", "cancelled")


@pytest.mark.parametrize(
    ("commands", "signalled_after_s", "outcome"),
    [
        ("kill -TERM $$", 0.3, OutcomeKind.CANCELLED),
        ("echo caught >&2; exit 1", 0.3, OutcomeKind.CANCELLED),
        ("exit 3", None, OutcomeKind.FAILED),
        ("exit 0", 0.3, None),
    ],
)
def test_commands_that_end_before_the_agent_is_signalled(tmp_path, commands, signalled_after_s, outcome):
    script = tmp_path / "commands.sh"
    script.write_text(commands)
    folder = create_attempt(tmp_path, 0, Identity("7", "node1", "boot", 1, 1, 0))
    signal_at_s = None if signalled_after_s is None else time.monotonic() + signalled_after_s

    def check_stop():
        return CANCEL if signal_at_s is not None and time.monotonic() >= signal_at_s else None

    end = run_commands(
        script, {"PATH": "/usr/bin:/bin"}, folder, hidden=(), in_session=True, not_ours=(),
        check_stop=check_stop, wake=threading.Event(),
    )  # fmt: skip
    assert (end.verdict.kind if end.verdict is not None else None) is outcome
