"""Bandwidth, arithmetic and memory of GPU types, from the data sheets of their makers. Pure."""

import re
from dataclasses import dataclass

from hpcsweep.spec.gpu_types import gpu_model


@dataclass(frozen=True)
class GpuSpec:
    """What one GPU can do at most, by its data sheet.

    `bandwidth`: bytes per second from its own memory. `flops`, `flops_fp8`: dense operations per second with bfloat16
    and FP8 operands, without sparsity; `flops_fp8` None: the GPU computes FP8 weights in bfloat16. `memory_bytes`:
    nominal.
    """

    name: str
    bandwidth: float
    flops: float
    flops_fp8: float | None
    memory_bytes: float
    source: str


_A100 = "NVIDIA A100 data sheet, June 2021"
_H100 = "NVIDIA H100 data sheet, 2023"
_H200 = "NVIDIA H200 data sheet, 2024"
_GH200 = "NVIDIA GH200 data sheet, 2024"

_SPECS = {
    "a100-40": GpuSpec("A100 40 GB", 1.555e12, 312e12, None, 40e9, _A100),
    "a100-80": GpuSpec("A100 80 GB SXM", 2.039e12, 312e12, None, 80e9, _A100),
    "a100-80-pcie": GpuSpec("A100 80 GB PCIe", 1.935e12, 312e12, None, 80e9, _A100),
    "h100": GpuSpec("H100 SXM", 3.35e12, 989.4e12, 1978.9e12, 80e9, _H100),
    "h100-pcie": GpuSpec("H100 PCIe", 2.0e12, 756e12, 1513e12, 80e9, _H100),
    "h200": GpuSpec("H200 SXM", 4.8e12, 989.4e12, 1978.9e12, 141e9, _H200),
    "gh200-96": GpuSpec("GH200 96 GB", 4.0e12, 989.4e12, 1978.9e12, 96e9, _GH200),
    "gh200-144": GpuSpec("GH200 144 GB", 4.9e12, 989.4e12, 1978.9e12, 144e9, _GH200),
    "b200": GpuSpec(
        "B200", 8.0e12, 2250e12, 4500e12, 192e9, "NVIDIA DGX B200 data sheet, 2024, an eighth of the system"
    ),
    "l40s": GpuSpec("L40S", 0.864e12, 362e12, 733e12, 48e9, "NVIDIA L40S data sheet, 2023"),
    # Slurm and the driver count each of the two dies of an MI250X as one GPU.
    "mi250x": GpuSpec("MI250X, one die", 1.638e12, 191.5e12, None, 64e9, "AMD Instinct MI250X data sheet, half of it"),
    "mi300x": GpuSpec("MI300X", 5.3e12, 1307.4e12, 2614.9e12, 192e9, "AMD Instinct MI300X data sheet, 2023"),
    "mi325x": GpuSpec("MI325X", 6.0e12, 1307.4e12, 2614.9e12, 256e9, "AMD Instinct MI325X data sheet, 2024"),
}


def gpu_spec(name: str, memory_bytes: float | None = None) -> GpuSpec | None:
    """Return the data sheet of a GPU by the name that the driver, the site or the user gives it.

    `memory_bytes`: of the device, where it is known; it decides between versions of one type. Without it, the size in
    the name decides. None: the type is unknown, or its versions differ and nothing decides between them.
    """
    text = name.lower().replace("_", "-")
    model = gpu_model(name)
    if model is None:
        return None
    pcie = "pcie" in text
    size_gb = _size_gb(text) if memory_bytes is None else memory_bytes / 1e9
    if model == "a100":
        if size_gb is None:
            return None
        return _SPECS["a100-40" if size_gb < 60 else "a100-80-pcie" if pcie else "a100-80"]
    if model == "gh200":
        return None if size_gb is None else _SPECS["gh200-96" if size_gb < 110 else "gh200-144"]
    if model == "h100" and pcie:
        return _SPECS["h100-pcie"]
    return _SPECS.get(model)


def _size_gb(text: str) -> float | None:
    match = re.search(r"(?<![\d.])(\d{2,3}) ?g[bi]?", text)
    return float(match[1]) if match else None
