"""The workloads, one after the other, on a ready server: the load process runs them, the supervisor watches on."""

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpcsweep.load.client.record import TRAFFIC
from hpcsweep.load.config import LoadConfig
from hpcsweep.node.outcome import TIMEOUT_CAUSES, AttemptVerdict, Ended, client_ended, workload_failed
from hpcsweep.node.process.load_process import LoadProcess, load_log_tail
from hpcsweep.node.record.identity import tracked_by_session
from hpcsweep.node.watch.gpus import Gpus
from hpcsweep.node.watch.inbox import LoadClosed, LoadLine, MetricsSample
from hpcsweep.node.watch.metrics import Peaks, differences
from hpcsweep.node.watch.probe import Target, ask
from hpcsweep.node.watch.supervisor import Supervisor
from hpcsweep.node.watch.telemetry import MetricsPoller, look
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import PlannedWorkload, RunSpec
from hpcsweep.spec.phases import OutcomeKind, Phase

_RESET_TIMEOUT_S = 10.0
_LOAD_GRACE_S = 2.0
_SAY_EVERY_S = 5.0


class WorkloadRunner:
    """Sends every workload of a run that is not left out."""

    def __init__(
        self,
        run: RunSpec,
        budgets: Budgets,
        supervisor: Supervisor,
        target: Target,
        gpus: Gpus,
        folder: Path,
        executable: str,
        say: Callable[[str], None],
    ) -> None:
        self._run, self._budgets, self._target = run, budgets, target
        self._supervisor, self._gpus, self._folder = supervisor, gpus, folder
        self._executable, self._say = executable, say
        self._sent_any = False

    def run(self) -> AttemptVerdict:
        """Send them all. The verdict: completed, or why a workload had no success. Raises Ended."""
        supervisor = self._supervisor
        supervisor.enter(Phase.MEASURE)
        failed: AttemptVerdict | None = None
        for planned in self._run.workloads:
            if planned.left_out is not None:
                name, reason = planned.workload.name, str(planned.left_out)
                supervisor.journal.event("workload_left_out", workload=name, reason=reason)
                continue
            for repeat in range(1, planned.workload.repeats + 1):
                verdict = _WorkloadRepeat(self, planned, repeat, self._empty_prefix_cache()).run()
                failed = failed or verdict
        supervisor.pump()  # the last lines of the server may tell that it died over the last requests
        if failed is not None:
            return failed
        return AttemptVerdict(OutcomeKind.COMPLETED, "every workload was sent and answered", "the agent")

    def _empty_prefix_cache(self) -> bool | None:
        """Whether the workload finds an empty prefix cache; None: this engine cannot do that, or nothing was sent yet.

        A salt of its own does that without any endpoint; else the cache is emptied.
        """
        path = self._target.endpoints.reset_prefix_cache
        if not self._sent_any:
            return None
        if self._target.endpoints.cache_salt is not None:
            return True
        if path is None:
            return None

        def post() -> bool:
            try:
                status, _ = ask(self._target, "POST", path, key=self._target.api_key, timeout_s=_RESET_TIMEOUT_S)
            except OSError:
                return False
            return status == 200

        done = self._supervisor.background(post)
        if not done:
            self._supervisor.warn(f"the prefix cache could not be reset by POST {path}")
        return done


