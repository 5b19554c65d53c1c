"""Write the files of an attempt besides its events: run.json and command.txt at the start, exit.json last."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from hpcsweep.containers.launch import node_command
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.identity import Identity
from hpcsweep.node.process.gpus import Gpus, visible_names
from hpcsweep.node.record.folders import AttemptFolder
from hpcsweep.node.record.journal import Journal
from hpcsweep.node.records import EXIT_FILE, write_json, write_record
from hpcsweep.node.setup.environment import command_text, shown_environment
from hpcsweep.node.setup.preparation import PreparedLaunch, versions
from hpcsweep.node.watch.outcome import AttemptVerdict
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import RunSpec
from hpcsweep.spec.phases import Phase
from hpcsweep.spec.records import CONTAINER_KEY, RUN_FILE, ExitRecord
from hpcsweep.spec.secret_values import masked_env


class AttemptRecord:
    """Writes the records at the start and the end of one attempt."""

    def __init__(
        self, run: RunSpec, budgets: Budgets, folder: AttemptFolder, identity: Identity, journal: Journal, clock: Clock
    ) -> None:
        self._run, self._budgets, self._folder = run, budgets, folder
        self._identity, self._journal, self._clock = identity, journal, clock
        self.nodes: list[str] = []
        """All nodes of a server on several nodes; empty: it runs on the host of this agent."""

    def started(
        self, prepared: PreparedLaunch | None, server_env: Mapping[str, str], gpus: Gpus, env: Mapping[str, str]
    ) -> None:
        """Write the attempt's first event, run.json and command.txt. `prepared` None: nothing to start.

        `server_env`: variables that were set for the server, without secrets. Raises OSError.
        """
        run, identity, states = self._run, self._identity, gpus.states()
        self._journal.event(
            "attempt_started",
            host=identity.host,
            nodes=self.nodes,
            pid=identity.pid,
            job_id=identity.job_id,
            restart_count=identity.restart_count,
            engine=run.server.engine,
            simulated=run.simulation is not None,
            time_scale=self._clock.scale,
            gpus=visible_names(env) or [state.uuid for state in states],
            gpu_name=states[0].name if states else None,
            argv=list(prepared.launch.argv) if prepared else [],
            env=dict(server_env),
            versions=versions(prepared.version if prepared else None, run.server.engine, gpus),
        )
        server = run.server.model_copy(update={"env": masked_env(run.server.env)})
        record = run.model_copy(update={"server": server}).model_dump(mode="json") | {"attempt": self._folder.number}
        launch = prepared.container.launch if prepared is not None and prepared.container is not None else None
        record |= {CONTAINER_KEY: launch.model_dump(mode="json")} if launch is not None else {}
        write_json(self._folder.path / RUN_FILE, record | {"budgets": self._budgets.model_dump(mode="json")})
        if prepared is not None:
            shown = shown_environment(server_env, run.exports)
            command = (
                prepared.command(shown, ())
                if prepared.mpi is not None
                else node_command(launch, prepared.launch.whole_argv, shown, shown, host={})
            )
            text = command_text(command.argv, command.environment)
            (self._folder.path / "command.txt").write_text(text, encoding="utf-8")

    def ended(self, verdict: AttemptVerdict, phase: Phase | None, exit_code: int | None, killed: list[str]) -> None:
        """Write the attempt's last event, then exit.json. `phase` None: no server was started."""
        fields: dict[str, Any] = {
            "outcome": verdict.kind,
            "phase": phase,
            "code": verdict.code,
            "reason": verdict.reason,
            "cause": verdict.cause.value if verdict.cause is not None else None,
            "decided_by": verdict.decided_by,
            "evidence": list(verdict.evidence),
            "exit_code": exit_code,
            "hint": verdict.hint,
            "killed": killed,
            "node": verdict.node or None,
        }
        self._journal.event("attempt_ended", **fields)
        self._journal.close()
        self.say(f"{verdict.kind.value}: {verdict.reason}")
        record = ExitRecord(
            run_id=self._run.run_id,
            attempt=self._folder.number,
            **fields,
            t_s=self._clock.t_s(),
            ended_at=time.time(),
            host=self._identity.host,
            job_id=self._identity.job_id,
        )
        try:
            write_record(self._folder.path / EXIT_FILE, record)
        except OSError as exc:  # the events and the scheduler's accounting still have the outcome
            self.say(f"exit.json could not be written: {exc}")

    def say(self, text: str) -> None:
        """Print a progress line to the job's output."""
        stamp = time.strftime("%H:%M:%S")
        print(f"[{stamp}] {self._run.label} attempt-{self._folder.number}: {text}", file=sys.stderr, flush=True)  # noqa: T201
