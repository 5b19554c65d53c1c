"""Read the GPUs of this job through NVML. Without pynvml or a driver nothing is known about them."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hpcsweep.node.process.gpu_work import GpuSample

T = TypeVar("T")

VISIBLE = "CUDA_VISIBLE_DEVICES"

_FREE_BYTES = 1 << 30
_FREE_WITHIN_S = 15.0
ANSWER_S = 5.0
"""Time limit after which the driver counts as hung: calls about a GPU that has fallen off the bus never return."""


SILENT_DRIVER = (
    "the NVIDIA driver does not respond, so the state of the GPUs is unknown; check whether `nvidia-smi` hangs too or "
    "dmesg reports a GPU that has fallen off the bus, and exclude this node"
)


@dataclass(frozen=True)
class GpuState:
    """One GPU at one moment. None: not reported by the driver. `processes`: pid -> bytes of GPU memory.

    `memory_traffic`: percent of the time in which its memory was read or written.
    """

    uuid: str
    name: str
    utilization: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_w: float | None
    energy_j: float | None
    processes: Mapping[int, int]
    memory_traffic: float | None = None


def visible_names(env: Mapping[str, str]) -> list[str]:
    """Return the indexes or UUIDs in CUDA_VISIBLE_DEVICES; empty: none."""
    return [word.strip() for word in env.get(VISIBLE, "").split(",") if word.strip()]


class Gpus:
    """The GPUs that this job may use. No call takes much longer than `answer_s`, even when the driver hangs."""

    def __init__(self, env: Mapping[str, str] = os.environ, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._asked: threading.Thread | None = None  # waiting for the driver
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return

        def begin() -> list[Any]:
            try:
                pynvml.nvmlInit()
                hidden = VISIBLE in env and not visible_names(env)
                return [] if hidden else self._chosen(pynvml, visible_names(env))
            except pynvml.NVMLError:
                return []

        self._nvml = pynvml
        self._handles = self._in_time(begin, [])

    @property
    def available(self) -> bool:
        """Whether there are GPUs, and a driver that responds."""
        return bool(self._handles) and not self.silent

    @property
    def silent(self) -> bool:
        """Whether a call of the driver has not returned: it hangs."""
        return self._asked is not None and self._asked.is_alive()

    def driver_version(self) -> str | None:
        """Return the version of the NVIDIA driver; None: unknown."""
        if self._nvml is None:
            return None
        return self._in_time(lambda: self._ask(lambda: str(self._nvml.nvmlSystemGetDriverVersion())), None)

    def states(self) -> list[GpuState]:
        """Return the current state of all GPUs of the job; empty while the driver does not respond."""
        if not self._handles:
            return []
        return self._in_time(lambda: [self._state(handle) for handle in self._handles], [])

    def index_of(self, name: str) -> int | None:
        """Return the driver's index of a GPU by its index, UUID, or the start of its UUID; None: unknown.

        A MIG instance has the index of its GPU if it is the only instance there that this job may use: CUDA then
        selects it.
        """
        if self._nvml is None:
            return None
        return self._in_time(lambda: self._ask(lambda: self._index(name)), None)

    def _index(self, name: str) -> int | None:
        nvml, handle = self._nvml, self._handle(name)
        if name.startswith("MIG-"):
            handle = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            instances = [
                self._ask(lambda slot=slot: nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot))  # type: ignore[misc]
                for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
            ]
            if sum(instance is not None for instance in instances) != 1:
                return None
        return int(nvml.nvmlDeviceGetIndex(handle))

    def _handle(self, name: str) -> Any:
        """Return the driver's handle of a GPU. CUDA also accepts the start of a UUID. Raises NVMLError."""
        nvml = self._nvml
        if name.isdigit():
            return nvml.nvmlDeviceGetHandleByIndex(int(name))
        try:
            return nvml.nvmlDeviceGetHandleByUUID(name)
        except nvml.NVMLError:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            matching = [handle for handle in handles if str(nvml.nvmlDeviceGetUUID(handle)).startswith(name)]
            if len(matching) != 1:
                raise
            return matching[0]

    def _in_time(self, question: Callable[[], T], unknown: T) -> T:
        """Return the driver's answer; `unknown` when it does not come in time, or an earlier call has not returned."""
        if self.silent:
            return unknown
        answers: list[T] = []
        asked = threading.Thread(target=lambda: answers.append(question()), daemon=True)
        asked.start()
        asked.join(self._answer_s)
        if not answers:
            self._asked = asked
            return unknown
        return answers[0]

    def _chosen(self, nvml: Any, names: list[str]) -> list[Any]:
        if not names:
            return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return [self._handle(name) for name in names]

    def _state(self, handle: Any) -> GpuState:
        nvml = self._nvml
        memory = self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        rates = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        power_mw = self._ask(lambda: float(nvml.nvmlDeviceGetPowerUsage(handle)))
        energy_mj = self._ask(lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)))
        processes = self._ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
        return GpuState(
            uuid=str(self._ask(lambda: nvml.nvmlDeviceGetUUID(handle)) or ""),
            name=str(self._ask(lambda: nvml.nvmlDeviceGetName(handle)) or ""),
            utilization=float(rates.gpu) if rates is not None else None,
            memory_used_bytes=int(memory.used) if memory is not None else None,
            memory_total_bytes=int(memory.total) if memory is not None else None,
            power_w=power_mw / 1000 if power_mw is not None else None,
            energy_j=energy_mj / 1000 if energy_mj is not None else None,
            processes={int(process.pid): int(process.usedGpuMemory or 0) for process in processes},
            memory_traffic=float(rates.memory) if rates is not None else None,
        )

    def _ask(self, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except self._nvml.NVMLError:  # not supported by this GPU or driver
            return None


def gpu_samples(states: list[GpuState]) -> dict[str, GpuSample]:
    """Return UUID -> figures that show whether a GPU computes."""
    return {s.uuid: GpuSample(s.utilization, s.memory_traffic, s.power_w, s.memory_used_bytes) for s in states}


def gpu_figures(states: list[GpuState]) -> dict[str, float]:
    """Return figures over all GPUs: the sum of power and energy, mean utilization and traffic, maximum memory."""
    totals: dict[str, float] = {}
    for name, values in (
        ("gpu_power_w", [s.power_w for s in states]),
        ("gpu_energy_j", [s.energy_j for s in states]),
    ):
        known = [value for value in values if value is not None]
        if known and len(known) == len(states):
            totals[name] = sum(known)
    used = [s.memory_used_bytes for s in states if s.memory_used_bytes is not None]
    if used:
        totals["gpu_memory_used_bytes"] = float(max(used))
    for name, values in (
        ("gpu_utilization", [s.utilization for s in states]),
        ("gpu_memory_traffic", [s.memory_traffic for s in states]),
    ):
        known = [value for value in values if value is not None]
        if known:
            totals[name] = sum(known) / len(known)
    return totals


def memory_still_used(before: Sequence[GpuState], now: Sequence[GpuState]) -> list[str]:
    """Return a sentence for each GPU that has at least 1 GiB more memory in use than before the start."""
    base = {state.uuid: state.memory_used_bytes or 0 for state in before}
    grown = {state.uuid: (state.memory_used_bytes or 0) - base.get(state.uuid, 0) for state in now}
    return [f"{uuid}: {size} bytes more than before" for uuid, size in grown.items() if size > _FREE_BYTES]


def wait_until_free(before: Sequence[GpuState], gpus: Gpus) -> list[str]:
    """Wait until GPU memory is back at its level before the start; return `memory_still_used`, empty: it is back.

    The driver frees memory a moment after the exit of its process.
    """
    deadline_s = time.monotonic() + _FREE_WITHIN_S
    while used := memory_still_used(before, gpus.states()):
        if time.monotonic() > deadline_s:
            return used
        time.sleep(0.5)
    return []
