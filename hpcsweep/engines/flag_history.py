"""Flags that were added or removed in known versions of an engine, so that a wrong flag costs no GPU time. Pure data.

Read from the argument parsers in the published wheels: vLLM 0.11.0, 0.11.1, 0.12.0, 0.14.1, 0.16.0, 0.17.1, 0.18.0,
0.20.2, 0.22.1, 0.25.1, 0.28.0, 0.32.0 and SGLang 0.5.3, 0.5.4.post2; SGLang 0.5.23 was asked for its flags. Versions
between two of these were not read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FlagChange:
    """A removed flag. `last_in`: the last version read that has it; `gone_in`: the first that does not.

    `instead`: the flag to write now; empty: none. `note`: an explanation, half a sentence.
    """

    flag: str
    last_in: str
    gone_in: str
    instead: str = ""
    note: str = ""

    def advice(self) -> str:
        """Return what to do about it, half a sentence."""
        action = f"write {self.instead}" if self.instead else "leave it out"
        return f"{action} ({self.note})" if self.note else action


@dataclass(frozen=True)
class FlagHistory:
    """The flags of an engine over its versions.

    `removed`: the flags that were removed. `added`: flag -> the first version read that has it. `releases`: published
    versions, against which a version constraint is evaluated.
    """

    removed: tuple[FlagChange, ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    releases: tuple[str, ...] = ()


NO_HISTORY = FlagHistory()

_EPLB = "--eplb-config '{...}'"
_HF = "--hf-overrides '{...}'"
_STRUCTURED = "--structured-outputs-config '{...}'"

VLLM_NNODES_SINCE = "0.11.1"
"""First release whose workers span nodes without Ray (vllm-project/vllm#23691): `--nnodes` is in the parser of the
wheel 0.11.1 of 2025-11-19, and not in that of 0.11.0."""

VLLM = FlagHistory(
    removed=(
        FlagChange("--calculate-kv-scales", "0.25.1", "0.28.0", note="scales come from the checkpoint"),
        FlagChange(
            "--cuda-graph-sizes", "0.12.0", "0.14.1", "--cudagraph-capture-sizes or --max-cudagraph-capture-size"
        ),
        FlagChange("--disable-frontend-multiprocessing", "0.18.0", "0.20.2"),
        FlagChange("--disable-log-requests", "0.16.0", "0.17.1", note="requests are not logged by default"),
        FlagChange("--disable-mm-preprocessor-cache", "0.12.0", "0.14.1", "--mm-processor-cache-gb 0"),
        FlagChange("--enable-lora-bias", "0.11.0", "0.11.1"),
        FlagChange("--enable-multimodal-encoder-data-parallel", "0.12.0", "0.14.1", "--mm-encoder-tp-mode data"),
        FlagChange("--eplb-log-balancedness", "0.11.1", "0.12.0", _EPLB),
        FlagChange("--eplb-step-interval", "0.11.1", "0.12.0", _EPLB),
        FlagChange("--eplb-window-size", "0.11.1", "0.12.0", _EPLB),
        FlagChange("--num-redundant-experts", "0.11.1", "0.12.0", _EPLB),
        FlagChange("--guided-decoding-backend", "0.11.1", "0.12.0", _STRUCTURED),
        FlagChange("--guided-decoding-disable-fallback", "0.11.1", "0.12.0", _STRUCTURED),
        FlagChange("--guided-decoding-disable-any-whitespace", "0.11.1", "0.12.0", _STRUCTURED),
        FlagChange("--guided-decoding-disable-additional-properties", "0.11.1", "0.12.0", _STRUCTURED),
        FlagChange("--logits-processor-pattern", "0.16.0", "0.17.1"),
        FlagChange("--lora-extra-vocab-size", "0.11.1", "0.12.0"),
        FlagChange("--max-long-partial-prefills", "0.25.1", "0.28.0"),
        FlagChange("--max-num-partial-prefills", "0.25.1", "0.28.0"),
        FlagChange("--num-lookahead-slots", "0.11.1", "0.12.0"),
        FlagChange("--override-attention-dtype", "0.25.1", "0.28.0"),
        FlagChange("--override-pooler-config", "0.11.1", "0.12.0", "--pooler-config '{...}'"),
        FlagChange("--rope-scaling", "0.11.0", "0.11.1", _HF),
        FlagChange("--rope-theta", "0.11.0", "0.11.1", _HF),
        FlagChange("--swap-space", "0.17.1", "0.18.0", note="KV cache offloading is --kv-offloading-size, in GiB"),
        FlagChange("--task", "0.12.0", "0.14.1", "--runner and --convert"),
    ),
    added={
        "--master-addr": "0.11.1",
        "--master-port": "0.11.1",
        "--nnodes": "0.11.1",
        "--node-rank": "0.11.1",
        "--all2all-backend": "0.11.1",
        "--cudagraph-capture-sizes": "0.11.1",
        "--kv-offloading-size": "0.11.1",
        "--max-cudagraph-capture-size": "0.11.1",
        "--optimization-level": "0.12.0",
        "--prefill-context-parallel-size": "0.12.0",
        "--attention-backend": "0.14.1",
        "--moe-backend": "0.17.1",
        "--performance-mode": "0.17.1",
        "--shutdown-timeout": "0.18.0",
        "--numa-bind": "0.20.2",
    },
    releases=(
        *("0.11.0", "0.11.1", "0.11.2", "0.12.0", "0.13.0", "0.14.0", "0.14.1", "0.15.0", "0.15.1", "0.16.0"),
        *("0.17.0", "0.17.1", "0.18.0", "0.18.1", "0.19.0", "0.19.1", "0.20.0", "0.20.1", "0.20.2", "0.21.0"),
        *("0.22.0", "0.22.1", "0.23.0", "0.24.0", "0.25.0", "0.25.1", "0.26.0", "0.27.0", "0.27.1", "0.28.0"),
        *("0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0"),
    ),
)

SGLANG = FlagHistory(
    removed=(
        FlagChange("--collect-tokens-histogram", "0.5.4.post2", "0.5.23", note="--enable-metrics includes it"),
        FlagChange("--cuda-graph-bs", "0.5.4.post2", "0.5.23", "--cuda-graph-bs-decode"),
        FlagChange("--cuda-graph-max-bs", "0.5.4.post2", "0.5.23", "--cuda-graph-max-bs-decode"),
        FlagChange("--enable-double-sparsity", "0.5.4.post2", "0.5.23"),
        FlagChange("--enable-ep-moe", "0.5.3", "0.5.4.post2", "--ep-size N"),
        FlagChange("--enable-deepep-moe", "0.5.3", "0.5.4.post2", "--moe-a2a-backend deepep"),
        FlagChange("--enable-flashinfer-cutlass-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-flashinfer-trtllm-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-flashinfer-mxfp4-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-triton-kernel-moe", "0.5.3", "0.5.4.post2", "--moe-runner-backend"),
        FlagChange("--enable-piecewise-cuda-graph", "0.5.4.post2", "0.5.23", "--cuda-graph-backend-prefill breakable"),
        FlagChange("--enable-nan-detection", "0.5.4.post2", "0.5.23"),
        FlagChange("--max-micro-batch-size", "0.5.3", "0.5.4.post2", "--pp-max-micro-batch-size"),
        FlagChange("--nsa-decode-backend", "0.5.4.post2", "0.5.23", "--dsa-decode-backend"),
        FlagChange("--nsa-prefill-backend", "0.5.4.post2", "0.5.23", "--dsa-prefill-backend"),
        FlagChange("--stream-output", "0.5.4.post2", "0.5.23", "--incremental-streaming-output"),
        FlagChange("--torchao-config", "0.5.4.post2", "0.5.23", "--quantization"),
    ),
    added={
        "--attn-dp-size": "0.5.23",
        "--cuda-graph-backend-decode": "0.5.23",
        "--cuda-graph-backend-prefill": "0.5.23",
        "--cuda-graph-bs-decode": "0.5.23",
        "--cuda-graph-config": "0.5.23",
        "--cuda-graph-max-bs-decode": "0.5.23",
        "--dsa-decode-backend": "0.5.23",
        "--dsa-prefill-backend": "0.5.23",
    },
    releases=("0.5.3", "0.5.4.post2", *(f"0.5.{patch}" for patch in range(5, 24))),
)
