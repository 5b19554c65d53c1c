"""The GPUs of this job, by NVML where pynvml and a driver are there; else nothing is known and nothing is guessed."""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hpcsweep.node.watch.gpu_work import GpuSample

T = TypeVar("T")

ANSWER_S = 5.0
"""After this the driver is taken for hung: with a GPU that has fallen off the bus its calls never return."""


SILENT_DRIVER = (
    "the NVIDIA driver does not answer, so nothing is known of the GPUs: `nvidia-smi` on this node hangs too, or dmesg "
    "names a GPU that has fallen off the bus; another node may be the answer"
)


@dataclass(frozen=True)
class GpuState:
    """One GPU now. None: the driver does not tell. `processes`: pid -> bytes of its memory.

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
    """What CUDA_VISIBLE_DEVICES names: indexes or UUIDs; empty when it names none."""
    return [word.strip() for word in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]


class Gpus:
    """The GPUs that this job may use. No call takes much longer than `answer_s`, whatever the driver does."""

    def __init__(self, env: Mapping[str, str] = os.environ, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._asked: threading.Thread | None = None  # with the question that the driver has left without an answer
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return

        def begin() -> list[Any]:
            try:
                pynvml.nvmlInit()
                hidden = "CUDA_VISIBLE_DEVICES" in env and not visible_names(env)
                return [] if hidden else self._chosen(pynvml, visible_names(env))
            except pynvml.NVMLError:
                return []

        self._nvml = pynvml
        self._handles = self._in_time(begin, [])

    @property
    def available(self) -> bool:
        """Whether there are GPUs to ask about, and a driver that answers."""
        return bool(self._handles) and not self.silent

    @property
    def silent(self) -> bool:
        """The driver owes an answer: it hangs."""
        return self._asked is not None and self._asked.is_alive()

    def driver_version(self) -> str | None:
        """Of the NVIDIA driver; None: not known."""
        if self._nvml is None:
            return None
        return self._in_time(lambda: self._ask(lambda: str(self._nvml.nvmlSystemGetDriverVersion())), None)

    def states(self) -> list[GpuState]:
        """Every GPU of the job, now; none while the driver is silent."""
        if not self._handles:
            return []
        return self._in_time(lambda: [self._state(handle) for handle in self._handles], [])

    def _in_time(self, question: Callable[[], T], unknown: T) -> T:
        """The answer of the driver; `unknown` when it does not come in time, and until that one has come."""
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
        return [
            nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
            for name in names
        ]

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
        except self._nvml.NVMLError:  # this GPU or driver does not tell it
            return None


def gpu_samples(states: list[GpuState]) -> dict[str, GpuSample]:
    """Return by uuid what tells whether each GPU computes. Each by itself: one may load while seven wait."""
    return {s.uuid: GpuSample(s.utilization, s.memory_traffic, s.power_w, s.memory_used_bytes) for s in states}


def gpu_figures(states: list[GpuState]) -> dict[str, float]:
    """Figures over all GPUs: power and energy summed, utilization and traffic averaged, the fullest memory."""
    found: dict[str, float] = {}
    for name, values in (
        ("gpu_power_w", [s.power_w for s in states]),
        ("gpu_energy_j", [s.energy_j for s in states]),
    ):
        known = [value for value in values if value is not None]
        if known and len(known) == len(states):
            found[name] = sum(known)
    used = [s.memory_used_bytes for s in states if s.memory_used_bytes is not None]
    if used:
        found["gpu_memory_used_bytes"] = float(max(used))
    for name, values in (
        ("gpu_utilization", [s.utilization for s in states]),
        ("gpu_memory_traffic", [s.memory_traffic for s in states]),
    ):
        known = [value for value in values if value is not None]
        if known:
            found[name] = sum(known) / len(known)
    return found
