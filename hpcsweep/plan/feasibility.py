"""Check whether a variant can be served with the requested GPUs, before anything is submitted. Pure."""

import json
import re
from dataclasses import dataclass, replace
from typing import Literal

from hpcsweep.engines.argv import canonical
from hpcsweep.engines.base import Engine, MemoryRule
from hpcsweep.engines.flags import flag_problems
from hpcsweep.plan.model_size import WIDTH_OF_METHOD, ModelFacts
from hpcsweep.spec.gpu_types import is_model
from hpcsweep.spec.job import Resources
from hpcsweep.spec.server import EngineSettings, ServerConfig

_GIB = 2**30
_GPU_MEMORY_GIB = {"h200": 141, "h100": 80, "h800": 80, "h20": 96, "a100": 80, "a800": 80, "gh200": 96}
_GPU_MEMORY_GIB |= {"b200": 180, "l40s": 48, "l40": 48, "a40": 48, "a6000": 48, "l4": 24, "a10": 24, "v100": 32}
"""GiB of one GPU. Vendors print GB for GiB, to within 1 % (nvidia-smi: 81920 MiB for an A100-80G)."""
_NO_FP8 = ("a100", "a800", "a40", "a6000", "a10", "v100")
"""Compute capability below 8.9: no fp8 arithmetic (CUDA C++ Programming Guide, Tensor Cores)."""
_LONGEST_ARGUMENT_BYTES = 32 * 4096 - 1
_LEAST_WIDTH = 0.5
"""Bytes per weight for an unknown quantization on loading: a low estimate, so that nothing that may fit is rejected."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SIZE_IN_NAME = re.compile(r"(\d+)\s*gi?b?(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """One reason against serving a variant as requested.

    `code`: stable snake_case name. `severity`: `error` if it cannot work, so that the variant is not submitted;
    `warning` if the user should look at it. `message`, `hint`: sentences for the user.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """Return the message with its hint in parentheses."""
        return self.message + (f" ({self.hint})" if self.hint else "")


def check(server: ServerConfig, resources: Resources, engine: Engine, model: ModelFacts | None) -> list[Problem]:
    """Return all known problems of serving this variant with these resources.

    `model` None: size and shape are unknown. Raises EngineError for an invalid version constraint of the engine.
    Memory is an error only if the weights or the KV cache cannot fit: activations and CUDA graphs are not counted.
    """
    settings = engine.settings(server)
    problems = [Problem("unsupported_by_engine", "error", sentence) for sentence in engine.unsupported(server)]
    problems += _gpus(settings, resources)
    problems += _across_nodes(server, settings, resources, engine)
    problems += _flags(server)
    problems += _remote_code(server)
    problems += _arguments(server)
    memory_bytes = gpu_memory_bytes(resources)
    if model is not None:
        problems += _context(server, settings, model, engine)
        if memory_bytes is not None and resources.gpus:
            problems += _memory(server, settings, model, memory_bytes, engine.memory)
    problems += _fp8(server, settings, resources, model, engine)
    return problems


def _arguments(server: ServerConfig) -> list[Problem]:
    """Return arguments and variables that Linux cannot pass to a process (execve(2), MAX_ARG_STRLEN)."""
    texts = {
        f"flag {name}": value if isinstance(value, str) else json.dumps(value) for name, value in server.flags.items()
    }
    texts |= {f"variable {name}": f"{name}={value}" for name, value in server.env.items()}
    texts["model"] = server.model
    problems = []
    for what, text in texts.items():
        if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
            problems.append(
                Problem("invalid_argument", "error", f"{what} has a character that arguments cannot contain")
            )
        elif len(text.encode()) > _LONGEST_ARGUMENT_BYTES:
            problems.append(
                Problem(
                    "argument_too_long",
                    "error",
                    f"{what} is {len(text.encode())} bytes long; the limit of Linux is {_LONGEST_ARGUMENT_BYTES}",
                    "put the value into a file and pass the file name",
                )
            )
    return problems


def refusals(problems: list[Problem]) -> list[str]:
    """Return the texts of the errors among `problems`."""
    return [problem.text for problem in problems if problem.severity == "error"]


def gpu_memory_bytes(resources: Resources) -> int | None:
    """Return the memory of one GPU: as configured, else from the size or the model in `gpu_type`. None: unknown."""
    if resources.gpu_memory_bytes is not None:
        return resources.gpu_memory_bytes
    name = (resources.gpu_type or "").lower()
    if sizes := _SIZE_IN_NAME.findall(name):
        return int(sizes[-1]) * _GIB  # the last one: MIG slices are called 1g.10gb
    gib = next((size for kind, size in _GPU_MEMORY_GIB.items() if is_model(name, kind)), None)
    return None if gib is None else gib * _GIB


