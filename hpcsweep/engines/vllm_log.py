"""The lines of vLLM's log that tell a phase, a fact or a failure, with the versions in which each was seen.

Searched anywhere in a line: the prefix differs by version (`(EngineCore_DP0 pid=1) INFO ...` up to 0.16, coloured in
0.11; `(EngineCore pid=1) INFO ...` since 0.22), and progress bars and tracebacks have none since 0.32.
Sources: the wheels 0.11.0, 0.12.0, 0.16.0, 0.22.1, 0.32.0 and 0.33.0; 0.22.1 was run on an H200, 0.32.0 on CPUs.
"""

import re

from hpcsweep.engines.base import FactPattern, FailurePattern, PhasePattern
from hpcsweep.engines.failures import PORT_TAKEN, rx
from hpcsweep.spec.phases import OutcomeKind, Phase

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
    PhasePattern(rx(r"torch\.compile (?:takes|took) [\d.]+ s in total"), Phase.COMPILE, "end", _ALL),
    PhasePattern(
        rx(r"(?:saved AOT compiled function to|Directly load AOT compilation)"), Phase.COMPILE, "end", "0.22 0.32"
    ),
    PhasePattern(rx(r"Warming up done\."), Phase.PROFILE, "absent", "0.32, on CPU: if not told yet, it was in compile"),
    PhasePattern(rx(r"Available KV cache memory: "), Phase.KV_CACHE, seen_in=_ALL),
    PhasePattern(rx(r"(?:Explicitly|Auto) set \([\d.]+/[\d.]+\) GiB for KV cache"), Phase.KV_CACHE, seen_in="0.32"),
    PhasePattern(rx(r"KV cache size: [\d,]+ tokens"), Phase.KV_CACHE, seen_in=_ALL),
    PhasePattern(rx(r"Capturing CUDA graphs"), Phase.CAPTURE_GRAPHS, seen_in=_ALL),
    PhasePattern(rx(r"Graph capturing finished in"), Phase.CAPTURE_GRAPHS, "end", _ALL),
    PhasePattern(rx(r"init engine \(profile, create kv cache, warmup model\) took"), Phase.WARMUP, seen_in=_ALL),
)

