"""Looks at the server's /metrics and the GPUs, about once a second, in a thread of its own."""

import http.client
import threading
import time
from collections.abc import Callable

from hpcsweep.node.watch.gpus import Gpus, gpu_figures
from hpcsweep.node.watch.inbox import MetricsSample
from hpcsweep.node.watch.metrics import figures
from hpcsweep.node.watch.probe import Target, ask

_TIMEOUT_S = 2.0  # of an answer that a live server gives in milliseconds


def look(target: Target, gpus: Gpus) -> MetricsSample:
    """One look. `figures` None when the server did not answer (with no metrics page: its health is asked)."""
    path = target.endpoints.metrics
    try:
        status, body = ask(target, "GET", path or target.endpoints.health, key=target.api_key, timeout_s=_TIMEOUT_S)
    except (OSError, http.client.HTTPException):
        return MetricsSample(time.monotonic(), None)
    if status >= 500:
        return MetricsSample(time.monotonic(), None)
    found = figures(body.decode(errors="replace")) if path is not None and status == 200 else {}
    return MetricsSample(time.monotonic(), found | gpu_figures(gpus.states()))


class MetricsPoller:
    """Takes a look every `every_s` real seconds and tells it, until stopped."""

    def __init__(self, target: Target, gpus: Gpus, tell: Callable[[MetricsSample], None], every_s: float = 1.0) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(target, gpus, tell, every_s), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no further look; one under way is not told."""
        self._stopped.set()

    def _watch(self, target: Target, gpus: Gpus, tell: Callable[[MetricsSample], None], every_s: float) -> None:
        while not self._stopped.wait(every_s):
            found = look(target, gpus)
            if not self._stopped.is_set():
                tell(found)
