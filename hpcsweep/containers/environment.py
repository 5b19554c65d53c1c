"""Choose the variables of the job that a container gets besides those that were set for its server. Pure.

A container has its own software, so variables that lead to software of the node (PYTHONPATH, LD_LIBRARY_PATH,
CUDA_HOME) must not reach it, while those that select GPUs, networks, caches and the behaviour of engines must.
"""

import re
from collections.abc import Collection, Mapping

_PASSED = re.compile(
    r"(?:CUDA|NVIDIA|NCCL|NVSHMEM|CUBLAS|CUDNN|HIP|ROCR|HSA|RCCL|MIOPEN|AMD|ZE|SYCL|CCL|UCX|FI|GLOO|MLX5"
    r"|HF|HUGGINGFACE|TRANSFORMERS|TOKENIZERS|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|VLLM|SGLANG|SGL|SGLANG_DG|DG|TRTLLM|TLLM"
    r"|TENSORRT|FLASHINFER|OMP|MKL|KMP|GOMP|OPENBLAS|RAY|SLURM|PBS|PMI|PMIX|PALS|MASTER|HPCSWEEP|LC"
    r")_\w+"
    r"|PMI_?\w*|TMPDIR|LANG|TZ|USER|LOGNAME|GPU_DEVICE_ORDINAL|(?i:(?:https?|ftp|all|no)_proxy)"
)
_OF_THE_NODE = re.compile(
    r"(?:CUDA|ROCM|HIP|NCCL|UCX|FI|MKL|CCL|CUDNN|TORCH|NVSHMEM)_\w*(?:HOME|ROOT|PATH|DIR|PREFIX|INC|LIB)"
)
_CACHES = frozenset({"CUDA_CACHE_PATH", "TORCH_HOME", "TORCH_EXTENSIONS_DIR"})
_AGENT_ONLY = frozenset({"HPCSWEEP_HOME", "HPCSWEEP_STORE", "HPCSWEEP_CONFIG", "SLURM_CONF"})

ALWAYS: Mapping[str, str] = {"PYTHONNOUSERSITE": "1"}
"""Set in every container: the packages in a mounted home folder are for another Python than that of the image."""


def container_environment(
    environment: Mapping[str, str], own: Collection[str], named: Collection[str]
) -> dict[str, str]:
    """Return the variables of a container.

    `environment`: that of the server. `own`: names that were set for it, all of which are passed. `named`: further
    names that the user lists.
    """
    chosen = {name: value for name, value in environment.items() if name in own or name in named or _is_passed(name)}
    return {**ALWAYS, **chosen}


def _is_passed(name: str) -> bool:
    if name in _AGENT_ONLY or not _PASSED.fullmatch(name):
        return False
    return name in _CACHES or not _OF_THE_NODE.fullmatch(name)
