"""The agent with real processes: one case for every outcome that a node can produce."""

import os
import re
import signal
from dataclasses import dataclass, field
from typing import Any

import pytest
from agent_job import Job


@dataclass
class Case:
    outcome: str
    profile: dict[str, Any] = field(default_factory=dict)
    budgets: dict[str, Any] = field(default_factory=dict)
    phase: str | None = None
    code: str = ""
    reason: str = ""
    decided_by: str = ""
    diagnostics: bool = False
    cause: str | None = None


ENDED_BY_THEMSELVES = {
    "all workloads answered": Case("completed", phase="measure", code="completed"),
    "every request is an error": Case(
        "failed",
        {"faults": [{"kind": "error"}]},
        phase="measure",
        code="all_requests_failed",
        reason=r"http_error \(3\)",
    ),
    "full GPU": Case("out_of_memory", {"faults": [{"kind": "out_of_memory"}]}, phase="kv_cache", reason="OutOfMemory"),
    "usage error without a known text": Case(
        "bad_arguments",
        {"faults": [{"kind": "crash", "phase": "launch", "message": "usage: vllm serve [-h]", "exit_code": 2}]},
        phase="launch",
        code="server_rejected_arguments",
        decided_by="exit code 2",
    ),
    "model missing, as the engine says": Case(
        "model_not_found",
        {
            "faults": [
                {
                    "kind": "crash",
                    "phase": "launch",
                    "message": "OSError: some/model is not a local folder and is not a valid model identifier listed "
                    "on 'https://huggingface.co/models'",
                }
            ]
        },
    ),
    "port taken, as the engine says": Case(
        "port_in_use",
        {"faults": [{"kind": "crash", "phase": "launch", "message": "OSError: [Errno 98] Address already in use"}]},
    ),
    "dies while loading": Case(
        "crashed", {"faults": [{"kind": "crash"}]}, phase="load_weights", decided_by="exit code 1"
    ),
    "dies in the middle of an answer": Case(
        "crashed",
        {"faults": [{"kind": "exit", "only": [2], "exit_code": 3}]},
        phase="measure",
        # By its exit code, or by the line in its log that says so, whichever is seen first.
    ),
    "killed by a signal": Case(
        "crashed",
        {"faults": [{"kind": "exit", "only": [1], "exit_code": -9, "message": "x"}]},
        phase="measure",
        code="server_killed",
        decided_by="SIGKILL",
    ),
    "silent in compile": Case(
        "stalled",
        {"startup": {"compile": 30}, "faults": [{"kind": "stall", "phase": "compile"}]},
        phase="compile",
        decided_by="budget stall",
        diagnostics=True,
        cause="idle",
    ),
    "busy, but stuck in compile": Case(
        "stalled",
        {"startup": {"compile": 30}, "faults": [{"kind": "stall", "phase": "compile", "busy": True}]},
        {"startup": 4000},
        phase="compile",
        code="stalled_busy_wait",
        reason=r"busy_wait \(hpcsweep/simulator/ranks.py\)",
        diagnostics=True,
        cause="busy_wait",
    ),
    "one rank stopped, one busy": Case(
        "stalled",
        {"startup": {"compile": 30}, "faults": [{"kind": "rank_stuck"}]},
        {"startup": 4000},
        phase="compile",
        reason=r"rank TP1 \(pid \d+, node \S+\) has been in state T \(stopped\) .*the other rank, TP0, ",
        cause="rank_stuck",
    ),
    "one rank of four sleeps": Case(
        "stalled",
        {"faults": [{"kind": "rank_stuck", "phase": "load_weights", "ranks": 4, "rank": 2, "how": "sleeping"}]},
        {"startup": 4000},
        phase="load_weights",
        reason=r"rank TP2 \(.* in state S \(sleeping\).* in load_shard .*the other 3 ranks busy-wait for it",
        cause="rank_stuck",
    ),
    "one rank loops while it starts: it could be a computation": Case(
        "stalled",
        {"startup": {"compile": 30}, "faults": [{"kind": "rank_stuck", "how": "looping"}]},
        {"startup": 4000, "busy_stall": 100},
        phase="compile",
        reason=r"rank TP1 .* in step .*not confirmed by its stacks \(busy in a function.*busy_stall",
        cause="rank_stuck",
    ),
    "only noise in the log": Case(
        "stalled",
        {"faults": [{"kind": "stall", "phase": "profile", "noise": True}]},
        phase="profile",
        decided_by="budget stall",
        cause="idle",
    ),
    "slow but alive, over the startup budget": Case(
        "startup_timeout",
        {"startup": {"compile": 30}, "faults": [{"kind": "slow", "phase": "compile"}]},
        {"startup": 250, "stall": 100},
        phase="compile",
        code="startup_budget_exceeded",
        decided_by="budget startup",
        diagnostics=True,
    ),
    "slow but alive, over the budget of its phase": Case(
        "startup_timeout",
        {"faults": [{"kind": "slow", "phase": "load_weights", "cpu": False, "log": True}]},
        {"phases": {"load_weights": 150}},
        phase="load_weights",
        code="phase_budget_exceeded",
        decided_by="budget load_weights",
    ),
    "slow, alive, and ready in time": Case(
        "completed",
        {"startup": {"compile": 30}, "faults": [{"kind": "slow", "phase": "compile", "extra_s": 200}]},
        {"stall": 100},
    ),
    "serves another model": Case(
        "startup_timeout", {"faults": [{"kind": "wrong_model"}]}, {"startup": 80}, code="startup_budget_exceeded"
    ),
    "answers hang": Case(
        "request_timeout",
        {"faults": [{"kind": "hang"}]},
        {"token": 20},
        phase="measure",
        code="all_requests_timed_out",
        reason="token_timeout",
    ),
    "answers hang, while the gauges say that nothing runs": Case(
        "stalled",
        {"faults": [{"kind": "hang"}]},
        {"stall": 100, "token": 5000, "request": 5000},
        phase="measure",
        decided_by="budget stall",
        cause="requests_stuck",
    ),
    "one of three requests hangs": Case("completed", {"faults": [{"kind": "hang", "only": [2]}]}, {"token": 20}),
}


