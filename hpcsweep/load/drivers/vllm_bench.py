"""`vllm-bench`: send the same requests with `vllm bench serve` and read its detailed result.

Options and keys as in vLLM 0.32, benchmarks/serve.py. It counts an error inside a stream, and a stream
that ends early, as success, unlike hpcsweep. Warnings report what the result shows of that.
"""

import json
import shutil
from collections.abc import Iterator
from typing import Any, ClassVar

from hpcsweep.containers.launch import ContainerLaunch
from hpcsweep.errors import DatasetError, EngineError
from hpcsweep.load.config import LoadConfig
from hpcsweep.load.drivers.outside import ClientResult, ClientSample, ClientWork, OutsideClient, read_json
from hpcsweep.load.drivers.vllm_result import detailed_requests
from hpcsweep.load.prepare import extra_body, max_tokens_of
from hpcsweep.spec.phases import ErrorCause, TokenSource

_RESULT = "result.json"
_REQUESTS = "requests.jsonl"


class VllmBenchClient(OutsideClient):
    """`vllm bench serve`."""

    name: ClassVar[str] = "vllm-bench"

    def command(self, work: ClientWork) -> list[str]:
        """See `OutsideClient.command`."""
        config, workload = work.config, work.config.planned.workload
        named = config.engine_executable if config.engine == "vllm" else None
        executable = named if self.container(config) is not None else shutil.which(named or "vllm")
        if executable is None:
            raise EngineError(
                f"client vllm-bench: {named or 'vllm'} is not installed on this node",
                code="client_not_installed",
                hint="install vLLM there, or use `client: builtin`",
            )
        rows = []
        for request in work.requests:
            if request.prompt is None or request.due_s is not None:
                what = "messages" if request.prompt is None else "requests at the times of a trace"
                raise DatasetError(
                    f"client vllm-bench cannot send {what}", code="client_unsupported", hint="use `client: builtin`"
                )
            tokens = max_tokens_of(workload, request)
            if tokens is None:
                raise DatasetError(
                    "client vllm-bench needs max_tokens",
                    code="client_unsupported",
                    hint="set `max_tokens:` in the workload",
                )
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

    def container(self, config: LoadConfig) -> ContainerLaunch | None:
        """Return the container of the server, if vLLM is in it."""
        return config.container if config.engine == "vllm" and config.engine_executable is not None else None

    def read(self, work: ClientWork) -> ClientResult:
        """See `OutsideClient.read`."""
        path = work.folder / _RESULT
        result = read_json(path, "vllm-bench")
        try:
            samples = list(_samples(result, work))
            warnings = _warnings(samples, result, work)
            return ClientResult(samples, work.clock.scaled(float(result["duration"])), tuple(warnings))
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            raise DatasetError(
                f"{path}: not a detailed result of vllm bench serve",
                code="client_result_invalid",
                detail=repr(exc),
            ) from exc


def _samples(result: dict[str, Any], work: ClientWork) -> Iterator[ClientSample]:
    clock = work.clock
    for request in detailed_requests(result):
        # its clock is perf_counter, which is CLOCK_MONOTONIC on Linux
        sample: ClientSample = {
            "sent_s": round(clock.t_s(request["sent_s"]), 6),
            "prompt_tokens": request["prompt_tokens"],
        }
        if "error_detail" in request:
            sample["tokens_from"] = TokenSource.NONE.value
            sample["error"] = ErrorCause.CLIENT_ERROR.value
            sample["error_detail"] = request["error_detail"]
        else:
            sample["tokens_from"] = TokenSource.USAGE.value
            sample["completion_tokens"] = request["completion_tokens"]
            sample["ttft_s"] = round(clock.scaled(request["ttft_s"]), 6)
            sample["e2e_s"] = round(clock.scaled(request["e2e_s"]), 6)
            sample["itl_s"] = [round(clock.scaled(gap_s), 6) for gap_s in request["itl_s"]]
        yield sample


def _warnings(samples: list[ClientSample], result: dict[str, Any], work: ClientWork) -> list[str]:
    workload = work.config.planned.workload
    warnings = []
    good = sum("error" not in sample for sample in samples)
    if good != result["completed"]:
        warnings.append(f"vllm-bench reports {result['completed']} completed requests, but its details have {good}")
    asked = [max_tokens_of(workload, request) for request in work.requests]
    short = sum(
        workload.ignore_eos and "error" not in sample and (sample["completion_tokens"] or 0) < (tokens or 0)
        for sample, tokens in zip(samples, asked, strict=False)
    )
    if short:
        warnings.append(
            f"vllm-bench counts {short} responses as successes although they have fewer tokens than ignore_eos requires"
        )
    if len(samples) != len(work.requests):
        warnings.append(f"vllm-bench sent {len(samples)} of {len(work.requests)} requests")
    return warnings