FACTS = (
    FactPattern(rx(r"vLLM (?:API )?server version (\d\S*)"), "engine_version", words=True, seen_in="0.11 0.12 0.16"),
    FactPattern(rx(r"█ +version (\d\S*)"), "engine_version", words=True, seen_in="0.22 0.32 0.33"),
    FactPattern(rx(r"V1 LLM engine \(v([^)]+)\)"), "engine_version", words=True, seen_in=_ALL),
    FactPattern(rx(r"Resolved architecture: (\w+)"), "architecture", words=True, seen_in=_ALL),
    FactPattern(rx(r"Using max model len (\d+)"), "max_model_len_tokens", "tokens", seen_in=_ALL),
    FactPattern(rx(r"Checkpoint size: ([\d.]+) GiB"), "checkpoint_bytes", "bytes", _GIB, seen_in="0.22 0.32 0.33"),
    FactPattern(rx(r"Time spent downloading weights for .*: ([\d.]+) seconds"), "download_s", "s", seen_in=_ALL),
    FactPattern(rx(r"Loading weights took ([\d.]+) seconds"), "load_s", "s", seen_in=_ALL),
    FactPattern(rx(r"Loading weights took ([\d.]+) seconds"), "read_weights_s", "s", seen_in=_ALL),
    FactPattern(
        rx(r"Model loading took ([\d.]+) GiB(?: memory)? and [\d.]+ seconds"),
        "weights_bytes_per_gpu", "bytes", _GIB, seen_in=_ALL,
    ),
    FactPattern(rx(r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds"), "load_s", "s", seen_in=_ALL),
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
        rx(r"torch\.compile (?:and initial profiling/warmup run together )?(?:takes|took) ([\d.]+) s in total"),
        "compile_s", "s", total=True, seen_in=_ALL,
    ),
    FactPattern(rx(r"Initial profiling/warmup run took ([\d.]+) s"), "profile_s", "s", seen_in="0.22 0.32 0.33"),
    FactPattern(rx(r"Available KV cache memory: (-?[\d.]+) GiB"), "kv_cache_bytes", "bytes", _GIB, seen_in=_ALL),
    FactPattern(
        rx(r"(?:Explicitly|Auto) set \(([\d.]+)/[\d.]+\) GiB for KV cache"),
        "kv_cache_bytes", "bytes", _GIB, seen_in="0.32",
    ),
    FactPattern(rx(r"KV cache size: ([\d,]+) tokens"), "kv_cache_tokens", "tokens", seen_in=_ALL),
    FactPattern(
        rx(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x"), "max_concurrency_full_length",
        seen_in=_ALL,
    ),
    FactPattern(rx(r"Graph capturing finished in (\d+) secs"), "capture_graphs_s", "s", seen_in=_ALL),
    FactPattern(
        rx(r"Graph capturing finished in \d+ secs, took (-?[\d.]+) GiB"),
        "graphs_bytes", "bytes", _GIB, seen_in=_ALL,
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

_CONSEQUENCE = r"(?!.*(?:EngineDeadError|Engine core init|See (?:root cause|stack trace)))"
"""Not an exception that only says that another one has come before it."""

_OOM_HINT = "use more GPUs, a smaller max_model_len or max_num_seqs, or quantized weights"
_KV_HINT = "lower max_model_len, raise gpu_memory_utilization, use an fp8 KV cache, or more GPUs"
_MODEL_HINT = "give a path that the compute nodes can read, or the name of a repository (and a token, if it is gated)"

FAILURES = (
    FailurePattern(
        rx(r"Free memory on device .* is less than desired GPU memory utilization"),
        OutcomeKind.OUT_OF_MEMORY,
        "another process holds GPU memory, or gpu_memory_utilization is too high",
    ),
    FailurePattern(rx(r"No available memory for the cache blocks"), OutcomeKind.OUT_OF_MEMORY, _KV_HINT),
    FailurePattern(
        rx(r"larger than the (?:available KV cache memory|maximum number of tokens that can be stored in KV cache)"),
        OutcomeKind.OUT_OF_MEMORY,
        _KV_HINT,
    ),
    FailurePattern(
        rx(r"Available memory on node .* is less than requested memory for kv"),
        OutcomeKind.OUT_OF_MEMORY,
        "lower VLLM_CPU_KVCACHE_SPACE or --kv-cache-memory-bytes",
    ),
    FailurePattern(
        rx(r"OutOfMemoryError|CUDA out of memory|HIP out of memory|CUDA error: out of memory"),
        OutcomeKind.OUT_OF_MEMORY,
        _OOM_HINT,
    ),
    FailurePattern(
        rx(r"error: unrecognized arguments: "),
        OutcomeKind.BAD_ARGUMENTS,
        "`vllm serve --help=all` lists the flags of the installed version",
    ),
    FailurePattern(rx(r"error: (?:argument|ambiguous option|the following arguments)"), OutcomeKind.BAD_ARGUMENTS),
    FailurePattern(
        rx(r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len"),
        OutcomeKind.BAD_ARGUMENTS,
        "the model's own context length is the limit: lower max_model_len",
    ),
    FailurePattern(
        rx(r"(?:HFValidation|RepositoryNotFound|RevisionNotFound|LocalEntryNotFound|GatedRepo)Error: "),
        OutcomeKind.MODEL_NOT_FOUND,
        _MODEL_HINT,
    ),
    FailurePattern(
        rx(
            r"Invalid repository ID or local directory specified|is not a local folder and is not a valid model"
            r"|does not appear to have a file named config\.json|OfflineModeIsEnabled"
        ),
        OutcomeKind.MODEL_NOT_FOUND,
        _MODEL_HINT,
    ),
    FailurePattern(
        rx(r"validation errors? for (?:\w*Config|\w*EngineArgs)"),
        OutcomeKind.BAD_ARGUMENTS,
        "the lines below the message say which setting",
    ),
    PORT_TAKEN,
    FailurePattern(
        rx(r"VLLM_ENGINE_READY_TIMEOUT_S\)|Timed out waiting for engine core processes to start"),
        OutcomeKind.STARTUP_TIMEOUT,
        "raise VLLM_ENGINE_READY_TIMEOUT_S",
        "engine: VLLM_ENGINE_READY_TIMEOUT_S",
    ),
    FailurePattern(
        rx(r"Did not receive response from front-end process within \d+ minutes"),
        OutcomeKind.STARTUP_TIMEOUT,
        "vLLM's processes wait 5 minutes for each other, and cannot be told otherwise: is the node overloaded?",
        "engine: HANDSHAKE_TIMEOUT_MINS",
    ),
    FailurePattern(
        rx(r"TimeoutError: RPC call to \w+ timed out"),
        OutcomeKind.STALLED,
        "a worker did not answer its engine: raise VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS if the step was only slow",
        "engine: VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS",
    ),
    FailurePattern(
        rx(r"operator torchvision::nms does not exist"),
        OutcomeKind.CRASHED,
        "torchvision does not fit this torch: pip uninstall torchvision torchaudio torchcodec",
    ),
    FailurePattern(rx(r"Worker failed with error '"), OutcomeKind.CRASHED),
    FailurePattern(rx(r"CUDA error: |NCCL error|ncclUnhandledCudaError|ncclSystemError"), OutcomeKind.CRASHED),
    FailurePattern(
        rx(r"No space left on device"), OutcomeKind.CRASHED, "free space in the cache and temporary folders"
    ),
    FailurePattern(
        rx(r"An attempt has been made to start a new process before the"),
        OutcomeKind.CRASHED,
        "the script that starts vLLM is run again by each of its processes: its last part belongs below "
        '`if __name__ == "__main__":`',
    ),
    FailurePattern(
        re.compile(
            rf"^\((?:EngineCore|\w*Worker)\w*[^)]* pid=\d+\) (?:(?:ERROR|CRITICAL) \S+ \S+ \[[^]]+\] )?{_CONSEQUENCE}"
            r"(?:\w+\.)*[A-Z]\w*(?:Error|Exception): \S"
        ),
        OutcomeKind.CRASHED,
    ),
    FailurePattern(
        rx(r"Worker proc \S+ died unexpectedly|Engine core proc \S+ died unexpectedly"),
        OutcomeKind.CRASHED,
        fatal=True,
    ),
    FailurePattern(rx(r"EngineDeadError|EngineCore encountered a fatal error"), OutcomeKind.CRASHED, fatal=True),
    FailurePattern(rx(r"Engine core initialization failed|EngineCore failed to start"), OutcomeKind.CRASHED),
    FailurePattern(re.compile(r"^(?:\w+\.)*[A-Z]\w*(?:Error|Exception): "), OutcomeKind.CRASHED),
)

NOISE = (
    rx(r"Waiting for \d+ local, \d+ remote core engine proc"),
    rx(r"No available shared memory broadcast block found"),
    rx(r'"GET /(?:health|metrics|v1/models|ping)\b[^"]*" \d+'),
    rx(r"Avg prompt throughput: [\d.]+ tokens/s, Avg generation throughput: "),
)
"""Lines written beside a dead engine: waiting, the answers to our own probes, and statistics: the front end averages
over the last 10 s, so an engine that stops in the middle of a request is praised once more after its death."""
