"""The lines of vLLM's log that show a phase or a fact, with the versions in which each was seen.

The patterns are searched anywhere in a line, since the prefix differs by version (`(EngineCore_DP0 pid=1) INFO ...` up
to 0.16, coloured in 0.11; `(EngineCore pid=1) INFO ...` since 0.22), and progress bars and tracebacks have none since
0.32.
Sources: the wheels 0.11.0, 0.12.0, 0.16.0, 0.22.1, 0.32.0 and 0.33.0; 0.22.1 was run on an H200, 0.32.0 on CPUs;
lines marked 0.17 and 0.21 are from logs in bug reports. Failures: `tracebacks.py` and the knowledge base in `hints/`.
"""

from hpcsweep.engines.base import FactPattern, PhasePattern, rx
from hpcsweep.spec.phases import Phase

_ALL = "0.11 0.12 0.16 0.22 0.32 0.33"
_GIB = 2.0**30


PHASES = (
    PhasePattern(rx(r"vLLM (?:API )?server version \S+|█ +version \d"), Phase.ENGINE_INIT, seen_in=_ALL),
    PhasePattern(rx(r"non-default args: \{"), Phase.ENGINE_INIT, seen_in=_ALL),
    PhasePattern(rx(r"Initializing a V1 LLM engine \(v"), Phase.ENGINE_INIT, seen_in=_ALL),
    PhasePattern(rx(r"with config: .*\benforce_eager=True"), Phase.COMPILE, "absent", _ALL),
    PhasePattern(rx(r"with config: .*\benforce_eager=True"), Phase.CAPTURE_GRAPHS, "absent", _ALL),
    PhasePattern(rx(r"with config: .*\benforce_eager=True\b.*\bdevice_config=cpu\b"), Phase.PROFILE, "absent", _ALL),
    PhasePattern(rx(r"with config: .*\bdevice_config=cpu\b"), Phase.CAPTURE_GRAPHS, "absent", _ALL),
    PhasePattern(rx(r"Starting to load model .+\.\.\."), Phase.LOAD_WEIGHTS, seen_in=_ALL),
    PhasePattern(rx(r"Model loading took [\d.]+ GiB"), Phase.LOAD_WEIGHTS, "end", _ALL),
    PhasePattern(rx(r"Warming up model for the compilation"), Phase.COMPILE, seen_in=f"{_ALL}, on CPU"),
    PhasePattern(rx(r"Starting torch\.compile"), Phase.COMPILE, seen_in="0.32 0.33"),
    PhasePattern(rx(r"Using cache directory: \S+ for vLLM's torch\.compile"), Phase.COMPILE, seen_in=_ALL),
    PhasePattern(rx(r"torch\.compile and initial profiling"), Phase.PROFILE, "absent", "0.17: one figure for both"),
    PhasePattern(
        rx(r"torch\.compile (?:and initial profiling[\w/ ]* run (?:together )?)?(?:takes|took) [\d.]+ s in total"),
        Phase.COMPILE,
        "end",
        _ALL,
    ),
    PhasePattern(
        rx(r"(?:saved AOT compiled function to|Directly load AOT compilation)"), Phase.COMPILE, "end", "0.22 0.32"
    ),
    PhasePattern(
        rx(r"Warming up done\."), Phase.PROFILE, "absent", "0.32, on CPU: if not logged before, it was in compile"
    ),
    PhasePattern(rx(r"Available KV cache memory: "), Phase.KV_CACHE, seen_in=_ALL),
    PhasePattern(rx(r"(?:Explicitly|Auto) set \([\d.]+/[\d.]+\) GiB for KV cache"), Phase.KV_CACHE, seen_in="0.32"),
    PhasePattern(rx(r"reserved [\d.]+ GiB memory for KV Cache as specified"), Phase.KV_CACHE, seen_in="0.11 to 0.33"),
    PhasePattern(rx(r"KV cache size: [\d,]+ tokens"), Phase.KV_CACHE, seen_in=_ALL),
    # Kernels are compiled and tuned between the KV cache and the graphs, for up to some ten minutes.
    PhasePattern(
        rx(
            r"Deep_?GEMM(?:\(\w+\))? warmup|\[Autotuner\]: Autotuning process starts"
            r"|compile and warming up model for size"
        ),
        Phase.WARMUP,
        "early",
        "0.11 to 0.33",
        Phase.KV_CACHE,
    ),
    PhasePattern(rx(r"Capturing CUDA graphs"), Phase.CAPTURE_GRAPHS, seen_in=_ALL),
    PhasePattern(rx(r"Graph capturing finished in"), Phase.CAPTURE_GRAPHS, "end", _ALL),
    PhasePattern(rx(r"init engine \(profile, create kv cache, warmup model\) took"), Phase.WARMUP, seen_in=_ALL),
)

