"""The lines of SGLang's log that tell a phase, a fact or a failure. Read in the wheels; none was seen in a run."""

import re

from hpcsweep.engines.base import FactPattern, FailurePattern, PhasePattern
from hpcsweep.engines.failures import NO_SUCH_MODEL, PORT_TAKEN, rx
from hpcsweep.spec.phases import OutcomeKind, Phase

_ALL = "0.5.3 0.5.4.post2 0.5.23"
_GIB = 2.0**30  # srt/mem_cache/memory_pool.py: GB = 1024 * 1024 * 1024


PHASES = (
    PhasePattern(rx(r"server_args=ServerArgs\("), Phase.ENGINE_INIT, seen_in=_ALL),
    PhasePattern(rx(r"Init torch distributed begin"), Phase.ENGINE_INIT, seen_in=_ALL),
    # Compilation is off unless --enable-torch-compile, and happens inside the capture of graphs: no line of its own.
    PhasePattern(rx(r"Init torch distributed (?:begin|ends)"), Phase.COMPILE, "absent", _ALL),
    PhasePattern(rx(r"Init torch distributed (?:begin|ends)"), Phase.PROFILE, "absent", _ALL),
    PhasePattern(rx(r"server_args=.*\bdisable_cuda_graph=True"), Phase.CAPTURE_GRAPHS, "absent", "0.5.3 0.5.4.post2"),
    PhasePattern(rx(r"Load weight begin\."), Phase.LOAD_WEIGHTS, seen_in=_ALL),
    PhasePattern(rx(r"Load weight end\."), Phase.KV_CACHE, seen_in=_ALL),
    PhasePattern(rx(r"Capture (?:\w+ )*(?:cuda|cpu) graph begin"), Phase.CAPTURE_GRAPHS, seen_in=_ALL),
    PhasePattern(rx(r"max_total_num_tokens=\d+, "), Phase.WARMUP, seen_in=_ALL),
    PhasePattern(rx(r"Application startup complete\."), Phase.WARMUP, seen_in=_ALL),
)

FACTS = (
    FactPattern(rx(r"Load weight end\. elapsed=([\d.]+) s"), "load_s", "s", seen_in="0.5.23"),
    FactPattern(
        rx(r"Load weight end\. .*mem usage=([\d.]+) GB"), "weights_bytes_per_gpu", "bytes", _GIB, seen_in=_ALL
    ),
    FactPattern(rx(r"Load weight end\. .*\btype=(\w+)"), "architecture", words=True, seen_in=_ALL),
    FactPattern(rx(r"KV Cache is allocated\. .*#tokens: (\d+)"), "kv_cache_tokens", "tokens", seen_in="0.5.3"),
    FactPattern(rx(r"max_total_num_tokens=(\d+), "), "kv_cache_tokens", "tokens", seen_in=_ALL),
    FactPattern(rx(r"\bcontext_len=(\d+)"), "max_model_len_tokens", "tokens", seen_in=_ALL),
    FactPattern(
        rx(r"Capture (?:\w+ )*(?:cuda|cpu) graph end\. .*?(?:Time elapsed: |elapsed=)([\d.]+) s"),
        "capture_graphs_s", "s", total=True, seen_in=_ALL,
    ),
    FactPattern(
        rx(r"Capture (?:\w+ )*(?:cuda|cpu) graph end\. .*mem usage=(-?[\d.]+) GB"),
        "graphs_bytes", "bytes", _GIB, total=True, seen_in=_ALL,
    ),
)  # fmt: skip

FAILURES = (
    FailurePattern(
        rx(r"Not enough memory\. Please try to increase --mem-fraction-static"),
        OutcomeKind.OUT_OF_MEMORY,
        "raise gpu_memory_utilization (--mem-fraction-static), or use more GPUs",
    ),
    FailurePattern(
        rx(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory"),
        OutcomeKind.OUT_OF_MEMORY,
        "lower --mem-fraction-static or max_num_seqs, or use more GPUs",
    ),
    FailurePattern(
        rx(r"type fp8e4nv not supported in this architecture"),
        OutcomeKind.UNSUPPORTED,
        "these GPUs have no fp8 arithmetic (it needs compute capability 8.9): use other weights, other GPUs, or vLLM",
    ),
    FailurePattern(
        rx(r"error: (?:unrecognized arguments|argument|ambiguous option|the following arguments)"),
        OutcomeKind.BAD_ARGUMENTS,
        "`sglang serve --help` lists the flags of the installed version",
    ),
    FailurePattern(
        rx(r"context_length \(\d+\) is greater than the derived context_length .* set the env var"),
        OutcomeKind.BAD_ARGUMENTS,
        "the model's own context length is the limit: lower max_model_len",
    ),
    NO_SUCH_MODEL,
    PORT_TAKEN,
    FailurePattern(
        rx(r"Watchdog timeout"),
        OutcomeKind.STALLED,
        "SGLang's own watchdog: raise --watchdog-timeout if the step was only slow",
        "engine: --watchdog-timeout",
    ),
    FailurePattern(rx(r"Initialization failed\. warmup error"), OutcomeKind.CRASHED),
    FailurePattern(rx(r"CUDA error: |NCCL error|ncclUnhandledCudaError|ncclSystemError"), OutcomeKind.CRASHED),
    FailurePattern(
        rx(r"No space left on device"), OutcomeKind.CRASHED, "free space in the cache and temporary folders"
    ),
    FailurePattern(re.compile(r"^(?:\w+\.)*[A-Z]\w*(?:Error|Exception): "), OutcomeKind.CRASHED),
    FailurePattern(rx(r"Scheduler hit an exception|scheduler (?:is dead|died)|Received sigquit"), OutcomeKind.CRASHED),
)

NOISE = (rx(r'"(?:GET|POST) /(?:health|health_generate|metrics|v1/models|get_model_info|model_info)\b[^"]*" \d+'),)
"""The answers to our own probes."""
