"""What ended an attempt: from an exit code, the log and the rule that fired to one outcome. Pure."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcsweep.engines.logs.reader import FailureSeen
from hpcsweep.node.process.signals import Stop
from hpcsweep.node.watch.stall_cause import StallFinding
from hpcsweep.spec.phases import OutcomeKind, Phase, StallCause
from hpcsweep.units import format_bytes, format_duration

EVIDENCE_LINES = 12
_USAGE_ERROR = 2


@dataclass(frozen=True)
class AttemptVerdict:
    """An outcome with what a person needs to believe it.

    `exit_code`: of the server; None: it did not end by itself. `cause`: of a stall; None: another outcome.
    """

    kind: OutcomeKind
    reason: str
    decided_by: str
    hint: str = ""
    evidence: tuple[str, ...] = ()
    exit_code: int | None = None
    cause: StallCause | None = None


class Ended(Exception):
    """The attempt is over before its workloads are; carries the verdict."""

    def __init__(self, verdict: AttemptVerdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def exit_text(exit_code: int) -> str:
    """`exit code 1`, or `SIGKILL` for a process that a signal ended."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


_STOP_HINTS = {
    OutcomeKind.WALLTIME: "what was measured is kept; `hpcsweep retry --walltime` asks for more time",
    OutcomeKind.PREEMPTED: "what was measured is kept; `hpcsweep retry` runs what is missing",
}


def stopped(stop: Stop, exit_code: int | None = None) -> AttemptVerdict:
    """The attempt was ended from outside. `exit_code`: of the server, where it had ended by itself."""
    return AttemptVerdict(stop.kind, stop.reason, stop.decided_by, _STOP_HINTS.get(stop.kind, ""), exit_code=exit_code)


def server_exited(
    exit_code: int, phase: Phase, failure: FailureSeen | None, last_lines: Sequence[str]
) -> AttemptVerdict:
    """The server ended although nobody asked it to. What its log says of the cause counts more than the exit code."""
    by = exit_text(exit_code)
    told = (failure.evidence,) if failure else ()
    evidence = told + tuple(line for line in last_lines[-EVIDENCE_LINES:] if line not in told)
    if failure is not None:
        decided_by = f"{failure.decided_by}, {by}" if failure.decided_by else f"{by}, and its log"
        reason = f"the server ended in phase {phase.value}: {failure.words}"
        return AttemptVerdict(failure.outcome, reason, decided_by, failure.hint, evidence, exit_code)
    if exit_code == _USAGE_ERROR and phase is Phase.LAUNCH:
        reason = "the server refused its command line"
        return AttemptVerdict(OutcomeKind.BAD_ARGUMENTS, reason, by, "server.log has its words", evidence, exit_code)
    hint = "server.log has its last words"
    if exit_code == -signal.SIGKILL:
        hint = "somebody killed it: often the kernel, for want of main memory (dmesg); ask for more memory"
    reason = f"the server ended in phase {phase.value} with {by}"
    return AttemptVerdict(OutcomeKind.CRASHED, reason, by, hint, evidence, exit_code)


def engine_died(phase: Phase, failure: FailureSeen, last_lines: Sequence[str]) -> AttemptVerdict:
    """The server's front end lives, but its log says that the engine behind it is dead."""
    reason = f"the engine died in phase {phase.value}, its front end answers with errors: {failure.words}"
    rest = tuple(line for line in last_lines[-EVIDENCE_LINES:] if line != failure.evidence)
    return AttemptVerdict(failure.outcome, reason, "the server's log", failure.hint, (failure.evidence, *rest))


def stalled(
    phase: Phase, idle_s: float, budget_s: float, found: StallFinding, how: str, last_lines: Sequence[str]
) -> AttemptVerdict:
    """No progress for the whole stall budget. `how`: how it was confirmed; empty: the server was idle."""
    confirmed = f" ({how})" if how else ""
    reason = f"no progress for {format_duration(idle_s)} in phase {phase.value}: {found.sentence}{confirmed}"
    hint = "diagnostics/ has the stacks of each process; budgets.stall is the time allowed without progress"
    return AttemptVerdict(
        OutcomeKind.STALLED,
        reason,
        f"budget stall ({format_duration(budget_s)})",
        hint,
        tuple(last_lines[-EVIDENCE_LINES:]),
        cause=found.cause,
    )