FACTS = (
    FactPattern(rx(r"vLLM (?:API )?server version (\d\S*)"), "engine_version", words=True, seen_in="0.11 0.12 0.16"),
    FactPattern(rx(r"█ +version (\d\S*)"), "engine_version", words=True, seen_in="0.22 0.32 0.33"),
    FactPattern(rx(r"V1 LLM engine \(v([^)]+)\)"), "engine_version", words=True, seen_in=_ALL),
    FactPattern(rx(r"Resolved architecture: (\w+)"), "architecture", words=True, first=True, seen_in=_ALL),
    FactPattern(rx(r"Using max model len (\d+)"), "max_model_len_tokens", "tokens", first=True, seen_in=_ALL),
    FactPattern(
        rx(r"Checkpoint size: ([\d.]+) GiB"), "checkpoint_bytes", "bytes", _GIB, first=True, seen_in="0.22 0.32 0.33"
    ),
    FactPattern(rx(r"Time spent downloading weights for .*: ([\d.]+) seconds"), "download_s", "s", seen_in=_ALL),
    # Of the model and of a draft model beside it, in the same process.
    FactPattern(rx(r"Loading weights took ([\d.]+) seconds"), "load_s", "s", total=True, seen_in=_ALL),
    FactPattern(rx(r"Loading weights took ([\d.]+) seconds"), "read_weights_s", "s", total=True, seen_in=_ALL),
    FactPattern(
        rx(r"Model loading took ([\d.]+) GiB(?: memory)? and [\d.]+ seconds"),
        "weights_bytes_per_gpu", "bytes", _GIB, seen_in=_ALL,
    ),
    FactPattern(
        rx(r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds"), "load_s", "s", seen_in=_ALL
    ),
    FactPattern(rx(r"Using cache directory: (\S+) for vLLM's torch"), "compile_cache_dir", words=True, seen_in=_ALL),
    FactPattern(rx(r"Dynamo bytecode transform time: ([\d.]+) s"), "dynamo_s", "s", total=True, seen_in=_ALL),
    FactPattern(rx(r"Compiling a graph for .+ takes ([\d.]+) s"), "inductor_s", "s", total=True, seen_in=_ALL),
    FactPattern(rx(r"Compiling a graph for .+ takes "), "graphs_compiled", value=1.0, total=True, seen_in=_ALL),
    FactPattern(
        rx(r"Compiling model again due to a load failure from .+, reason: (.+)"),
        "compile_cache_failure",
        words=True,
        seen_in="0.32",
    ),
    FactPattern(
        rx(r"saved AOT compiled function to"),
        "graphs_saved",
        value=1.0,
        total=True,
        seen_in="0.22 0.32 0.33",
    ),
    FactPattern(
        rx(r"fx graph cache hit for key"), "inductor_cache_hits", value=1.0, total=True,
        seen_in="torch 2.13, with TORCH_LOGS=torch._inductor.codecache",
    ),
    FactPattern(
        rx(r"fx graph cache miss for key"), "inductor_cache_misses", value=1.0, total=True,
        seen_in="torch 2.13, with TORCH_LOGS=torch._inductor.codecache",
    ),
    FactPattern(
        rx(r"Directly load (?:the compiled graph\(s\) for|AOT compilation from path)"),
        "graphs_from_cache", value=1.0, total=True, seen_in=_ALL,
    ),
    FactPattern(
        rx(r"Directly load the compiled graph\(s\) for .+ took ([\d.]+) s"), "cache_load_s", "s", total=True,
        seen_in=_ALL,
    ),
    FactPattern(
        rx(r"torch\.compile (?:and initial profiling[\w/ ]* run (?:together )?)?(?:takes|took) ([\d.]+) s in total"),
        "compile_s", "s", total=True, seen_in=_ALL,
    ),
    FactPattern(
        rx(r"torch\.compile and initial profiling"), "compile_s_includes", words=True, value="profile", seen_in="0.17"
    ),
    FactPattern(
        rx(r"Initial profiling/warmup run took ([\d.]+) s"), "profile_s", "s", total=True, seen_in="0.21 to 0.33"
    ),
    FactPattern(rx(r"Available KV cache memory: (-?[\d.]+) GiB"), "kv_cache_bytes", "bytes", _GIB, seen_in=_ALL),
    FactPattern(
        rx(r"(?:Explicitly|Auto) set \(([\d.]+)/[\d.]+\) GiB for KV cache"),
        "kv_cache_bytes", "bytes", _GIB, seen_in="0.32",
    ),
    FactPattern(
        rx(r"reserved ([\d.]+) GiB memory for KV Cache as specified"), "kv_cache_bytes", "bytes", _GIB,
        seen_in="0.11 to 0.33, with --kv-cache-memory-bytes",
    ),
    FactPattern(rx(r"KV cache size: ([\d,]+) tokens"), "kv_cache_tokens", "tokens", seen_in=_ALL),
    FactPattern(
        rx(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x"), "max_concurrency_full_length",
        seen_in=_ALL,
    ),
    FactPattern(rx(r"Graph capturing finished in (\d+) secs"), "capture_graphs_s", "s", total=True, seen_in=_ALL),
    FactPattern(
        rx(r"Graph capturing finished in \d+ secs, took (-?[\d.]+) GiB"),
        "graphs_bytes", "bytes", _GIB, total=True, seen_in=_ALL,
    ),
    FactPattern(
        rx(r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s"), "init_engine_s", "s",
        seen_in=_ALL,
    ),
    FactPattern(
        rx(r"JIT compilation during inference: "), "kernels_compiled_in_requests", value=1.0, total=True,
        seen_in="0.22 0.32",
    ),
)  # fmt: skip

NOISE = (
    rx(r"Waiting for \d+ local, \d+ remote core engine proc"),
    rx(r"No available shared memory broadcast block found"),
    rx(r'"GET /(?:health|metrics|v1/models|ping)\b[^"]*" \d+'),
    rx(r"Avg prompt throughput: [\d.]+ tokens/s, Avg generation throughput: "),
)
"""Lines that are also written when the engine is stuck: waiting, responses to probes, statistics. The front end
averages over the last 10 s, so it reports a throughput once more after the engine has stopped during a request."""
