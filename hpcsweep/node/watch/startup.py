"""Wait until a server is ready, within the budgets of the startup and of its phases."""

from hpcsweep.node.watch.inbox import ProbeResult
from hpcsweep.node.watch.outcome import Ended, startup_timeout, unready
from hpcsweep.node.watch.probe import Prober, Target, port_owner
from hpcsweep.node.watch.supervisor import Supervisor
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.phases import Phase

_PROBE_EVERY_S = 1.0  # attempt seconds
_PROBE_AT_LEAST_S = 0.05  # real seconds


def wait_until_ready(supervisor: Supervisor, target: Target, budgets: Budgets) -> None:
    """Return when the server is ready: running, healthy, ours, with the right model, and able to generate a token.

    Raises Ended: the server exited or is stuck, a budget was exceeded, or the job has to stop.
    """
    clock = supervisor.clock
    begun_s = supervisor.entered_s
    prober = Prober(
        target,
        lambda port: port_owner(port, lambda: [process.pid for process in supervisor.processes()]),
        supervisor.inbox.put,
        every_s=max(clock.real(_PROBE_EVERY_S), _PROBE_AT_LEAST_S),
        request_timeout_s=clock.real(budgets.request) + 1,
    )
    last = ProbeResult(None, "")
    try:
        while True:
            supervisor.probing = prober.in_flight
            supervisor.pump()
            messages, supervisor.pending = supervisor.pending, []
            for message in messages:
                if isinstance(message, ProbeResult):
                    if message.ready_at_s is not None:
                        _ready(supervisor, begun_s, message.ready_at_s, message.first_token_s)
                        return
                    _not_ready(supervisor, message, last)
                    last = message
            _check_budgets(supervisor, budgets, begun_s)
    except Ended as ended:
        raise Ended(unready(ended.verdict, last.problem, last.hint, healthy=last.healthy_at_s is not None)) from ended
    finally:
        supervisor.probing = False
        prober.stop()


def over_budget(budgets: Budgets, phase: Phase, in_phase_s: float, since_start_s: float) -> tuple[str, float] | None:
    """Return name and seconds of the exceeded budget; None: none. A phase's budget is checked before the startup's."""
    phase_s = budgets.phases.get(phase.value)
    if phase_s is not None and in_phase_s > phase_s:
        return phase.value, phase_s
    return ("startup", budgets.startup) if since_start_s > budgets.startup else None


def _not_ready(supervisor: Supervisor, result: ProbeResult, last: ProbeResult) -> None:
    """Record the problem of a server that answers, and count its answer as progress."""
    if result.healthy_at_s is None:
        return
    supervisor.answered(result.healthy_at_s)
    if result.problem != last.problem:
        supervisor.fact("readiness_problem", result.problem, source="readiness check")


def _check_budgets(supervisor: Supervisor, budgets: Budgets, begun_s: float) -> None:
    now_s, phase = supervisor.clock.t_s(), supervisor.phase
    over = over_budget(budgets, phase, now_s - supervisor.entered_s, now_s - begun_s)
    if over is None:
        return
    idle_s = supervisor.idle_s()
    supervisor.diagnose()
    raise Ended(startup_timeout(phase, *over, idle_s, supervisor.reader.last_lines))


def _ready(supervisor: Supervisor, begun_s: float, ready_at_s: float, first_token_s: float | None) -> None:
    ready_s = supervisor.clock.t_s(ready_at_s)
    unseen = supervisor.reader.unseen_phases()
    supervisor.journal.event("server_ready", t_s=ready_s, startup_s=ready_s - begun_s, unseen_phases=unseen)
    supervisor.enter(Phase.READY, t_s=ready_s)
    if first_token_s is not None:
        supervisor.fact("first_token_s", supervisor.clock.scaled(first_token_s), "s")
