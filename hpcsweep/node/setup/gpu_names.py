"""GPU UUIDs in CUDA_VISIBLE_DEVICES, as indexes for engines that cannot read UUIDs.

OpenPBS's cgroup hook sets UUIDs (pbs_cgroups.PY), MIG instances have nothing else. vLLM applied int() to each of them,
which fails in a subprocess with a misleading "validation error for ModelConfig":
https://github.com/vllm-project/vllm/issues/41848. It reads UUIDs since https://github.com/vllm-project/vllm/pull/45026
(merged in June 2026): 0.22.0 fails, 0.24.0 works. Abbreviated UUIDs still fail
(https://github.com/vllm-project/vllm/issues/51677, open in August 2026).
"""

from collections.abc import Mapping

from packaging.version import Version

from hpcsweep.engines.versions import parse_version
from hpcsweep.node.process.gpus import VISIBLE, Gpus, visible_names
from hpcsweep.node.record.notes import Note

_READS_UUIDS = Version("0.24.0")
_UUID_LENGTH = len("GPU-") + 36


def readable_names(
    engine: str, version: str | None, env: Mapping[str, str], gpus: Gpus
) -> tuple[dict[str, str], list[Note]]:
    """Return variables that replace UUIDs by indexes, and a note about it; both empty where nothing has to change.

    CUDA must then count GPUs like the driver, by their PCI bus (CUDA_DEVICE_ORDER).
    """
    names = visible_names(env)
    if engine != "vllm" or all(name.isdigit() for name in names):
        return {}, []
    known = parse_version(version) if version is not None else None
    abbreviated = any(name.startswith("GPU-") and len(name) < _UUID_LENGTH for name in names)
    if known is not None and known >= _READS_UUIDS and not abbreviated:
        return {}, []
    indexes = [gpus.index_of(name) for name in names]
    given = ",".join(names)
    if None in indexes:
        text = f"{VISIBLE}={given} has UUIDs that vLLM {version or 'of this version'} cannot read, and the driver maps "
        return {}, [Note("gpu_uuid_unresolved", f"{text}them to no single GPU: the server will probably fail")]
    value = ",".join(map(str, indexes))
    text = f"{VISIBLE}={given} was replaced by {value}: vLLM {version or 'of this version'} cannot read these UUIDs"
    return {VISIBLE: value, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [Note("gpu_uuid_mapped", text)]
