"""Decide how an attempt ended, from an exit code, the server's log and the rule that applied. Pure.

Every verdict has a stable `code` beside its sentence: scripts and tests use the code, and the wording may change.
"""

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
    """An outcome and its justification.

    `code`: stable snake_case name of the reason. `exit_code`: of the server; None: it did not exit by itself. `cause`:
    of a stall; None: another outcome. `node`: the node at fault; empty: the only one, or unknown.
    """

    kind: OutcomeKind
    code: str
    reason: str
    decided_by: str
    hint: str = ""
    evidence: tuple[str, ...] = ()
    exit_code: int | None = None
    cause: StallCause | None = None
    node: str = ""


class Ended(Exception):
    """The attempt ended before its workloads did; carries the verdict."""

    def __init__(self, verdict: AttemptVerdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def exit_text(exit_code: int) -> str:
    """Return `exit code 1`, or `SIGKILL` for a process that was ended by a signal."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


_STOP_HINTS = {
    OutcomeKind.WALLTIME: "samples measured so far are saved; `hpcsweep retry --walltime` requests more time",
    OutcomeKind.PREEMPTED: "samples measured so far are saved; `hpcsweep retry` runs what is missing",
}


def stopped(stop: Stop, exit_code: int | None = None) -> AttemptVerdict:
    """Return the verdict on an attempt ended from outside. `exit_code`: of a server that had exited by itself."""
    return AttemptVerdict(
        stop.kind, stop.code, stop.reason, stop.decided_by, _STOP_HINTS.get(stop.kind, ""), exit_code=exit_code
    )


def server_exited(
    exit_code: int, phase: Phase, failure: FailureSeen | None, last_lines: Sequence[str]
) -> AttemptVerdict:
    """Return the verdict on a server that exited unasked. A cause in its log takes precedence over the exit code."""
    exited_with = exit_text(exit_code)
    first = (failure.evidence,) if failure else ()
    evidence = first + tuple(line for line in last_lines[-EVIDENCE_LINES:] if line not in first)
    if failure is not None:
        decided_by = f"{failure.decided_by}, {exited_with}" if failure.decided_by else f"{exited_with}, and its log"
        reason = f"the server exited in phase {phase.value}: {failure.words}"
        return AttemptVerdict(
            failure.outcome,
            failure.code or "server_exited_with_error",
            reason,
            decided_by,
            failure.hint,
            evidence,
            exit_code,
        )
    if exit_code == _USAGE_ERROR and phase is Phase.LAUNCH:
        return AttemptVerdict(
            OutcomeKind.BAD_ARGUMENTS, "server_rejected_arguments", "the server rejected its command line", exited_with,
            "server.log has the error message", evidence, exit_code,
        )  # fmt: skip
    code, hint = "server_exited", "server.log has its last lines"
    if exit_code == -signal.SIGKILL:
        code = "server_killed"
        hint = "SIGKILL often comes from the kernel's OOM killer (see dmesg); request more memory"
    reason = f"the server exited in phase {phase.value} with {exited_with}"
    return AttemptVerdict(OutcomeKind.CRASHED, code, reason, exited_with, hint, evidence, exit_code)


def engine_died(phase: Phase, failure: FailureSeen, last_lines: Sequence[str], *, starting: bool) -> AttemptVerdict:
    """Return the verdict on a server that is running, but whose log reports that the engine has died.

    `starting`: it was not ready yet, and did not exit by itself.
    """
    state = "its process does not exit" if starting else "its front end is running and returns errors"
    reason = f"the engine died in phase {phase.value}; {state}: {failure.words}"
    rest = tuple(line for line in last_lines[-EVIDENCE_LINES:] if line != failure.evidence)
    return AttemptVerdict(
        failure.outcome,
        failure.code or "engine_died",
        reason,
        "the server's log",
        failure.hint,
        (failure.evidence, *rest),
    )


def stalled(
    phase: Phase, idle_s: float, budget_s: float, finding: StallFinding, confirmed_by: str, last_lines: Sequence[str]
) -> AttemptVerdict:
    """Return the verdict on a server without progress for the stall budget.

    `confirmed_by`: how the stall of a busy server was confirmed; empty: the server was idle.
    """
    confirmation = f" ({confirmed_by})" if confirmed_by else ""
    reason = f"no progress for {format_duration(idle_s)} in phase {phase.value}: {finding.sentence}{confirmation}"
    return AttemptVerdict(
        OutcomeKind.STALLED,
        f"stalled_{finding.cause.value}",
        reason,
        f"budget stall ({format_duration(budget_s)})",
        "diagnostics/ has the stacks of each process; budgets.stall is the time allowed without progress",
        tuple(last_lines[-EVIDENCE_LINES:]),
        cause=finding.cause,
        node=next((use.node for use in finding.odd), ""),
    )


def startup_timeout(
    phase: Phase, budget_name: str, budget_s: float, idle_s: float, last_lines: Sequence[str]
) -> AttemptVerdict:
    """Return the verdict on a server that was running, but exceeded the budget of the startup or of one phase."""
    reason = (
        f"not ready after the {budget_name} budget of {format_duration(budget_s)}, in phase {phase.value}; "
        f"the last progress was {format_duration(idle_s)} ago"
    )
    name = "budgets.startup" if budget_name == "startup" else f"budgets.phases.{budget_name}"
    return AttemptVerdict(
        OutcomeKind.STARTUP_TIMEOUT,
        "startup_budget_exceeded" if budget_name == "startup" else "phase_budget_exceeded",
        reason,
        f"budget {budget_name} ({format_duration(budget_s)})",
        f"the server was slow, not stuck: increase {name}, warm the compile cache, or set on_startup_timeout",
        tuple(last_lines[-EVIDENCE_LINES:]),
    )


_POSSIBLY_OUT_OF_MEMORY = frozenset(
    {OutcomeKind.CRASHED, OutcomeKind.FAILED, OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT}
)


def out_of_host_memory(verdict: AttemptVerdict, kills: int, limit_bytes: int | None) -> AttemptVerdict:
    """Return `verdict`, or out_of_memory when the OOM killer killed `kills` processes of the job during the attempt.

    `limit_bytes`: of the job's cgroup; None: unknown. A more specific outcome, or one from outside, is unchanged.
    """
    if not kills or verdict.kind not in _POSSIBLY_OUT_OF_MEMORY:
        return verdict
    limit = f" (limit {format_bytes(limit_bytes)})" if limit_bytes is not None else ""
    reason = f"out of host memory: the kernel killed {kills} process{'' if kills == 1 else 'es'} of the job{limit}; "
    return replace(
        verdict,
        kind=OutcomeKind.OUT_OF_MEMORY,
        code="out_of_host_memory",
        reason=reason + verdict.reason,
        decided_by=f"oom_kill of the job's cgroup, {verdict.decided_by}",
        hint="request more host memory: `memory` in resources or in the cluster profile",
    )


_NEVER_READY = frozenset({OutcomeKind.STALLED, OutcomeKind.STARTUP_TIMEOUT})


def unready(verdict: AttemptVerdict, problem: str, hint: str, *, healthy: bool) -> AttemptVerdict:
    """Add the last readiness problem to the verdict on a server that never became ready.

    `problem` empty: none is known. `healthy`: the server answered the checks, so that more time would not help.
    """
    if not problem or verdict.kind not in _NEVER_READY:
        return verdict
    reason = f"{verdict.reason}; the last readiness check failed: {problem}"
    evidence = (*verdict.evidence, f"readiness: {problem}")
    if healthy:
        hint = hint or "the server is running and answers, so more time does not help; see server.log for this request"
    return replace(verdict, reason=reason, evidence=evidence, hint=hint or verdict.hint)


TIMEOUT_CAUSES = frozenset({"request_timeout", "token_timeout"})
"""Causes of failed requests that are time limits of hpcsweep."""


def client_ended(workload: str, exit_code: int | None, last_lines: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a load client that exited early. Its last lines are `Error: ...` and `hint: ...`."""
    printed = {key: text for line in last_lines for key, colon, text in [line.partition(": ")] if colon}
    code = "load_client_exited"
    reason = f"the load client exited with code {exit_code} before workload {workload} was complete"
    if "Error" in printed:
        code, reason = "load_client_error", f"the load client could not run workload {workload}: {printed['Error']}"
    hint = printed.get("hint", "see client.log")
    return AttemptVerdict(OutcomeKind.FAILED, code, reason, "the load client", hint, tuple(last_lines))


def workload_failed(workload: str, failures: Mapping[str, int], details: Sequence[str]) -> AttemptVerdict:
    """Return the verdict on a workload without a successful request. `failures`: cause -> number."""
    total = sum(failures.values())
    listed = ", ".join(f"{cause} ({number})" for cause, number in sorted(failures.items(), key=lambda x: -x[1]))
    timeouts = sum(number for cause, number in failures.items() if cause in TIMEOUT_CAUSES)
    evidence = tuple(dict.fromkeys(details))[:EVIDENCE_LINES]
    if total and timeouts * 2 > total:
        return AttemptVerdict(
            OutcomeKind.REQUEST_TIMEOUT,
            "all_requests_timed_out",
            f"all {total} requests of workload {workload} failed, most of them by hpcsweep's own timeout: {listed}",
            "budgets request and token",
            "budgets.request and budgets.token are the time limits",
            evidence,
        )
    reason = f"all {total} requests of workload {workload} failed: {listed}"
    code = "all_requests_failed"
    if not total:
        code, reason = "no_request_sent", f"no request of workload {workload} was sent"
    return AttemptVerdict(
        OutcomeKind.FAILED, code, reason, "no request succeeded", "see client.log and the samples", evidence
    )
