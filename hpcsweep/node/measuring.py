"""Run the workloads on a ready server: the load process sends the requests while the supervisor watches."""

import http.client
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcsweep.containers.launch import ContainerLaunch
from hpcsweep.load.client.record import TRAFFIC
from hpcsweep.load.config import LoadConfig
from hpcsweep.node.identity import tracked_by_session
from hpcsweep.node.process.load_process import LoadProcess, load_log_tail
from hpcsweep.node.watch.inbox import LoadClosed, LoadLine, MetricsSample
from hpcsweep.node.watch.metrics import Peaks, differences
from hpcsweep.node.watch.outcome import TIMEOUT_CAUSES, AttemptVerdict, Ended, client_ended, workload_failed
from hpcsweep.node.watch.probe import Target, ask
from hpcsweep.node.watch.supervisor import Supervisor
from hpcsweep.node.watch.telemetry import GpuSource, MetricsPoller, sample_metrics
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.job import PlannedWorkload, RunSpec
from hpcsweep.spec.phases import OutcomeKind, Phase

_RESET_TIMEOUT_S = 10.0
_LOAD_GRACE_S = 2.0
_SAY_EVERY_S = 5.0
_MOST_ERROR_SAMPLES = 5


@dataclass(frozen=True)
class MeasurementContext:
    """What all workloads of one attempt share. `executable`: of the engine, in its container if it has one.

    `container`: of the server; None: it runs on the node itself. `say`: prints a progress line.
    """

    run: RunSpec
    budgets: Budgets
    supervisor: Supervisor
    target: Target
    gpus: GpuSource
    folder: Path
    executable: str
    container: ContainerLaunch | None
    say: Callable[[str], None]

    def sample_metrics(self) -> Mapping[str, float]:
        """Return the figures of the server and its GPUs now; empty: the server did not answer."""
        return sample_metrics(self.target, self.gpus).figures or {}


class WorkloadRunner:
    """Runs every workload of a run that is not left out, with its repeats."""

    def __init__(self, context: MeasurementContext) -> None:
        self._context = context
        self._sent_any = False

    def run(self) -> AttemptVerdict:
        """Run the workloads. Return `completed`, or why a workload had no success. Raises Ended."""
        supervisor = self._context.supervisor
        supervisor.enter(Phase.MEASURE)
        failed: AttemptVerdict | None = None
        for planned in self._context.run.workloads:
            if planned.left_out is not None:
                name, reason = planned.workload.name, str(planned.left_out)
                supervisor.journal.event("workload_left_out", workload=name, reason=reason)
                continue
            for repeat in range(1, planned.workload.repeats + 1):
                reset = self._empty_prefix_cache()
                first = not self._sent_any
                self._sent_any = True
                verdict = _WorkloadRepeat(self._context, planned, repeat, first=first, reset=reset).run()
                failed = failed or verdict
        supervisor.pump()  # the server's last lines may report that it died during the last requests
        if failed is not None:
            return failed
        return AttemptVerdict(OutcomeKind.COMPLETED, "completed", "all workloads completed", "the agent")

    def _empty_prefix_cache(self) -> bool | None:
        """Empty the prefix cache for the next workload, unless a cache salt separates it from earlier ones.

        Return whether it is empty; None: this engine does not support that, or no request has been sent yet.
        """
        target, supervisor = self._context.target, self._context.supervisor
        path = target.endpoints.reset_prefix_cache
        if not self._sent_any:
            return None
        if target.endpoints.cache_salt is not None:
            return True
        if path is None:
            return None

        def post() -> bool:
            try:
                status, _ = ask(target, "POST", path, key=target.api_key, timeout_s=_RESET_TIMEOUT_S)
            except (OSError, http.client.HTTPException):
                return False
            return status == 200

        done = supervisor.background(post)
        if not done:
            supervisor.warn(f"the prefix cache could not be reset by POST {path}", code="prefix_cache_not_reset")
        return done


