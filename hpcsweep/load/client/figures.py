"""What the client measures of itself, and when it says that it was the bottleneck."""

import time
from pathlib import Path

from hpcsweep.load.wire.connection import ServerConnection

CPU_SHARE_LIMIT = 0.9
LAG_SHARE_LIMIT = 0.1
LAG_FLOOR_S = 0.001


class Quantiles:
    """Quantiles of many numbers in bounded memory: when full, every second one is dropped, and every second new one."""

    __slots__ = ("_kept", "_limit", "_seen", "_stride")

    def __init__(self, limit: int = 8192) -> None:
        self._kept: list[float] = []
        self._limit, self._seen, self._stride = limit, 0, 1

    def add(self, value: float) -> None:
        """Count one number."""
        self._seen += 1
        if self._seen % self._stride == 0:
            self._kept.append(value)
            if len(self._kept) == self._limit:
                self._kept = self._kept[1::2]
                self._stride *= 2

    def at(self, share: float) -> float:
        """The number that `share` of the numbers do not exceed; 0 when there is none."""
        ordered = sorted(self._kept)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class SelfMeasurement:
    """Lag, lateness, CPU and memory of one sending process."""

    def __init__(self) -> None:
        self.kernel_stamps = True  # until an answer comes without
        self.loop_lag, self.read_lag, self.lateness = Quantiles(), Quantiles(), Quantiles()
        self.ttft, self.itl, self.e2e = Quantiles(), Quantiles(), Quantiles()
        self.reconnects = 0
        self.begin()

    def begin(self) -> None:
        """The measured stretch begins."""
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()

    def add(self, connection: ServerConnection) -> None:
        """Count one request that was sent."""
        stamps, sent_ns = connection.answer.stamps, connection.sent_ns
        self.lateness.add((sent_ns - connection.eligible_ns) * 1e-9)
        if stamps:
            self.kernel_stamps &= connection.has_kernel_timestamps
            self.ttft.add((stamps[0] - sent_ns) * 1e-9)
            self.e2e.add((stamps[-1] - sent_ns) * 1e-9)
            self.read_lag.add(max(0, connection.last_ns - stamps[-1]) * 1e-9)
        if len(stamps) > 1:
            self.itl.add((stamps[-1] - stamps[0]) / (len(stamps) - 1) * 1e-9)

    def figures(self, scale: float) -> dict[str, float]:
        """Seconds, bytes and shares; lags and lateness on the attempt's clock, CPU in CPU seconds."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._wall_s
        figures = {
            "processes": 1.0,
            "cpu_s": cpu_s,
            "cpu_share_max": cpu_s / wall_s if wall_s > 0 else 0.0,
            "rss_bytes": _rss_bytes(),
            "loop_lag_p99_s": self.loop_lag.at(0.99) * scale,
            "lateness_p50_s": self.lateness.at(0.5) * scale,
            "lateness_p99_s": self.lateness.at(0.99) * scale,
            "reconnects": float(self.reconnects),
            "kernel_stamps": float(self.kernel_stamps),
            "median_ttft_s": self.ttft.at(0.5) * scale,
            "median_itl_s": self.itl.at(0.5) * scale,
            "median_e2e_s": self.e2e.at(0.5) * scale,
        }
        if self.kernel_stamps:
            figures |= {
                "read_lag_p50_s": self.read_lag.at(0.5) * scale,
                "read_lag_p99_s": self.read_lag.at(0.99) * scale,
            }
        return figures


def _rss_bytes() -> float:
    """Most memory that was resident: of this program alone, while getrusage counts the one before execve too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    return 0.0


_SUMS = ("processes", "cpu_s", "rss_bytes", "reconnects")


def merged(parts: list[dict[str, float]]) -> dict[str, float]:
    """Figures of several processes as one: CPU and memory add up; of everything else the worst process counts."""
    names = dict.fromkeys(name for part in parts for name in part)
    values = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: sum(of) if name in _SUMS else max(of) for name, of in values.items()}


def client_warnings(figures: dict[str, float], scale: float = 1.0, *, closed_loop: bool = False) -> list[str]:
    """Warnings `client_limited: ...` when the client was so late or so busy that it shows in the figures.

    The rule: a sending process used more than 90 % of a core; or the 99th percentile of its lateness is above 10 %
    of the median TTFT (and 1 ms); or, where the kernel gave no receive stamps, the 99th percentile of its loop's lag
    is above 10 % of the median gap between chunks (and 1 ms). `scale`: attempt seconds in a real one; the
    millisecond is a real one.

    `closed_loop`: each request waits for an answer, so there is no time at which it was due, and no TTFT that counts
    from then. What lateness costs there is load, while a slot stands empty: it is held against the median duration
    of a request.
    """
    found = []
    if figures.get("cpu_share_max", 0.0) > CPU_SHARE_LIMIT:
        found.append(f"client_limited: a client process used {figures['cpu_share_max']:.0%} of a core")
    checks = [("lateness_p99_s", "median_e2e_s" if closed_loop else "median_ttft_s", "requests were sent late by")]
    if not figures.get("kernel_stamps"):
        checks.append(("loop_lag_p99_s", "median_itl_s", "chunks were read late by"))
    for lag, against, what in checks:
        limit_s = max(LAG_FLOOR_S * scale, LAG_SHARE_LIMIT * figures.get(against, 0.0))
        if figures.get(lag, 0.0) > limit_s:
            found.append(f"client_limited: {what} {figures[lag] * 1e3:.1f} ms (p99), more than {limit_s * 1e3:.1f} ms")
    return found