@pytest.mark.parametrize("case", ENDED_BY_THEMSELVES.values(), ids=ENDED_BY_THEMSELVES.keys())
def test_outcome(job: Job, case: Case):
    job.write(job.run_spec(profile=case.profile, budgets=case.budgets))
    code, err = job.execute()
    ended = job.ended()
    assert ended["outcome"] == case.outcome, (ended, err)
    assert code == 0
    assert case.phase in (None, ended["phase"])
    assert case.code in ("", ended["code"])
    assert case.decided_by in ended["decided_by"]
    assert re.search(case.reason, ended["reason"]), ended["reason"]
    assert ended["cause"] == case.cause
    last = job.events()[-1]
    assert (last.kind, last.outcome.value) == ("attempt_ended", case.outcome)
    assert [event.seq for event in job.events()] == list(range(len(job.events())))
    assert job.left_processes() == []
    if case.diagnostics:
        assert {p.name for p in (job.attempt_dir() / "diagnostics").iterdir()} >= {"processes.txt", "last_lines.txt"}


def test_a_stall_is_declared_before_its_diagnostics_and_a_cancel_cuts_them_short(job: Job, tmp_path):
    """A tool may hang (nvidia-smi does, on a lost GPU): the verdict does not wait for it, nor does a cancel."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("nvidia-smi", "ss"):
        (tools / name).write_text("#!/bin/sh\nexec sleep 600\n")
        (tools / name).chmod(0o755)
    job.write(
        job.run_spec(
            profile={"startup": {"compile": 30}, "faults": [{"kind": "stall", "phase": "compile"}]},
            budgets={"stall": 100},
        )
    )
    agent = job.start({"PATH": f"{tools}:{os.environ['PATH']}"})
    while not any(fact.name == "stall_declared_after_s" for fact in job.of_kind("fact")):
        job.wait_for_event("progress")
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=15)  # far less than the tools' own time
    assert job.ended()["outcome"] == "stalled"
    sockets = (job.attempt_dir() / "diagnostics" / "sockets.txt").read_text()
    assert "timed out" in sockets or "out of time" in sockets
    assert job.left_processes() == []