class _WorkloadRepeat:
    """One repeat of one workload. `first`: of the server. `reset`: the prefix cache was emptied; None: not possible."""

    def __init__(
        self, context: MeasurementContext, planned: PlannedWorkload, repeat: int, *, first: bool, reset: bool | None
    ) -> None:
        self._context, self._supervisor = context, context.supervisor
        self._planned, self._repeat, self._first, self._reset = planned, repeat, first, reset
        self._name = planned.workload.name
        self._peaks = Peaks()
        self._before: Mapping[str, float] = {}
        self._end_record: dict[str, Any] | None = None
        self._error_samples: list[str] = []
        self._samples_total = self._samples_done = 0
        self._said_s = time.monotonic()
        self._closed = self._stopping = False

    def run(self) -> AttemptVerdict | None:
        """Run it to its end. Return None when at least one request succeeded. Raises Ended."""
        context, supervisor = self._context, self._supervisor
        self._before = supervisor.background(context.sample_metrics)
        load = LoadProcess(
            self._config(),
            context.target.api_key,
            supervisor.token,
            os.environ,
            context.folder,
            lambda line: supervisor.inbox.put(LoadLine(line)),
            lambda: supervisor.inbox.put(LoadClosed()),
            in_session=tracked_by_session(os.environ),
        )
        supervisor.not_server_pids.add(load.pid)
        supervisor.observer.traffic.begin()
        poller = MetricsPoller(context.target, context.gpus, supervisor.inbox.put)
        try:
            while not self._closed:
                supervisor.pump()
                self._handle_messages()
            exit_code = load.end(_LOAD_GRACE_S)
        except Ended:
            self._stopping = True
            load.ask_to_stop()
            load.end(_LOAD_GRACE_S)
            supervisor.take(0.0)
            self._handle_messages()
            raise
        finally:
            supervisor.observer.traffic.end()
            poller.stop()
            load.end(0.0)
            supervisor.not_server_pids.discard(load.pid)
        return self._verdict(exit_code)

    def _config(self) -> LoadConfig:
        context, clock = self._context, self._supervisor.clock
        target, run = context.target, context.run
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
            engine_executable=context.executable,
            container=context.container,
            model=run.server.model,
            repeat=self._repeat,
            clock_origin_s=clock.origin_s,
            time_scale=clock.scale,
            request_timeout_s=context.budgets.request,
            token_timeout_s=context.budgets.token,
            first_of_server=self._first,
            after_reset=bool(self._reset),
            work_dir=str(context.folder),
        )

    def _handle_messages(self) -> None:
        """Handle all messages that have arrived. Consecutive samples are appended to the journal in one write."""
        samples: list[str] = []
        messages, self._supervisor.pending = self._supervisor.pending, []
        for message in messages:
            if isinstance(message, LoadLine):
                if '"kind":"sample"' in message.text[:40]:
                    samples.append(message.text)
                else:
                    self._append_samples(samples)
                    self._handle_line(message.text)
            elif isinstance(message, LoadClosed):
                self._closed = True
            elif isinstance(message, MetricsSample) and message.figures is not None:
                self._record_telemetry(message)
        self._append_samples(samples)

    def _append_samples(self, samples: list[str]) -> None:
        if not samples:
            return
        supervisor = self._supervisor
        supervisor.journal.splice(samples)
        supervisor.observer.samples += len(samples)
        self._samples_done += len(samples)
        if len(self._error_samples) < _MOST_ERROR_SAMPLES:
            self._error_samples += [line for line in samples if '"error":"' in line][:_MOST_ERROR_SAMPLES]
        samples.clear()
        if time.monotonic() - self._said_s >= _SAY_EVERY_S or self._samples_done == self._samples_total:
            self._said_s = time.monotonic()
            self._context.say(f"{self._name}: {self._samples_done} of {self._samples_total} samples")

    def _handle_line(self, text: str) -> None:
        try:
            record = json.loads(text)
            kind = str(record.pop("kind"))
        except (ValueError, KeyError, AttributeError):
            self._supervisor.warn(
                "the load process printed a line that is not an event", text[:300], code="load_line_invalid"
            )
            return
        traffic = self._supervisor.observer.traffic
        if kind == "workload_started":
            self._samples_total = int(record.get("samples_total", 0))
            traffic.closed_loop = record.get("closed_loop")
            record["cache_reset"] = self._reset
        elif kind == TRAFFIC:
            traffic.client(record)
            return
        elif kind == "workload_ended":
            traffic.end()
            record["server_figures"] = {**record.get("server_figures", {}), **self._server_figures()}
            self._end_record = record
        self._supervisor.journal.event(kind, **record)

    def _server_figures(self) -> dict[str, float]:
        """Return what the server counted during this workload; only the peaks when it is stopping."""
        if self._stopping:
            return self._peaks.figures()
        return differences(self._before, self._context.sample_metrics()) | self._peaks.figures()

    def _record_telemetry(self, message: MetricsSample) -> None:
        figures = message.figures or {}
        self._peaks.add(figures)
        clock = self._supervisor.clock
        self._supervisor.journal.event(
            "telemetry", t_s=clock.t_s(message.at_s), sync=False, workload=self._name, figures=dict(figures)
        )

    def _verdict(self, exit_code: int | None) -> AttemptVerdict | None:
        if self._end_record is None:
            raise Ended(client_ended(self._name, exit_code, load_log_tail(self._context.folder)))
        if self._end_record.get("completed"):
            return None
        failures = {str(cause): int(number) for cause, number in self._end_record.get("failures", {}).items()}
        verdict = workload_failed(self._name, failures, [_error_of(line) for line in self._error_samples])
        if TIMEOUT_CAUSES & failures.keys():
            raise Ended(verdict)  # with a hung server every further request would wait for its whole timeout
        return verdict


def _error_of(line: str) -> str:
    sample = json.loads(line)
    return f"sample {sample.get('sample')}: {sample.get('error')}: {sample.get('error_detail')}"
