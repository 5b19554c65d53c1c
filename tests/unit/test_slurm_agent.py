"""What the agent reads when Slurm ends its job; rows as recorded on 22.05.8 at the moment of the SIGTERM."""

import pytest

from hpcsweep.node.process.signals import meaning
from hpcsweep.schedulers.slurm.output import read_own_state
from hpcsweep.spec.phases import OutcomeKind

ROWS = [
    pytest.param("COMPLETING|0|N/A|2026-11-21T04:18:56|\n", 0, "COMPLETING", "cancelled", id="scancel"),
    pytest.param("COMPLETING|1|N/A|2026-11-21T04:22:01|\n", 0, "REQUEUED", "preempted", id="scontrol requeue"),
    pytest.param(
        "COMPLETING|0|2026-11-21T04:19:24|2026-11-21T04:18:56|\n", 0, "PREEMPTED", "preempted", id="preempted"
    ),
    pytest.param(
        "COMPLETING|1|2026-11-21T04:19:24|2026-11-21T04:22:24|\n", 0, "REQUEUED", "preempted", id="preempted, requeued"
    ),
    pytest.param("COMPLETING|1|N/A|2026-11-21T04:18:56|\n", 1, "COMPLETING", "cancelled", id="scancel, second life"),
    pytest.param(
        "COMPLETING|1|2026-11-21T04:19:24|2026-11-21T04:22:24|\n", 1, "COMPLETING", "cancelled", id="preempted before"
    ),
    pytest.param("RUNNING|0|N/A|2026-11-21T04:18:56|\n", 0, "RUNNING", "cancelled", id="still running"),
    pytest.param("", 0, "", "cancelled", id="no answer"),
    pytest.param("slurm_load_jobs error", 0, "", "cancelled", id="another form"),
]


@pytest.mark.parametrize(("text", "restarts", "state", "outcome"), ROWS)
def test_why_a_sigterm_came(text: str, restarts: int, state: str, outcome: str) -> None:
    assert read_own_state(text, restarts) == state
    stop = meaning(15, walltime_near=False, cancel_asked=False, job_state=state)
    assert stop.kind is OutcomeKind(outcome)
