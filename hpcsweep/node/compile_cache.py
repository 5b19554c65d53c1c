"""The compile cache of an engine: one folder per key, with one writer at a time."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.node.identity import Identity
from hpcsweep.node.process.file_lock import FileLock
from hpcsweep.spec.phases import CacheUse
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
    "TILELANG_CACHE_DIR": "tilelang",
}
"""Environment variables that move a compile cache -> folder below the key's. Sources: vllm/envs.py, PyTorch's
torch/_inductor/runtime/cache_dir_utils.py, Triton's knobs.py, flashinfer/jit/env.py, deep_gemm's JIT, sglang,
tilelang/env.py."""

_COMPILED = re.compile(r"compil|graph|dtype|backend|quant|attention|moe|optimization|speculative|lora")
_COUNT_LIMIT = 20_000
_PRIVATE_PREFIX = "hpcsweep-cache-"


_KERNELS = (".so", ".cubin", ".hsaco")
"""Compiled machine code: of Inductor and torch for CPUs, of Triton for NVIDIA and AMD GPUs."""
_GRAPHS = frozenset({"fxgraph", "aotautograd"})
"""Folders of Inductor's cache with compiled graphs (torch/_inductor/codecache.py, autograd_cache.py)."""
_NOT_COMPILED = frozenset({"modelinfos"})
"""Folders that vLLM fills with properties of model classes before it compiles anything."""


@dataclass(frozen=True)
class CacheSize:
    """Size of a cache, as far as it was counted. `graphs`: of Inductor, without those that vLLM writes."""

    entries: int
    bytes: int
    kernels: int = 0
    graphs: int = 0


def cache_key(config: ServerConfig, settings: EngineSettings, engine_version: str, gpu_name: str) -> str:
    """Return the folder of a cache: engine version, GPU and model in its name, the rest in a hash. Safe as a path.

    The hash covers all neutral settings, because sizes and lengths change the graphs too, and the flags that affect
    what is compiled, so that variants that run at the same time do not share a cache.
    """
    flags = {name: value for name, value in config.flags.items() if _COMPILED.search(name)}
    parts = [config.model, config.revision, settings.model_dump(mode="json"), flags]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
    engine = _safe(f"{config.engine}-{engine_version}")
    return f"{engine}/{_safe(gpu_name or 'cpu')}/{_safe(config.model)[-60:]}-{digest}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "none"


def kept_folders(env: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the cache folders that the profile or the experiment chose: they are used, and not moved.

    `env`: environment of the server. `names`: variables that were set on purpose.
    """
    return {name: env[name] for name in VARIABLES if name in names and env.get(name)}


def measure(*folders: Path) -> CacheSize:
    """Count files and bytes below folders, up to 20,000 files, because this is done every few seconds."""
    entries = size = kernels = graphs = 0
    pending = [(folder, False) for folder in folders]
    while pending and entries < _COUNT_LIMIT:
        current, of_graphs = pending.pop()
        try:
            with os.scandir(current) as entries_below:
                for entry in entries_below:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name in _NOT_COMPILED:
                            continue
                        pending.append((Path(entry.path), of_graphs or entry.name in _GRAPHS))
                    else:
                        entries += 1
                        size += entry.stat(follow_symlinks=False).st_size
                        kernels += entry.name.endswith(_KERNELS)
                        graphs += of_graphs
        except OSError:  # a compiler removes its scratch folders meanwhile
            continue
    return CacheSize(entries, size, kernels, graphs)


def cache_use(logged: str | None, before: CacheSize, after: CacheSize) -> str | None:
    """Return how a compilation used the cache: hit, partial or miss; None: unknown.

    `logged`: what the engine logged about its own graphs; None: nothing. A hit that it logged is used as it is. Its
    graphs are built from Inductor's, and those from kernels: files that existed and were not added came from the cache.
    Nothing can be concluded from a cache that is too large to be counted.
    """
    if logged in (CacheUse.HIT, CacheUse.PARTIAL) or after.entries >= _COUNT_LIMIT:
        return logged
    added = after.kernels - before.kernels + after.graphs - before.graphs
    if logged is None and before.graphs and before.kernels and not added:
        return CacheUse.HIT.value
    if before.kernels:
        return CacheUse.PARTIAL.value
    return CacheUse.MISS.value if added > 0 else logged


class CompileCache:
    """The cache of one attempt. `at_start`: its size when the server was started.

    `kept`: variable -> folder that the profile or the experiment chose. Such a folder is counted, but neither locked,
    copied nor emptied.
    """

    def __init__(
        self, mode: str, root: Path, key: str, identity: Identity, kept: Mapping[str, str] | None = None
    ) -> None:
        self.mode, self.key, self.kept = mode, key, dict(kept or {})
        self._shared = root / key
        self._lock = FileLock(self._shared.with_name(self._shared.name + ".lock"), identity)
        self._private: Path | None = None
        self.folder = self._shared
        self.at_start = CacheSize(0, 0)
        self.note = ""

    def open(self) -> None:
        """Prepare it for one server. Raises OSError when no folder can be created.

        shared: the shared folder itself, if its lock is free. node_local, and shared while another process writes: a
        copy on the node's own disk. off: an empty folder there, which is removed at the end.
        """
        if self.mode == "off":
            self.folder = self._make_private()
            self.at_start = measure(*self.folders)
            return
        holder = self._lock.take()
        if holder is not None:
            self.note = f"the compile cache is locked by {holder}; using a private copy that is not kept"
        if self.mode == "node_local" or holder is not None:
            self.folder = self._make_private()
            if self._shared.is_dir():
                with contextlib.suppress(shutil.Error):  # a file that its writer removes during the copy
                    shutil.copytree(self._shared, self.folder, symlinks=True, dirs_exist_ok=True)
        else:
            self._shared.mkdir(parents=True, exist_ok=True)
        self.at_start = measure(*self.folders)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folders with the files of this cache, none of them inside another."""
        paths = dict.fromkeys([self.folder, *(Path(path).absolute() for path in self.kept.values())])
        return tuple(path for path in paths if not any(other in path.parents for other in paths))

    @property
    def warm(self) -> bool:
        """Whether it contained compiled files when the server was started."""
        return self.at_start.entries > 0

    @property
    def private(self) -> bool:
        """Whether it is a folder on the disk of this node."""
        return self._private is not None

    def env(self) -> dict[str, str]:
        """Create the folders, and return the variables that point the server to them."""
        variables = {}
        for name, below in VARIABLES.items():
            if name in self.kept:
                continue
            path = self.folder / below
            path.mkdir(parents=True, exist_ok=True)
            variables[name] = str(path)
        return variables

    def scratch(self) -> list[Path]:
        """Return what has to be removed when the agent is killed: the private copy and the lock."""
        return [*([self._private] if self._private else []), *([self._lock.path] if self._lock.held else [])]

    def close(self, *, keep: bool) -> None:
        """Release the lock. `keep`: replace the shared cache by a node-local copy, by rename. Raises OSError."""
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
        new = self._shared.with_name(f"{self._shared.name}.new-{os.getpid()}")
        old = self._shared.with_name(f"{self._shared.name}.old-{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        try:
            shutil.copytree(source, new, symlinks=True)
            if self._shared.is_dir():
                self._shared.rename(old)
            try:
                new.rename(self._shared)
            except OSError:
                if old.is_dir():
                    old.rename(self._shared)
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
