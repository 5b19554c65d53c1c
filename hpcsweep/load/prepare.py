"""Turn a LoadConfig into a schedule: every request as the JSON that is sent, and its due time."""

import json
import math
import os
import warnings
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

from hpcsweep.errors import DatasetError
from hpcsweep.load.arrivals import due_times
from hpcsweep.load.client.clock import Clock
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.datasets.base import DatasetWarning, SampleRequest, check_files, estimate_tokens
from hpcsweep.load.datasets.registry import read_options
from hpcsweep.load.schedule import Schedule, ScheduledRequest
from hpcsweep.load.tokenizer import find_tokenizer
from hpcsweep.spec.phases import ColdKind
from hpcsweep.spec.workload import Workload

STREAMS_PER_PROCESS = 500


def prepare(config: LoadConfig) -> tuple[Schedule, list[bytes]]:
    """Return the schedule of one workload and the bodies of its requests. Raises DatasetError."""
    workload = config.planned.workload
    clock = Clock(config.time_scale, config.clock_origin_s)
    warmups, measured, notes = requests_of(config)
    bodies = [_body(config, request) for request in warmups + measured]
    offsets = [0, *accumulate(len(body) for body in bodies)]
    dues = [0.0] * len(warmups) + _dues(workload, measured)
    cold = cold_kinds(config, warmups, measured)
    items = [
        ScheduledRequest(
            sample=request.sample,
            index=index,
            due_s=clock.real(dues[index]),
            max_tokens=max_tokens_of(workload, request),
            prompt_tokens=request.prompt_tokens,
            body_at=offsets[index],
            body_bytes=len(bodies[index]),
            warmup=index < len(warmups),
            cold=kind.value if (kind := cold[index]) else None,
        )
        for index, request in enumerate(warmups + measured)
    ]
    url = urlsplit(config.base_url)
    if url.scheme != "http" or not url.hostname:
        raise DatasetError(f"base_url {config.base_url!r} is not a plain http URL", code="base_url_not_http")
    path = config.chat_path if workload.endpoint == "chat" else config.completions_path
    limit = workload.arrival.max_concurrency
    return Schedule(
        workload=workload.name,
        repeat=config.repeat,
        host=url.hostname,
        port=url.port or 80,
        path=url.path.rstrip("/") + path,
        max_concurrency=limit,
        ignore_eos=workload.ignore_eos,
        scale=config.time_scale,
        origin_s=config.clock_origin_s,
        request_timeout_s=clock.real(config.request_timeout_s),
        token_timeout_s=clock.real(config.token_timeout_s),
        processes=_processes(limit_of(config, len(measured)), config.processes),
        socket_path=config.socket_path,
        items=items,
        warnings=notes,
    ), bodies


def requests_of(config: LoadConfig) -> tuple[list[SampleRequest], list[SampleRequest], list[str]]:
    """Return (warm-up requests, measured requests, warnings) of the workload. Raises DatasetError.

    Warm-up requests differ from the measured ones where the dataset has enough: a prompt that was sent before would be
    in the prefix cache.
    """
    workload, facts = config.planned.workload, config.planned.facts
    dataset, options = read_options(workload.dataset)
    files = check_files(facts.files)
    count = workload.num_requests or facts.requests
    tokenizer, no_tokenizer = find_tokenizer(config.model) if dataset.needs_tokenizer else (None, "")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DatasetWarning)
        requests = dataset.requests(options, files, tokenizer, count + workload.warmup, workload.seed)
    notes = [f"workload {workload.name}: {warning.message}" for warning in caught]
    if caught and no_tokenizer:
        notes.append(f"workload {workload.name}: {no_tokenizer}")
    measured, rest = requests[:count], requests[count:]
    if not measured:
        raise DatasetError(f"workload {workload.name}: the dataset returned no requests", code="no_requests")
    if len(measured) < count:
        notes.append(f"workload {workload.name}: the dataset has {len(measured)} requests, not {count}")
    warmups = [rest[i] if i < len(rest) else measured[i % len(measured)] for i in range(workload.warmup)]
    return warmups, measured, notes


def _body(config: LoadConfig, request: SampleRequest) -> bytes:
    workload = config.planned.workload
    body: dict[str, Any] = {"model": config.served_model}
    if workload.endpoint == "chat":
        body["messages"] = request.messages or [{"role": "user", "content": request.prompt}]
    elif request.prompt is not None:
        body["prompt"] = request.prompt
    else:
        raise DatasetError(
            f"workload {workload.name}: sample {request.sample} has messages, which need the chat endpoint",
            code="endpoint_unsupported",
            hint="set `endpoint: chat`",
        )
    max_tokens = max_tokens_of(workload, request)
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    if workload.temperature is not None:
        body["temperature"] = workload.temperature
    if workload.temperature:
        body["seed"] = workload.seed
    if workload.ignore_eos:
        body["ignore_eos"] = True
    return json.dumps(body | extra_body(config), separators=(",", ":")).encode()


def extra_body(config: LoadConfig) -> dict[str, Any]:
    """Return the fields added to the body of every request, including the salt that separates the prefix cache."""
    salt = {} if config.cache_salt is None else {config.cache_salt_field: config.cache_salt}
    return salt | config.planned.workload.extra_body


def max_tokens_of(workload: Workload, request: SampleRequest) -> int | None:
    """Return the requested completion tokens: the workload's number, else the sample's; None: the server's limit."""
    return workload.max_tokens or request.max_tokens


def _dues(workload: Workload, measured: list[SampleRequest]) -> list[float]:
    if all(request.due_s is not None for request in measured):
        return [request.due_s or 0.0 for request in measured]
    return due_times(workload.arrival, len(measured))


def cold_kinds(
    config: LoadConfig, warmups: list[SampleRequest], measured: list[SampleRequest]
) -> list[ColdKind | None]:
    """Return why each request may meet a cold server; None: it is warm."""
    kinds: list[ColdKind | None] = []
    seen: set[int] = set()
    for request in warmups + measured:
        shape = _shape(request)
        kind: ColdKind | None = None
        if not kinds and config.first_of_server:
            kind = ColdKind.FIRST_OF_SERVER
        elif not kinds and config.after_reset:
            kind = ColdKind.FIRST_AFTER_RESET
        elif shape not in seen and config.repeat == 1:
            kind = ColdKind.FIRST_OF_SHAPE
        seen.add(shape)
        kinds.append(kind)
    return kinds


def _shape(request: SampleRequest) -> int:
    """Return the exponent of the power of two above the prompt's length: engines compile and tune in such steps."""
    text = request.prompt if request.prompt is not None else json.dumps(request.messages)
    return math.ceil(math.log2(request.prompt_tokens or estimate_tokens(len(text))))


def limit_of(config: LoadConfig, requests: int) -> int:
    """Return the maximum number of requests in flight."""
    return min(requests, config.planned.workload.arrival.max_concurrency or requests)


def _processes(streams: int, configured: int | None) -> int:
    """Return the number of sending processes: as configured, or by cores and streams, and at most `streams`."""
    by_load = min(len(os.sched_getaffinity(0)), math.ceil(streams / STREAMS_PER_PROCESS))
    return max(1, min(streams, configured or by_load))