def startup_timeout(
    phase: Phase, budget_name: str, budget_s: float, idle_s: float, last_lines: Sequence[str]
) -> AttemptVerdict:
    """The startup, or one of its phases, took longer than its budget, though the server was alive."""
    reason = (
        f"not ready: the budget of {budget_name} ({format_duration(budget_s)}) is over in phase {phase.value}; "
        f"the last progress was {format_duration(idle_s)} ago"
    )
    name = "budgets.startup" if budget_name == "startup" else f"budgets.phases.{budget_name}"
    hint = f"it was slow, not stuck: a larger {name}, a warmer compile cache, or on_startup_timeout: retry_warm"
    return AttemptVerdict(
        OutcomeKind.STARTUP_TIMEOUT,
        reason,
        f"budget {budget_name} ({format_duration(budget_s)})",
        hint,
        tuple(last_lines[-EVIDENCE_LINES:]),
    )


_PERHAPS_OUT_OF_MEMORY = frozenset(
    {OutcomeKind.CRASHED, OutcomeKind.FAILED, OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT}
)


def out_of_host_memory(verdict: AttemptVerdict, kills: int, limit_bytes: int | None) -> AttemptVerdict:
    """The verdict when the kernel killed `kills` processes of the job for want of memory while the server ran.

    `limit_bytes`: of the job's cgroup; None: not known. An outcome that says more, or came from outside, stays.
    """
    if not kills or verdict.kind not in _PERHAPS_OUT_OF_MEMORY:
        return verdict
    limit = f" (limit {format_bytes(limit_bytes)})" if limit_bytes is not None else ""
    reason = f"out of host memory: the kernel killed {kills} process{'' if kills == 1 else 'es'} of the job{limit}; "
    return replace(
        verdict,
        kind=OutcomeKind.OUT_OF_MEMORY,
        reason=reason + verdict.reason,
        decided_by=f"oom_kill of the job's cgroup, {verdict.decided_by}",
        hint="ask for more main memory of the node: `memory` in resources or in the cluster profile",
    )


_NEVER_READY = frozenset({OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT})


def unready(verdict: AttemptVerdict, problem: str, hint: str, *, healthy: bool) -> AttemptVerdict:
    """Add the last readiness problem to the verdict on a server that never became ready; others stay as they are.

    `problem` empty: none is known. `healthy`: the server answered the checks, so that more time would not help.
    """
    if not problem or verdict.kind not in _NEVER_READY:
        return verdict
    reason = f"{verdict.reason}; the last readiness check failed: {problem}"
    evidence = (*verdict.evidence, f"readiness: {problem}")
    if healthy:
        hint = hint or "it answers, so more time does not help: see what server.log says about this request"
    return replace(verdict, reason=reason, evidence=evidence, hint=hint or verdict.hint)


TIMEOUT_CAUSES = frozenset({"request_timeout", "token_timeout"})
"""Causes of a failed request that are a budget of ours."""


def client_ended(workload: str, exit_code: int | None, last_lines: Sequence[str]) -> AttemptVerdict:
    """The load client ended before its workload did. Its last words (`Error: ...`, `hint: ...`) are the reason."""
    told = {key: text for line in last_lines for key, colon, text in [line.partition(": ")] if colon}
    reason = f"the load client ended with exit code {exit_code} before workload {workload} was done"
    if "Error" in told:
        reason = f"the load client could not do workload {workload}: {told['Error']}"
    hint = told.get("hint", "client.log tells more")
    return AttemptVerdict(OutcomeKind.FAILED, reason, "the load client", hint, tuple(last_lines))


def workload_failed(workload: str, failures: Mapping[str, int], details: Sequence[str]) -> AttemptVerdict:
    """Every request of a workload failed while the server was alive."""
    total = sum(failures.values())
    listed = ", ".join(f"{cause} ({number})" for cause, number in sorted(failures.items(), key=lambda x: -x[1]))
    timeouts = sum(number for cause, number in failures.items() if cause in TIMEOUT_CAUSES)
    evidence = tuple(dict.fromkeys(details))[:EVIDENCE_LINES]
    if total and timeouts * 2 > total:
        reason = f"all {total} requests of workload {workload} failed, most by our timeout: {listed}"
        hint = "budgets.request and budgets.token are the times allowed"
        return AttemptVerdict(OutcomeKind.REQUEST_TIMEOUT, reason, "budgets request and token", hint, evidence)
    reason = f"all {total} requests of workload {workload} failed: {listed or 'none was sent'}"
    return AttemptVerdict(
        OutcomeKind.FAILED, reason, "no request succeeded", "client.log and the samples tell more", evidence
    )
