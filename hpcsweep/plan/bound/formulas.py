"""Bounds of speed, memory and load time: the time that the GPUs' memory and arithmetic need at least. Pure.

A roofline model: a step takes at least as long as reading its bytes from GPU memory, and at least as long as its
arithmetic (S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009). Communication between GPUs, kernel
launches and everything on the CPU are not counted, so that a real server is always slower. docs/bounds.md has the
formulas and worked examples.
"""

from dataclasses import dataclass
from enum import Enum

from hpcsweep.plan.architecture import Architecture, kv_share
from hpcsweep.plan.bound.gpu_specs import GpuSpec


class Limiter(str, Enum):
    """What bounds a step."""

    WEIGHTS = "reading weights"
    KV_CACHE = "reading the KV cache"
    ARITHMETIC = "arithmetic"


@dataclass(frozen=True)
class Deployment:
    """A model on GPUs.

    `weight_bytes`: per parameter, such as 2 for bfloat16 and 1 for FP8; `kv_bytes`: per number of the KV cache.
    `fp8_arithmetic`: operands are FP8. `expert_parallel`: experts are spread over tensor and data parallel GPUs, so
    that they are stored once; without it each data parallel replica has all of them.
    """

    model: Architecture
    gpu: GpuSpec
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: bool = False
    weight_bytes: float = 2.0
    kv_bytes: float = 2.0
    fp8_arithmetic: bool = False

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def flops(self) -> float:
        """Operations per second of one GPU with the operands of this deployment."""
        return self.gpu.flops_fp8 if self.fp8_arithmetic and self.gpu.flops_fp8 else self.gpu.flops


@dataclass(frozen=True)
class Step:
    """The least time of one step, in seconds, and its parts, of which reading and arithmetic may overlap."""

    weights_s: float
    kv_s: float
    arithmetic_s: float

    @property
    def least_s(self) -> float:
        """The least time: weights and KV cache come through the same memory; arithmetic may run meanwhile."""
        return max(self.weights_s + self.kv_s, self.arithmetic_s)

    @property
    def limiter(self) -> Limiter:
        """The part that decides `least_s`."""
        if self.arithmetic_s > self.weights_s + self.kv_s:
            return Limiter.ARITHMETIC
        return Limiter.WEIGHTS if self.weights_s >= self.kv_s else Limiter.KV_CACHE


def decode_step(deployment: Deployment, sequences: float, context_tokens: float) -> Step:
    """Return the bound of one decode step: one token for each of `sequences` at a mean context of `context_tokens`.

    Sequences are spread evenly over the data parallel replicas. A token passes the pipeline stages one after the other,
    so that they do not shorten its step. Experts that are spread over replicas are read for the tokens of all of them.
    """
    model, gpu = deployment.model, deployment.gpu
    tp, dp = deployment.tensor_parallel, deployment.data_parallel
    mine = max(1.0, sequences / dp)
    experts_at = tp * dp if deployment.expert_parallel else tp
    routed = mine * dp if deployment.expert_parallel else mine
    experts = model.moe_layers * model.experts_read(routed) * model.expert
    weights = (model.always_used / tp + experts / experts_at) * deployment.weight_bytes
    kv = mine * context_tokens * model.layers * model.kv_values * kv_share(model.kv_heads, tp) * deployment.kv_bytes
    arithmetic = mine * (2.0 * model.active_parameters + model.attention_flops * context_tokens) / tp
    return Step(weights / gpu.bandwidth, kv / gpu.bandwidth, arithmetic / deployment.flops)


def decode_tps(deployment: Deployment, sequences: float, context_tokens: float) -> float:
    """Return the most tokens per second of all sequences together, in a steady state of `sequences` sequences.

    With pipeline stages, as many groups of sequences are under way as there are stages, each with its share.
    """
    stages = deployment.pipeline_parallel
    step = decode_step(deployment, max(1.0, sequences / stages), context_tokens)
    groups = min(float(stages), max(1.0, sequences))
    return max(1.0, sequences / groups) * groups / step.least_s


def prefill_s(deployment: Deployment, prompt_tokens: float) -> float:
    """Return the least seconds until the first token of one prompt on an idle server.

    The prompt passes the stages one after the other, on the tensor parallel GPUs of one replica. Causal attention looks
    back at half of the prompt on average. The head computes the last position only.
    """
    model = deployment.model
    body = model.active_parameters - model.head
    per_token = 2.0 * body + model.attention_flops * prompt_tokens / 2
    arithmetic_s = (prompt_tokens * per_token + 2.0 * model.head) / deployment.tensor_parallel / deployment.flops
    weights = model.parameters_read(prompt_tokens) * deployment.weight_bytes / deployment.tensor_parallel
    return max(arithmetic_s, weights / deployment.gpu.bandwidth)


def weights_per_gpu_bytes(deployment: Deployment) -> float:
    """Return the bytes of weights on one GPU, the input embedding with them."""
    model = deployment.model
    experts = model.moe_layers * model.experts * model.expert
    replicas = deployment.data_parallel if deployment.expert_parallel else 1
    shards = deployment.tensor_parallel * deployment.pipeline_parallel
    return ((model.always_used + model.embedding) / shards + experts / (shards * replicas)) * deployment.weight_bytes


def kv_capacity_tokens(deployment: Deployment, memory_utilization: float) -> float:
    """Return the tokens of KV cache that fit beside the weights of one replica; 0: the weights alone do not fit.

    `memory_utilization`: share of the GPU's memory that the engine may use. Activations and graphs are not counted.
    """
    room = deployment.gpu.memory_bytes * memory_utilization - weights_per_gpu_bytes(deployment)
    values = deployment.model.layers / deployment.pipeline_parallel * deployment.model.kv_values
    return max(
        0.0, room / (values * kv_share(deployment.model.kv_heads, deployment.tensor_parallel) * deployment.kv_bytes)
    )


def largest_batch(deployment: Deployment, memory_utilization: float, context_tokens: float) -> int:
    """Return the sequences of `context_tokens` tokens each that fit into the KV caches of all replicas at once."""
    return int(kv_capacity_tokens(deployment, memory_utilization) / context_tokens) * deployment.data_parallel


def load_s(deployment: Deployment, bytes_per_s: float) -> float:
    """Return the least seconds to read the weights once from a file system of this bandwidth."""
    return deployment.model.parameters * deployment.weight_bytes / bytes_per_s