class _WorkloadRepeat:
    """One workload, sent once."""

    def __init__(self, measuring: WorkloadRunner, planned: PlannedWorkload, repeat: int, reset: bool | None) -> None:
        self._m, self._planned, self._repeat, self._reset = measuring, planned, repeat, reset
        self._supervisor = measuring._supervisor
        self._name = planned.workload.name
        self._peaks = Peaks()
        self._before: Mapping[str, float] = {}
        self._ended: dict[str, Any] | None = None
        self._details: list[str] = []
        self._total = 0
        self._said_s = time.monotonic()
        self._done = 0
        self._closed = self._stopping = False

    def run(self) -> AttemptVerdict | None:
        """Send it and wait. None: at least one request succeeded. Raises Ended."""
        measuring, supervisor = self._m, self._supervisor
        self._before = supervisor.background(lambda: look(measuring._target, measuring._gpus)).figures or {}
        load = LoadProcess(
            self._config(),
            measuring._target.api_key,
            supervisor.token,
            os.environ,
            measuring._folder,
            lambda line: supervisor.inbox.put(LoadLine(line)),
            lambda: supervisor.inbox.put(LoadClosed()),
            in_session=tracked_by_session(os.environ),
        )
        measuring._sent_any = True
        supervisor.not_server_pids.add(load.pid)
        supervisor.observer.traffic.begin()
        watcher = MetricsPoller(measuring._target, measuring._gpus, supervisor.inbox.put)
        try:
            while not self._closed:
                supervisor.pump()
                self._handle()
            exit_code = load.end(_LOAD_GRACE_S)
        except Ended:
            self._stopping = True
            load.ask_to_stop()
            load.end(_LOAD_GRACE_S)
            supervisor.take(0.0)
            self._handle()
            raise
        finally:
            supervisor.observer.traffic.end()
            watcher.stop()
            load.end(0.0)
            supervisor.not_server_pids.discard(load.pid)
        return self._verdict(exit_code)

    def _config(self) -> LoadConfig:
        measuring, clock = self._m, self._supervisor.clock
        target, run = measuring._target, measuring._run
        return LoadConfig(
            planned=self._planned,
            base_url=f"http://{target.host}:{target.port}",
            socket_path=target.socket_path,
            cache_salt=secrets.token_hex(8) if target.endpoints.cache_salt is not None else None,
            cache_salt_field=target.endpoints.cache_salt or "",
            served_model=target.served_name,
            engine=run.server.engine,
            completions_path=target.endpoints.completions,
            chat_path=target.endpoints.chat,
            engine_executable=measuring._executable,
            model=run.server.model,
            repeat=self._repeat,
            clock_origin_s=clock.origin_s,
            time_scale=clock.scale,
            request_timeout_s=measuring._budgets.request,
            token_timeout_s=measuring._budgets.token,
            first_of_server=not measuring._sent_any,
            after_reset=bool(self._reset),
            work_dir=str(measuring._folder),
        )

    def _handle(self) -> None:
        """Whatever has arrived: samples go to the journal as they are, in one write."""
        samples: list[str] = []
        messages, self._supervisor.pending = self._supervisor.pending, []
        for message in messages:
            if isinstance(message, LoadLine):
                if '"kind":"sample"' in message.text[:40]:
                    samples.append(message.text)
                else:
                    self._flush(samples)
                    self._line(message.text)
            elif isinstance(message, LoadClosed):
                self._closed = True
            elif isinstance(message, MetricsSample) and message.figures is not None:
                self._look(message)
        self._flush(samples)

    def _flush(self, samples: list[str]) -> None:
        if not samples:
            return
        supervisor = self._supervisor
        supervisor.journal.splice(samples)
        supervisor.observer.samples += len(samples)
        self._done += len(samples)
        if len(self._details) < 5:
            self._details += [line for line in samples if '"error":"' in line][:5]
        samples.clear()
        if time.monotonic() - self._said_s >= _SAY_EVERY_S or self._done == self._total:
            self._said_s = time.monotonic()
            self._m._say(f"{self._name}: {self._done} of {self._total} samples")

    def _line(self, text: str) -> None:
        try:
            record = json.loads(text)
            kind = str(record.pop("kind"))
        except (ValueError, KeyError, AttributeError):
            self._supervisor.warn("the load process wrote a line that is no event", text[:300])
            return
        if kind == "workload_started":
            self._total = int(record.get("samples_total", 0))
            record["cache_reset"] = self._reset
        elif kind == TRAFFIC:
            self._supervisor.observer.traffic.client(record)
            return
        elif kind == "workload_ended":
            self._supervisor.observer.traffic.end()
            record["server_figures"] = {**record.get("server_figures", {}), **self._server_figures()}
            self._ended = record
        self._supervisor.journal.event(kind, **record)

    def _server_figures(self) -> dict[str, float]:
        """What the server counted for this workload; only the peaks when it is not asked, or does not answer."""
        if self._stopping:
            return self._peaks.figures()
        after = look(self._m._target, self._m._gpus).figures or {}
        return differences(self._before, after) | self._peaks.figures()

    def _look(self, message: MetricsSample) -> None:
        figures = message.figures or {}
        self._peaks.add(figures)
        clock = self._supervisor.clock
        self._supervisor.journal.event(
            "telemetry", t_s=clock.t_s(message.at_s), sync=False, workload=self._name, figures=dict(figures)
        )

    def _verdict(self, exit_code: int | None) -> AttemptVerdict | None:
        if self._ended is None:
            raise Ended(client_ended(self._name, exit_code, load_log_tail(self._m._folder)))
        if self._ended.get("completed"):
            return None
        failures = {str(cause): int(number) for cause, number in self._ended.get("failures", {}).items()}
        verdict = workload_failed(self._name, failures, [_detail(line) for line in self._details])
        if TIMEOUT_CAUSES & failures.keys():
            raise Ended(verdict)  # a server that hangs would let every further request wait for its budget
        return verdict


def _detail(line: str) -> str:
    sample = json.loads(line)
    return f"sample {sample.get('sample')}: {sample.get('error')}: {sample.get('error_detail')}"
