"""The load client's measurements of itself, and the warning that it was the bottleneck."""

import time
from pathlib import Path

from hpcsweep.load.wire.connection import ServerConnection

CPU_SHARE_LIMIT = 0.9
LAG_SHARE_LIMIT = 0.1
LAG_FLOOR_S = 0.001


class Quantiles:
    """Quantiles in bounded memory: when full, every second number is dropped, and from then on every second new one."""

    __slots__ = ("_kept", "_limit", "_seen", "_stride")

    def __init__(self, limit: int = 8192) -> None:
        self._kept: list[float] = []
        self._limit, self._seen, self._stride = limit, 0, 1

    def add(self, value: float) -> None:
        """Add one number."""
        self._seen += 1
        if self._seen % self._stride == 0:
            self._kept.append(value)
            if len(self._kept) == self._limit:
                self._kept = self._kept[1::2]
                self._stride *= 2

    def at(self, share: float) -> float:
        """Return the number that a share of `share` of the numbers do not exceed; 0 without numbers."""
        ordered = sorted(self._kept)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class SelfMeasurement:
    """Lag, lateness, CPU and memory of one sending process."""

    def __init__(self) -> None:
        self.kernel_stamps = True  # until a response has none
        self.loop_lag, self.read_lag, self.lateness = Quantiles(), Quantiles(), Quantiles()
        self.ttft, self.itl, self.e2e = Quantiles(), Quantiles(), Quantiles()
        self.reconnects = 0
        self.begin()

    def begin(self) -> None:
        """Start the measured period."""
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()

    def add(self, connection: ServerConnection) -> None:
        """Add one request that was sent."""
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
        """Return seconds, bytes and shares; lags and lateness on the attempt's clock, CPU in CPU seconds."""
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
    """Return the peak resident memory of this program; getrusage would include the program before execve."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    return 0.0


_SUMS = ("processes", "cpu_s", "rss_bytes", "reconnects")


def merged(parts: list[dict[str, float]]) -> dict[str, float]:
    """Return the figures of several processes as one: the sum of CPU and memory, the maximum of everything else."""
    names = dict.fromkeys(name for part in parts for name in part)
    values = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: sum(of) if name in _SUMS else max(of) for name, of in values.items()}


def client_warnings(figures: dict[str, float], scale: float = 1.0, *, closed_loop: bool = False) -> list[str]:
    """Return warnings `client_limited: ...` when the client's delays affected its measurements.

    The rule: a sending process used more than 90 % of a core; or the 99th percentile of its lateness is above 10 %
    of the median TTFT (and 1 ms); or, without receive timestamps of the kernel, the 99th percentile of its loop lag is
    above 10 % of the median gap between chunks (and 1 ms). `scale`: attempt seconds per real second; the millisecond
    is real.

    `closed_loop`: requests have no due time, so lateness does not change the TTFT. It reduces the load, because a slot
    is empty meanwhile, and is compared with the median duration of a request.
    """
    warnings = []
    if figures.get("cpu_share_max", 0.0) > CPU_SHARE_LIMIT:
        warnings.append(f"client_limited: a client process used {figures['cpu_share_max']:.0%} of a core")
    checks = [("lateness_p99_s", "median_e2e_s" if closed_loop else "median_ttft_s", "requests were sent late by")]
    if not figures.get("kernel_stamps"):
        checks.append(("loop_lag_p99_s", "median_itl_s", "chunks were read late by"))
    for lag, against, what in checks:
        limit_s = max(LAG_FLOOR_S * scale, LAG_SHARE_LIMIT * figures.get(against, 0.0))
        if figures.get(lag, 0.0) > limit_s:
            warnings.append(
                f"client_limited: {what} {figures[lag] * 1e3:.1f} ms (p99), more than {limit_s * 1e3:.1f} ms"
            )
    return warnings
