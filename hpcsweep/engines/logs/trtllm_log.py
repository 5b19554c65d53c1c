"""The lines of TensorRT-LLM's log that show a phase or a fact.

Sources: its source code and a published log of 1.1.0rc3; TensorRT-LLM itself was not run. It starts up twice: first
with a small KV cache, autotuning and graphs, to measure the remaining memory (the phase `profile`), then fully.
"""

from hpcsweep.engines.base import FactPattern, PhasePattern, rx
from hpcsweep.spec.phases import Phase

_SEEN = "1.1"
_GIB = 2.0**30


PHASES = (
    PhasePattern(rx(r"TensorRT-LLM version: \d"), Phase.ENGINE_INIT, seen_in=_SEEN),
    PhasePattern(rx(r"\btorch_compile_enabled=False"), Phase.COMPILE, "absent", _SEEN),
    PhasePattern(rx(r"\buse_cuda_graph=False"), Phase.CAPTURE_GRAPHS, "absent", _SEEN),
    PhasePattern(rx(r"Prefetching .+ (?:checkpoint files|to memory)"), Phase.LOAD_WEIGHTS, seen_in=_SEEN),
    PhasePattern(rx(r"Use [\d.]+ GB for model weights"), Phase.LOAD_WEIGHTS, seen_in=_SEEN),
    PhasePattern(rx(r"Loading (?:safetensors |bin )?weights"), Phase.LOAD_WEIGHTS, seen_in=_SEEN),
    PhasePattern(rx(r"Model init total -- "), Phase.PROFILE, seen_in=_SEEN),
    PhasePattern(rx(r"Estimated max memory in KV cache"), Phase.KV_CACHE, seen_in=_SEEN),
    PhasePattern(
        rx(r"Running autotuner warmup|\[Autotuner\]:? Autotuning process starts"),
        Phase.WARMUP,
        "early",
        "1.0 to 1.2",
        Phase.KV_CACHE,
    ),
    PhasePattern(
        rx(r"Creating CUDA graph instances for \d+ batch sizes"),
        Phase.CAPTURE_GRAPHS,
        seen_in=_SEEN,
        after=Phase.KV_CACHE,
    ),
    PhasePattern(rx(r"Setting PyTorch memory fraction"), Phase.WARMUP, seen_in=_SEEN, after=Phase.KV_CACHE),
    PhasePattern(rx(r"Application startup complete\."), Phase.WARMUP, seen_in=_SEEN),
)

FACTS = (
    FactPattern(rx(r"TensorRT-LLM version: (\d\S*)"), "engine_version", words=True, seen_in=_SEEN),
    FactPattern(rx(r"Prefetching ([\d.]+)GB checkpoint files"), "checkpoint_bytes", "bytes", _GIB, seen_in=_SEEN),
    FactPattern(rx(r"Model init total -- ([\d.]+)s"), "load_s", "s", seen_in=_SEEN),
    FactPattern(
        rx(r"after loading model weights \(inside torch\).*: ([\d.]+) GiB"),
        "weights_bytes_per_gpu",
        "bytes",
        _GIB,
        seen_in=_SEEN,
    ),
    FactPattern(rx(r"Estimated max memory in KV cache : ([\d.]+) GiB"), "kv_cache_bytes", "bytes", _GIB, seen_in=_SEEN),
    FactPattern(rx(r"max tokens in paged KV cache \((\d+)\)"), "kv_cache_tokens", "tokens", seen_in=_SEEN),
    FactPattern(rx(r"\bmax_seq_len=(\d+), max_num_requests="), "max_model_len_tokens", "tokens", seen_in=_SEEN),
)

NOISE = (rx(r'"GET /(?:health|metrics|v1/models|version)\b[^"]*" \d+'),)
"""The responses to the agent's probes."""
