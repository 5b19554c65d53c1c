"""Sample the server's /metrics and the GPUs about once a second, in a thread."""

import http.client
import threading
import time
from collections.abc import Callable
from typing import Protocol

from hpcsweep.node.process.gpus import GpuState, gpu_figures
from hpcsweep.node.watch.inbox import MetricsSample
from hpcsweep.node.watch.metrics import figures
from hpcsweep.node.watch.probe import Target, ask

_TIMEOUT_S = 2.0  # a healthy server answers within milliseconds


class GpuSource(Protocol):
    """The GPUs of a server, on one node or on several."""

    def states(self) -> list[GpuState]:
        """Return the current state of all of them."""
        ...


def sample_metrics(target: Target, gpus: GpuSource) -> MetricsSample:
    """Return one sample. `figures` None: the server did not answer. An engine without /metrics is asked for /health."""
    path = target.endpoints.metrics
    try:
        status, body = ask(target, "GET", path or target.endpoints.health, key=target.api_key, timeout_s=_TIMEOUT_S)
    except (OSError, http.client.HTTPException):
        return MetricsSample(time.monotonic(), None)
    if status >= 500:
        return MetricsSample(time.monotonic(), None)
    of_server = figures(body.decode(errors="replace")) if path is not None and status == 200 else {}
    return MetricsSample(time.monotonic(), of_server | gpu_figures(gpus.states()))


class MetricsPoller:
    """Takes a sample every `every_s` real seconds and passes it to `on_sample`, until stopped."""

    def __init__(
        self, target: Target, gpus: GpuSource, on_sample: Callable[[MetricsSample], None], every_s: float = 1.0
    ) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, args=(target, gpus, on_sample, every_s), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling. A sample that is being taken is discarded."""
        self._stopped.set()

    def _poll(
        self, target: Target, gpus: GpuSource, on_sample: Callable[[MetricsSample], None], every_s: float
    ) -> None:
        while not self._stopped.wait(every_s):
            sample = sample_metrics(target, gpus)
            if not self._stopped.is_set():
                on_sample(sample)
