"""The lines of SGLang's log that show a phase or a fact.

Sources: the wheels 0.5.3, 0.5.4.post2 and 0.5.23, starts of 0.5.23 on CPUs, and bug reports with starts on GPUs. A test
compares the patterns of 0.5.23 with the recorded starts.
Failures: `tracebacks.py` and the knowledge base in `hints/`.
"""

from hpcsweep.engines.base import FactPattern, PhasePattern, rx
from hpcsweep.spec.phases import Phase

_ALL = "0.5.3 0.5.4.post2 0.5.23"
_OLD = "0.5.3 0.5.4.post2"
_INIT = r"Init (?:torch distributed|parallel) (?:begin|ends)"
_GIB = 2.0**30  # srt/mem_cache/memory_pool.py: GB = 1024 * 1024 * 1024


PHASES = (
    PhasePattern(rx(r"server_args=ServerArgs\("), Phase.ENGINE_INIT, seen_in=_OLD),
    PhasePattern(rx(r"server_args=\{'model_path'"), Phase.ENGINE_INIT, seen_in="0.5.23"),
    PhasePattern(rx(_INIT), Phase.ENGINE_INIT, seen_in=f"{_OLD}: torch distributed; 0.5.23: parallel"),
    # --enable-torch-compile compiles inside the capture of graphs. Without it single functions (the routing of experts,
    # the sampler) are compiled when they are first called, on CPUs in the warm-up. Neither has a line of its own.
    PhasePattern(rx(_INIT), Phase.COMPILE, "absent", _ALL),
    PhasePattern(rx(_INIT), Phase.PROFILE, "absent", _ALL),
    PhasePattern(rx(r"server_args=.*\bdisable_cuda_graph=True"), Phase.CAPTURE_GRAPHS, "absent", _OLD),
    PhasePattern(
        rx(r"server_args=.*'cuda_graph_config': \{'decode': \{'backend': 'disabled'|Cuda graph is disabled because"),
        Phase.CAPTURE_GRAPHS,
        "absent",
        "0.5.23",
    ),
    PhasePattern(rx(r"Load weight begin\."), Phase.LOAD_WEIGHTS, seen_in=_ALL),
    PhasePattern(rx(r"Load weight end\."), Phase.KV_CACHE, seen_in=_ALL),
    PhasePattern(
        rx(
            r"Entering DeepGEMM JIT Pre-Compile|DeepGEMM warmup|\[Autotuner\]: Autotuning process starts|"
            r"Running FlashInfer autotune"
        ),
        Phase.WARMUP,
        "early",
        "0.5.3, 0.5.23: their source",
        Phase.KV_CACHE,
    ),
    PhasePattern(rx(r"Capture (?:\w+ )*(?:cuda|cpu) graph begin"), Phase.CAPTURE_GRAPHS, seen_in=_ALL),
    PhasePattern(rx(r"max_total_num_tokens=\d+, "), Phase.WARMUP, seen_in=_ALL),
    PhasePattern(rx(r"Application startup complete\."), Phase.WARMUP, seen_in=_ALL),
    # Of all nodes but the first, which serve no requests: the ranks have started, and the first node warms up.
    PhasePattern(rx(r"Dummy health check server started"), Phase.WARMUP, seen_in="0.5.23"),
)

FACTS = (
    # A draft model is loaded after the model, by the same process: times and memory add up, names do not change.
    FactPattern(rx(r"Load weight end\. elapsed=([\d.]+) s"), "load_s", "s", total=True, seen_in="0.5.23"),
    # The difference of the device's free memory before and after (model_runner.py). Below 0.1 GB it is the rounding of
    # two figures. On CPUs it is the free memory of the machine, which its other processes change too.
    FactPattern(
        rx(r"Load weight end\. .*mem usage=(?!0\.0)(\d+\.\d+) GB"), "weights_bytes_per_gpu", "bytes", _GIB, total=True,
        seen_in=_ALL,
    ),
    FactPattern(
        rx(r"server_args=.*\bdevice'?[=:] ?'cpu'"), "weights_bytes_per_gpu", unknown=True,
        seen_in="0.5.23",
    ),
    FactPattern(rx(r"Load weight end\. .*\btype=(\w+)"), "architecture", words=True, first=True, seen_in=_ALL),
    FactPattern(
        rx(r"KV Cache is allocated\. .*#tokens: (\d+)"), "kv_cache_tokens", "tokens", first=True, seen_in="0.5.3"
    ),
    FactPattern(rx(r"max_total_num_tokens=(\d+), "), "kv_cache_tokens", "tokens", first=True, seen_in=_ALL),
    FactPattern(rx(r"\bcontext_len=(\d+)"), "max_model_len_tokens", "tokens", first=True, seen_in=_ALL),
    FactPattern(rx(r"Engine startup timings .*\bscheduler_e2e=([\d.]+)"), "init_engine_s", "s", seen_in="0.5.23"),
    FactPattern(
        rx(r"Engine startup timings .*\bkv_cache_allocation=([\d.]+)"), "kv_cache_allocation_s", "s", seen_in="0.5.23"
    ),
    FactPattern(
        rx(r"Capture (?:\w+ )*(?:cuda|cpu) graph end\. .*?(?:Time elapsed: |elapsed=)([\d.]+) s"),
        "capture_graphs_s", "s", total=True, seen_in=_ALL,
    ),
    FactPattern(
        rx(r"Capture (?:\w+ )*(?:cuda|cpu) graph end\. .*mem usage=(-?[\d.]+) GB"),
        "graphs_bytes", "bytes", _GIB, total=True, seen_in=_ALL,
    ),
)  # fmt: skip

NOISE = (rx(r'"(?:GET|POST) /(?:health|health_generate|metrics|v1/models|get_model_info|model_info)\b[^"]*" \d+'),)
"""The responses to the agent's probes."""