def _remote_code(server: ServerConfig) -> list[Problem]:
    """Warn if code of the model's repository would run that its owner can change at any time."""
    flags = {canonical(flag): value for flag, value in server.flags.items()}
    if flags.get("--trust-remote-code") in (None, False) or server.model.startswith(("/", ".", "~", "$")):
        return []
    revisions = (server.revision, flags.get("--revision"), flags.get("--code-revision"))
    if any(_COMMIT.fullmatch(str(revision)) for revision in revisions):
        return []
    named = f"revision {server.revision!r} can move" if server.revision else "no revision is pinned"
    return [
        Problem(
            "unpinned_remote_code",
            "warning",
            f"trust-remote-code runs Python code from the repository {server.model} on the nodes, and {named}",
            "remove the flag if the engine supports the model, or pin a commit: "
            "`model: {name: ..., revision: <40 hex digits>}`",
        )
    ]


def nodes_spanned(ranks: int, resources: Resources) -> int:
    """Return the number of nodes that a server with `ranks` ranks (tensor x pipeline x data parallel) spans.

    A server that fits one node runs on the first. Without GPUs the ranks are spread over all nodes of the job.
    """
    if resources.gpus:
        return min(resources.nodes, -(-ranks // resources.gpus))
    return min(resources.nodes, ranks)


def _across_nodes(
    server: ServerConfig, settings: EngineSettings, resources: Resources, engine: Engine
) -> list[Problem]:
    """Return why a server cannot be split over the nodes that it needs."""
    nodes = nodes_spanned(settings.gpus, resources)
    if nodes == 1:
        return []
    if settings.gpus % nodes:
        message = f"{settings.gpus} ranks cannot be split evenly over {nodes} nodes"
        return [Problem("uneven_nodes", "error", message, "change tp, pp or dp, or resources.nodes and resources.gpus")]
    return [Problem("unsupported_across_nodes", "error", text) for text in engine.unsupported_across(server, nodes)]


def _gpus(settings: EngineSettings, resources: Resources) -> list[Problem]:
    if resources.gpus == 0:
        return []
    need, have = settings.gpus, resources.gpus * resources.nodes
    sizes = (settings.tensor_parallel_size, settings.pipeline_parallel_size, settings.data_parallel_size)
    tp, pp, dp = (size or 1 for size in sizes)
    product = f"tensor {tp} × pipeline {pp} × data {dp} = {need} GPUs"
    asked = f"{resources.nodes} × {resources.gpus} = {have}" if resources.nodes > 1 else str(have)
    if need > have:
        message = f"{product}, but {asked} are requested"
        return [Problem("too_few_gpus", "error", message, "change the sizes or resources.gpus")]
    if need < have:
        return [Problem("idle_gpus", "warning", f"{product}, but {asked} are requested: {have - need} stay idle")]
    return []


def _flags(server: ServerConfig) -> list[Problem]:
    hint = f"engine.version is {server.engine_version}" if server.engine_version else "engine.version is not set"
    return [
        Problem("flag_of_other_version", "error" if problem.certain else "warning", problem.sentence, hint)
        for problem in flag_problems(server.engine, server.flags, constraint=server.engine_version)
    ]


def _context(server: ServerConfig, settings: EngineSettings, model: ModelFacts, engine: Engine) -> list[Problem]:
    length, limit = settings.max_model_len, model.max_position
    if length is None or limit is None or length <= limit:
        return []
    stretched = any(flag in server.flags for flag in engine.longer_context_flags)
    allowed = any(name in server.env for name in engine.longer_context_env) or stretched
    message = f"max_model_len {length} exceeds the model's limit of {limit} tokens"
    hint = "lower it, or override the model's configuration"
    return [Problem("context_too_long", "warning" if allowed else "error", message, hint)]


def _memory(
    server: ServerConfig, settings: EngineSettings, model: ModelFacts, memory_bytes: int, rule: MemoryRule
) -> list[Problem]:
    model = _as_served(server, settings, model)
    tp, pp = settings.tensor_parallel_size or 1, settings.pipeline_parallel_size or 1
    # With expert parallelism the data parallel ranks share the experts: at best the weights are split over all.
    holders = settings.gpus if settings.expert_parallel else tp * pp
    total = model.total_weight_bytes
    if total is None or any(canonical(flag) in _OFFLOADING for flag in server.flags):
        return []
    gpu = f"{memory_bytes / _GIB:.4g} GB"
    if total > holders * memory_bytes:
        message = f"weights do not fit: {model.weight_arithmetic()} > {holders} × {gpu}"
        return [Problem("weights_do_not_fit", "error", message, "use more GPUs, or quantized weights")]
    fraction = settings.gpu_memory_utilization or rule.default_utilization
    room = memory_bytes * (fraction if rule.includes_weights else 1.0) - total / holders
    if room <= 0:
        message = (
            f"weights do not fit: {model.weight_arithmetic()} / {holders} = {total / holders / 1e9:.1f} GB per GPU"
            f" > {fraction:g} × {memory_bytes / 1e9:.1f} GB"
        )
        hint = "raise gpu_memory_utilization, use more GPUs, or quantized weights"
        return [Problem("weights_do_not_fit", "error", message, hint)]
    if any(canonical(flag) in _SHARING_CONTEXT for flag in server.flags):
        return []
    return _kv_cache(settings, model, tp, pp, room)


_OFFLOADING = ("--cpu-offload-gb", "--offload-backend", "--cpu-offload-params")
_SHARING_CONTEXT = ("--decode-context-parallel-size", "--prefill-context-parallel-size", "--dcp-size", "--cp-size")
"""Flags that move weights, or part of the KV cache of a request, elsewhere; the amount is not computed here."""


def _kv_width(dtype: str | None) -> float:
    """Return a lower bound of the bytes of one number in the KV cache; for an unknown type, those of the narrowest."""
    if dtype is None or dtype in ("auto", "bfloat16", "bf16", "float16", "half"):
        return 2.0
    return 1.0 if dtype.startswith(("fp8", "int8")) else 0.5


def _kv_cache(settings: EngineSettings, model: ModelFacts, tp: int, pp: int, room: float) -> list[Problem]:
    """Check that the KV cache of one request of full length fits: otherwise the engine does not start."""
    length = settings.max_model_len or model.max_position
    width = _kv_width(settings.kv_cache_dtype)
    per_token = model.kv_bytes_per_token(tp, pp, width)
    if length is None or per_token is None or length * per_token <= room:
        return []
    message = (
        f"the KV cache of one request does not fit: {length} tokens × {per_token / 1024:.1f} KiB = "
        f"{length * per_token / 1e9:.1f} GB per GPU > {room / 1e9:.1f} GB left by the weights"
    )
    hint = "lower max_model_len, use an fp8 KV cache, or more GPUs"
    return [Problem("kv_cache_does_not_fit", "error" if model.uniform_attention else "warning", message, hint)]


def _fp8(
    server: ServerConfig, settings: EngineSettings, resources: Resources, model: ModelFacts | None, engine: Engine
) -> list[Problem]:
    name = (resources.gpu_type or "").lower()
    kind = next((kind for kind in _NO_FP8 if is_model(name, kind)), None)
    quantization = settings.quantization or (model.quantization if model is not None else None)
    if quantization is None and re.search(r"[-_]fp8\b", server.model, re.IGNORECASE):
        quantization = "fp8"
    if kind is None or quantization is None or "fp8" not in quantization:
        return []
    title = engine.title or engine.name
    if engine.fp8.fallback:
        message = f"{kind.upper()} does not support FP8 arithmetic: {title} {engine.fp8.fallback}"
        return [Problem("fp8_in_16_bits", "warning", message, "this saves memory, but does not run at FP8 speed")]
    message = f"{kind.upper()} does not support FP8 arithmetic: {title} {engine.fp8.refusal or 'does not support it'}"
    hint = "use vLLM, other weights, or GPUs of compute capability 8.9 or higher"
    return [Problem("fp8_not_supported", "error", message, hint)]


def _as_served(server: ServerConfig, settings: EngineSettings, model: ModelFacts) -> ModelFacts:
    """Return the model with weights quantized on loading, or in the type that a flag sets."""
    width: float | None = None
    if settings.quantization is not None and model.quantization is None:
        width = WIDTH_OF_METHOD.get(settings.quantization, _LEAST_WIDTH)
    elif server.flags.get("--dtype") == "float32" and model.quantization is None:
        width = 4.0
    if width is None or model.parameters is None:
        return model
    return replace(model, bytes_per_parameter=width, weight_bytes=None)
