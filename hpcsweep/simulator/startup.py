"""Simulate the startup of a server: its phases, their log lines, and their faults."""

import asyncio
import mmap
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from hpcsweep.simulator.faults import STARTUP_FAULTS, Crash, Fault, OutOfMemory, RankStuck, Slow, Stall
from hpcsweep.simulator.log import VERSION, ServerLog
from hpcsweep.simulator.pace import Pace
from hpcsweep.simulator.profile import Behaviour
from hpcsweep.simulator.ranks import busy_wait, start_ranks
from hpcsweep.spec.phases import STARTUP_PHASES

_OPTIONAL = ("compile", "capture_graphs")
_SHARDS = 8
_SIGNAL_EVERY_S = 0.05  # real seconds between two progress signals of a slow phase
_BUSY_S = 0.01  # of CPU time per signal: one tick of the kernel's accounting
_MEMORY_BYTES = 1 << 20  # allocated and freed per signal
_WAITING = "Waiting for 1 local, 0 remote core engine proc(s) to start."
_NO_BLOCK = (
    "No available shared memory broadcast block found in 60 seconds. This typically happens when some processes are "
    "hanging or doing some time-consuming work (e.g. compilation, weight/kv cache quantization)."
)


class StartupSequence:
    """The startup of one server. `play` returns when it may listen; a fault may end the process before that."""

    def __init__(
        self, behaviour: Behaviour, pace: Pace, log: ServerLog, model: str, max_model_len: int,
        step: Callable[[], Awaitable[None]] | None = None, headless: bool = False,
    ) -> None:  # fmt: skip
        """Begin a start. `step`: is called before each phase, for the processes of other nodes.

        `headless`: this process has workers only, which write fewer lines.
        """
        self._step, self._headless = step, headless
        self._behaviour, self._pace, self._log = behaviour, pace, log
        self._model, self._max_model_len = model, max_model_len
        self._compile_s = 0.0
        root = os.environ.get("VLLM_CACHE_ROOT")
        self._cache = Path(root) / "torch_compile_cache" / f"simulated-{behaviour.fingerprint}" if root else None
        # A file in the cache would make it look warm, so starts are counted only where a fault needs it.
        counted = self._cache if any(fault.times for fault in behaviour.faults) else None
        self._starts = _count_start(counted)

    async def launch(self) -> None:
        """Wait until the first log line is due, which corresponds to the time of imports."""
        await self._middle("launch", self._pace.varied(self._behaviour.startup.launch))

    async def play(self) -> None:
        """Simulate all later phases of this profile, in order."""
        steps: dict[str, Callable[[float], Awaitable[None]]] = {
            "engine_init": self._engine_init,
            "load_weights": self._load_weights,
            "compile": self._compile,
            "profile": self._profile,
            "kv_cache": self._kv_cache,
            "capture_graphs": self._capture_graphs,
            "warmup": self._warmup,
        }
        for phase in STARTUP_PHASES[1:]:
            duration_s = getattr(self._behaviour.startup, phase)
            if self._step is not None:
                await self._step()
            if phase not in _OPTIONAL or duration_s > 0 or self._faults(phase):
                await steps[phase](self._pace.varied(duration_s))

    async def _engine_init(self, duration_s: float) -> None:
        eager = self._behaviour.startup.compile == 0
        self._core(
            f"Initializing a V1 LLM engine (v{VERSION}) with config: model='{self._model}', "
            f"max_seq_len={self._max_model_len}, enforce_eager={eager}",
            "core.py:133",
        )
        await self._middle("engine_init", duration_s)

    async def _load_weights(self, duration_s: float) -> None:
        begun_s = self._pace.now_s()
        self._worker(f"Starting to load model {self._model}...", "gpu_model_runner.py:4750")
        faults = self._faults("load_weights")
        for shard in range(_SHARDS + 1):
            percent = 100 * shard // _SHARDS
            self._log.raw(f"Loading safetensors checkpoint shards: {percent:3d}% Completed | {shard}/{_SHARDS}")
            if shard == _SHARDS // 2:
                for fault in faults:
                    await self._play_fault(fault)
            if shard < _SHARDS:
                await self._pace.sleep(duration_s / _SHARDS)
        took_s = max(duration_s, self._pace.now_s() - begun_s) if faults else duration_s
        weights_gib = self._behaviour.memory.weights_gib
        self._worker(f"Loading weights took {took_s:.2f} seconds", "default_loader.py:501")
        self._worker(
            f"Model loading took {weights_gib:g} GiB memory and {took_s:.6f} seconds", "gpu_model_runner.py:4845"
        )

    async def _compile(self, duration_s: float) -> None:
        pace, compile_ = self._pace, self._behaviour.compile
        filled = self._cache / "graphs" if self._cache else None
        warm = compile_.warm_s is not None and filled is not None and filled.exists()
        if warm and compile_.warm_s is not None:
            duration_s = pace.varied(compile_.warm_s)
        begun_s = pace.now_s()
        dynamo_s = min(compile_.dynamo_s, duration_s)
        self._worker("Starting torch.compile", "monitor.py:48")
        folder = self._cache or Path.home() / ".cache/vllm/torch_compile_cache/simulated"
        self._worker(f"Using cache directory: {folder} for vLLM's torch.compile", "backends.py:1118")
        await pace.sleep(dynamo_s)
        self._worker(f"Dynamo bytecode transform time: {dynamo_s:.2f} s", "backends.py:1178")
        rest_s = duration_s - dynamo_s
        graphs = "compile range (1, 8192)"
        if warm:
            await pace.sleep(rest_s)
            self._worker(
                f"Directly load the compiled graph(s) for {graphs} from the cache, took {rest_s:.3f} s",
                "backends.py:374",
            )
        else:
            await self._middle("compile", rest_s, before=0.0)
            rest_s = max(rest_s, pace.now_s() - begun_s - dynamo_s) if self._faults("compile") else rest_s
            self._worker(f"Cache the graph of {graphs} for later use", "backends.py:399")
            self._worker(f"Compiling a graph for {graphs} takes {rest_s:.2f} s", "backends.py:414")
            if filled is not None:
                filled.parent.mkdir(parents=True, exist_ok=True)
                filled.touch()
        self._compile_s = dynamo_s + rest_s
        self._worker(f"torch.compile took {self._compile_s:.2f} s in total", "monitor.py:76")

    async def _profile(self, duration_s: float) -> None:
        await self._middle("profile", duration_s)
        self._worker(f"Initial profiling/warmup run took {duration_s:.2f} s", "monitor.py:94")

    async def _kv_cache(self, duration_s: float) -> None:
        memory = self._behaviour.memory
        self._worker(f"Available KV cache memory: {memory.kv_cache_gib:.2f} GiB", "gpu_worker.py:520")
        await self._middle("kv_cache", duration_s)
        self._core(
            f"GPU KV cache size: {memory.kv_cache_tokens:,} tokens, Maximum concurrency for "
            f"{self._max_model_len:,} tokens per request: {memory.kv_cache_tokens / self._max_model_len:.2f}x",
            "kv_cache_utils.py:2327",
        )

    async def _capture_graphs(self, duration_s: float) -> None:
        bar = "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):"
        self._log.raw(f"{bar}   0%|          | 0/{_SHARDS}")
        await self._middle("capture_graphs", duration_s)
        self._log.raw(f"{bar} 100%|██████████| {_SHARDS}/{_SHARDS}")
        graphs_gib = self._behaviour.memory.graphs_gib
        self._worker(
            f"Graph capturing finished in {duration_s:.0f} secs, took {graphs_gib:.2f} GiB", "gpu_model_runner.py:6105"
        )

    async def _warmup(self, duration_s: float) -> None:
        startup = self._behaviour.startup
        init_s = self._compile_s + startup.profile + startup.kv_cache + startup.capture_graphs
        compilation = f" (compilation: {self._compile_s:.2f} s)" if self._compile_s else ""
        self._core(
            f"init engine (profile, create kv cache, warmup model) took {init_s:.2f} s{compilation}", "core.py:402"
        )
        await self._middle("warmup", duration_s)

    async def _middle(self, phase: str, duration_s: float, before: float = 0.5) -> None:
        """Wait `duration_s`, with the faults of `phase` after the fraction `before` of it."""
        await self._pace.sleep(duration_s * before)
        for fault in self._faults(phase):
            await self._play_fault(fault)
        await self._pace.sleep(duration_s * (1 - before))

    def _faults(self, phase: str) -> list[Fault]:
        return [
            fault
            for fault in self._behaviour.faults
            if isinstance(fault, STARTUP_FAULTS) and fault.phase == phase and self.has(fault)
        ]

    def has(self, fault: Fault) -> bool:
        """Return whether this server is among the first `times` servers, which have the fault."""
        return fault.times == 0 or self._starts <= fault.times

    async def _play_fault(self, fault: Fault) -> None:
        if isinstance(fault, Stall):
            await self._stall(fault)
        elif isinstance(fault, RankStuck):
            start_ranks(fault)
            await asyncio.Event().wait()
        elif isinstance(fault, Slow):
            await self._slow(fault)
        elif isinstance(fault, Crash):
            self._log.raw(fault.message)
            sys.exit(fault.exit_code)
        elif isinstance(fault, OutOfMemory):
            self._run_out_of_memory(fault)

    async def _stall(self, fault: Stall) -> None:
        if fault.busy:
            busy_wait()
        while fault.noise:
            await asyncio.sleep(10 / self._pace.scale)
            self._log.line(_WAITING, "utils.py:1047", level="DEBUG")
        await asyncio.Event().wait()

    async def _slow(self, fault: Slow) -> None:
        end = time.monotonic() + fault.extra_s / self._pace.scale
        logged_s = time.monotonic()
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(_SIGNAL_EVERY_S, left))
            if fault.cpu:
                busy_until = time.process_time() + _BUSY_S
                while time.process_time() < busy_until:
                    pass
                _allocate_memory()
            if fault.cache and self._cache is not None:
                self._cache.mkdir(parents=True, exist_ok=True)
                with (self._cache / "kernels.bin").open("ab") as stream:
                    stream.write(bytes(4096))
            if fault.log and time.monotonic() - logged_s >= 60 / self._pace.scale:
                logged_s = time.monotonic()
                self._core(_NO_BLOCK, "shm_broadcast.py:871")
        self._pace.restart(self._pace.now_s())

    def _run_out_of_memory(self, fault: OutOfMemory) -> None:
        used_gib = self._behaviour.memory.weights_gib + self._behaviour.memory.kv_cache_gib
        self._core(
            f"EngineCore failed to start.\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate "
            f"{fault.tried_gib:.2f} GiB. GPU 0 has a total capacity of {used_gib + 1:.2f} GiB of which "
            f"{fault.tried_gib / 2:.2f} GiB is free. Process {os.getpid()} has {used_gib:.2f} GiB memory in use.",
            "core.py:1187",
            level="ERROR",
        )
        self._log.raw("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        sys.exit(1)

    def _core(self, text: str, location: str, level: str = "INFO") -> None:
        if self._headless:
            return
        self._log.line(text, location, "EngineCore", level)

    def _worker(self, text: str, location: str) -> None:
        self._log.line(text, location, "Worker")


def _allocate_memory() -> None:
    """Touch new pages like a compiler, which distinguishes it from a loop that waits."""
    with mmap.mmap(-1, _MEMORY_BYTES) as memory:
        for page in range(0, _MEMORY_BYTES, mmap.PAGESIZE):
            memory[page] = 1


def _count_start(cache: Path | None) -> int:
    """Return the number of this start among those that share `cache`, from 1; 1 without a cache."""
    if cache is None:
        return 1
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "starts").open("a+b") as stream:
        stream.write(b".")
        stream.flush()
        return stream.tell()
