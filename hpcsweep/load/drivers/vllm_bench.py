"""`vllm-bench`: the same requests sent by the real `vllm bench serve`, its detailed result read back.

Options and keys as in vLLM 0.32, benchmarks/serve.py. Its verdict on success is its own and milder than ours: an
error inside a stream and a stream that ends early count as success there. What of that can be seen is warned of.
"""

import json
import shutil
from collections.abc import Iterator
from typing import Any

from hpcsweep.errors import DatasetError, EngineError
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.drivers.outside import ClientResult, ClientWork, read_json, run_outside
from hpcsweep.load.drivers.vllm_result import detailed_requests
from hpcsweep.load.prepare import extra_body, max_tokens_of

_RESULT = "result.json"
_REQUESTS = "requests.jsonl"


def run(config: LoadConfig) -> int:
    """Send the workload by `vllm bench serve`."""
    return run_outside(config, "vllm-bench", argv, read)


def argv(work: ClientWork) -> list[str]:
    """The command; writes the requests where it reads them. Raises EngineError: no vllm; DatasetError: not for it."""
    config, workload = work.config, work.config.planned.workload
    named = config.engine_executable if config.engine == "vllm" else None
    executable = shutil.which(named or "vllm")
    if executable is None:
        raise EngineError(
            f"client vllm-bench: no {named or 'vllm'} on this node", hint="install vLLM there, or use `client: builtin`"
        )
    rows = []
    for request in work.requests:
        if request.prompt is None or request.due_s is not None:
            what = "messages" if request.prompt is None else "the times of a trace"
            raise DatasetError(f"client vllm-bench cannot send {what}", hint="use `client: builtin`")
        tokens = max_tokens_of(workload, request)
        if tokens is None:
            raise DatasetError("client vllm-bench needs max_tokens", hint="say `max_tokens:` in the workload")
        rows.append({"prompt": request.prompt, "output_tokens": tokens})
    requests = work.folder / _REQUESTS
    requests.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chat = workload.endpoint == "chat"
    arrival = workload.arrival
    command = [executable, "bench", "serve", "--backend", "openai-chat" if chat else "openai"]
    command += ["--base-url", config.base_url, "--endpoint", config.chat_path if chat else config.completions_path]
    command += ["--model", config.model, "--served-model-name", config.served_model, "--tokenizer", config.model]
    command += ["--dataset-name", "custom", "--dataset-path", str(requests), "--custom-output-len", "-1"]
    command += ["--skip-chat-template", "--disable-shuffle", "--num-prompts", str(len(rows))]
    command += ["--num-warmups", str(workload.warmup), "--seed", str(arrival.seed), "--disable-tqdm"]
    if arrival.request_rate is not None:
        command += ["--request-rate", str(arrival.request_rate)]
        command += ["--burstiness", "inf" if arrival.process == "constant" else str(arrival.burstiness)]
    if arrival.max_concurrency is not None:
        command += ["--max-concurrency", str(arrival.max_concurrency)]
    if workload.ignore_eos:
        command += ["--ignore-eos"]
    if workload.temperature is not None:
        command += ["--temperature", str(workload.temperature)]
    if extra_body(config):
        command += ["--extra-body", json.dumps(extra_body(config))]
    command += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,95,99"]
    return [
        *command,
        "--save-result",
        "--save-detailed",
        "--result-dir",
        str(work.folder),
        "--result-filename",
        _RESULT,
    ]


def read(work: ClientWork) -> ClientResult:
    """Its result as samples. DatasetError when it is not there or has no details."""
    path = work.folder / _RESULT
    result = read_json(path, "vllm-bench")
    try:
        samples = list(_samples(result, work))
        warnings = _warnings(samples, result, work)
        return ClientResult(samples, work.clock.scaled(float(result["duration"])), tuple(warnings))
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise DatasetError(f"{path}: not a detailed result of vllm bench serve", detail=repr(exc)) from exc


def _samples(result: dict[str, Any], work: ClientWork) -> Iterator[dict[str, Any]]:
    clock = work.clock
    for request in detailed_requests(result):
        # its clock is perf_counter, which on Linux is CLOCK_MONOTONIC, as ours
        sample: dict[str, Any] = request | {"sent_s": round(clock.t_s(request["sent_s"]), 6), "tokens_from": "usage"}
        if "error_detail" in request:
            sample |= {"tokens_from": "none", "error": "client_error"}
        else:
            sample |= {
                "ttft_s": round(clock.scaled(request["ttft_s"]), 6),
                "e2e_s": round(clock.scaled(request["e2e_s"]), 6),
                "itl_s": [round(clock.scaled(gap_s), 6) for gap_s in request["itl_s"]],
            }
        yield sample


def _warnings(samples: list[dict[str, Any]], result: dict[str, Any], work: ClientWork) -> list[str]:
    workload = work.config.planned.workload
    found = []
    good = sum("error" not in sample for sample in samples)
    if good != result["completed"]:
        found.append(f"vllm-bench says {result['completed']} completed, its details say {good}")
    asked = [max_tokens_of(workload, request) for request in work.requests]
    short = sum(
        workload.ignore_eos and "error" not in sample and sample["completion_tokens"] < (tokens or 0)
        for sample, tokens in zip(samples, asked, strict=False)
    )
    if short:
        found.append(f"vllm-bench counts {short} answers as successes that are shorter than asked with ignore_eos")
    if len(samples) != len(work.requests):
        found.append(f"vllm-bench sent {len(samples)} requests, {len(work.requests)} were asked for")
    return found
