"""The compile cache as a step: where the engine keeps what it compiled, one folder a key, one writer at a time."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.node.record.identity import Identity
from hpcsweep.spec.server import EngineSettings, ServerConfig

VARIABLES: Mapping[str, str] = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "TORCH_EXTENSIONS_DIR": "torch_extensions",
    "CUDA_CACHE_PATH": "cuda",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "DG_JIT_CACHE_DIR": "deep_gemm",
    "SGLANG_DG_CACHE_DIR": "deep_gemm",
    "SGL_DG_CACHE_DIR": "deep_gemm",
    "TLLM_CACHE_DIR": "tensorrt_llm",
}
"""Environment variables that move a compile cache -> folder below the key's. Sources: vllm/envs.py, PyTorch's
torch/_inductor/runtime/cache_dir_utils.py, Triton's knobs.py, flashinfer/jit/env.py, deep_gemm's JIT, sglang."""

_COMPILED = re.compile(r"compil|graph|dtype|backend|quant|attention|moe|optimization|speculative|lora")
_COUNT_LIMIT = 20_000
_PRIVATE_PREFIX = "hpcsweep-cache-"


_KERNELS = (".so", ".cubin", ".hsaco")
"""Compiled machine code: Inductor's and torch's for CPUs, Triton's for NVIDIA and AMD."""
_GRAPHS = frozenset({"fxgraph", "aotautograd"})
"""Folders of Inductor's cache with whole compiled graphs (torch/_inductor/codecache.py, autograd_cache.py)."""
_NOT_COMPILED = frozenset({"modelinfos"})
"""Folders that vLLM fills before it compiles anything, with what it found out about the classes of models."""


@dataclass(frozen=True)
class CacheSize:
    """How much a cache holds, as far as it was counted. `graphs`: Inductor's own, not those that vLLM writes."""

    entries: int
    bytes: int
    kernels: int = 0
    graphs: int = 0


def cache_key(config: ServerConfig, settings: EngineSettings, engine_version: str, gpu_name: str) -> str:
    """The folder of a cache: engine version, GPU and model in its name, the rest in a hash. Safe as a path.

    The hash covers all neutral settings, for sizes and lengths change the graphs too, and the flags that name what is
    compiled. So two variants that run side by side do not wait for one another's cache.
    """
    flags = {name: value for name, value in config.flags.items() if _COMPILED.search(name)}
    parts = [config.model, config.revision, settings.model_dump(mode="json"), flags]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
    engine = _safe(f"{config.engine}-{engine_version}")
    return f"{engine}/{_safe(gpu_name or 'cpu')}/{_safe(config.model)[-60:]}-{digest}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "none"


def measure(folder: Path) -> CacheSize:
    """Files and bytes below `folder`; counting stops at 20,000 files, for the folder is looked at every few seconds."""
    entries = size = kernels = graphs = 0
    pending = [(folder, False)]
    while pending and entries < _COUNT_LIMIT:
        place, of_graphs = pending.pop()
        try:
            with os.scandir(place) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name in _NOT_COMPILED:
                            continue
                        pending.append((Path(entry.path), of_graphs or entry.name in _GRAPHS))
                    else:
                        entries += 1
                        size += entry.stat(follow_symlinks=False).st_size
                        kernels += entry.name.endswith(_KERNELS)
                        graphs += of_graphs
        except OSError:  # a compiler removes its scratch folders while we look
            continue
    return CacheSize(entries, size, kernels, graphs)


def cache_use(told: str | None, before: CacheSize, after: CacheSize) -> str | None:
    """What a compilation had from the cache: hit, partial or miss; None: no trace of any was left.

    `told`: the engine's own word on the graphs that it keeps itself; None: it said nothing. What it loaded it knows
    best. Below its graphs lie Inductor's, and below those the kernels: what was there and was not made again came from
    the cache. A cache too large to be counted tells nothing.
    """
    if told in ("hit", "partial") or after.entries >= _COUNT_LIMIT:
        return told
    added = after.kernels - before.kernels + after.graphs - before.graphs
    if told is None and before.graphs and before.kernels and not added:
        return "hit"
    if before.kernels:
        return "partial"
    return "miss" if added > 0 else told


class CompileCache:
    """The cache of one attempt. `at_start`: what it held when the server was started."""

    def __init__(self, mode: str, root: Path, key: str, identity: Identity) -> None:
        self.mode, self.key = mode, key
        self._shared = root / key
        self._lock = FileLock(self._shared.with_name(self._shared.name + ".lock"), identity)
        self._private: Path | None = None
        self.folder = self._shared
        self.at_start = CacheSize(0, 0)
        self.note = ""

    def open(self) -> None:
        """Make it ready for one server. Raises OSError when no folder can be made.

        shared: the shared folder itself, if its lock is free. node_local, and shared when somebody else writes: a
        copy on the node's own disk. off: an empty folder there, thrown away at the end.
        """
        if self.mode == "off":
            self.folder = self._make_private()
            return
        holder = self._lock.take()
        if holder is not None:
            self.note = f"the compile cache is being written by {holder}: a private copy is used, and not kept"
        if self.mode == "node_local" or holder is not None:
            self.folder = self._make_private()
            if self._shared.is_dir():
                with contextlib.suppress(shutil.Error):  # a file that its writer removes while we copy
                    shutil.copytree(self._shared, self.folder, symlinks=True, dirs_exist_ok=True)
        else:
            self._shared.mkdir(parents=True, exist_ok=True)
        self.at_start = measure(self.folder)

    @property
    def warm(self) -> bool:
        """Whether it held something that was compiled when the server was started."""
        return self.at_start.entries > 0

    def env(self) -> dict[str, str]:
        """What is set for the server; the folders are there."""
        found = {}
        for name, below in VARIABLES.items():
            path = self.folder / below
            path.mkdir(parents=True, exist_ok=True)
            found[name] = str(path)
        return found

    def scratch(self) -> list[Path]:
        """What has to be removed when the agent is killed: the private copy and the lock."""
        return [*([self._private] if self._private else []), *([self._lock.path] if self._lock.held else [])]

    def close(self, *, keep: bool) -> None:
        """Let others write. `keep`: a node-local copy takes the place of the shared one, by rename. Raises OSError."""
        try:
            if keep and self.mode == "node_local" and self._lock.held and self._private is not None:
                self._publish(self._private)
        finally:
            self._lock.release()
            if self._private is not None:
                shutil.rmtree(self._private, ignore_errors=True)

    def _make_private(self) -> Path:
        self._private = Path(tempfile.mkdtemp(prefix=_PRIVATE_PREFIX))
        return self._private

    def _publish(self, source: Path) -> None:
        beside = self._shared.with_name(f"{self._shared.name}.new-{os.getpid()}")
        aside = self._shared.with_name(f"{self._shared.name}.old-{os.getpid()}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            shutil.copytree(source, beside, symlinks=True)
            if self._shared.is_dir():
                self._shared.rename(aside)
            try:
                beside.rename(self._shared)
            except OSError:
                if aside.is_dir():
                    aside.rename(self._shared)
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)
