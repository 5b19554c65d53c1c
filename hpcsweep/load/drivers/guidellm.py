"""`guidellm`: send the same requests with GuideLLM and read its JSON report.

Options and keys as in GuideLLM 0.8.1. It reports the times of the first and the last token only, so these samples have
no gaps between chunks. GuideLLM defines TPOT as e2e / n; hpcsweep computes its own from the reported times.
"""

import json
import shutil
import time
from typing import Any, ClassVar

from hpcsweep.errors import DatasetError, EngineError
from hpcsweep.load.drivers.outside import ClientResult, ClientSample, ClientWork, OutsideClient, read_json
from hpcsweep.load.prepare import extra_body, max_tokens_of
from hpcsweep.spec.phases import ErrorCause, TokenSource
from hpcsweep.spec.workload import Arrival

_RESULT = "result.json"
_REQUESTS = "requests.jsonl"


class GuideLlmClient(OutsideClient):
    """GuideLLM."""

    name: ClassVar[str] = "guidellm"

    def command(self, work: ClientWork) -> list[str]:
        """See `OutsideClient.command`."""
        config, workload = work.config, work.config.planned.workload
        executable = shutil.which("guidellm")
        if executable is None:
            raise EngineError(
                "client guidellm: guidellm is not installed on this node",
                code="client_not_installed",
                hint="install it there, or use `client: builtin`",
            )
        rows = []
        for request in work.requests:
            if request.prompt is None or request.due_s is not None:
                what = "messages" if request.prompt is None else "requests at the times of a trace"
                raise DatasetError(
                    f"client guidellm cannot send {what}", code="client_unsupported", hint="use `client: builtin`"
                )
            rows.append({"prompt": request.prompt, "output_tokens_count": max_tokens_of(workload, request)})
        requests = work.folder / _REQUESTS
        requests.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        body: dict[str, Any] = {"ignore_eos": True} if workload.ignore_eos else {}
        if workload.temperature is not None:
            body["temperature"] = workload.temperature
        backend = {
            "kind": "openai_http",
            "target": config.base_url,
            "model": config.served_model,
            "request_format": "/v1/chat/completions" if workload.endpoint == "chat" else "/v1/completions",
            "validate_backend": False,
            "timeout": work.clock.real(config.request_timeout_s),
            "extras": {"body": body | extra_body(config)},
        }
        options = {
            "--backend": backend,
            "--profile": _profile(workload.arrival),
            "--data": {"kind": "json_file", "path": str(requests)},
            "--constraint": {"kind": "max_requests", "count": len(rows)},
            "--tokenizer": {"kind": "huggingface_auto", "model": config.model},
            "--seed": {"kind": "static", "value": workload.arrival.seed},
            "--output": {"kind": "json", "path": str(work.folder / _RESULT)},
        }
        command = [executable, "run", "--disable-console"]
        for option, value in options.items():
            command += [option, json.dumps(value)]
        return command

    def read(self, work: ClientWork) -> ClientResult:
        """See `OutsideClient.read`. Samples are in the order of sending."""
        path = work.folder / _RESULT
        report = read_json(path, "guidellm")
        try:
            (benchmark,) = report["benchmarks"]
            requests = benchmark["requests"]
            entries = [entry for kind in ("successful", "errored", "incomplete") for entry in requests[kind]]
            entries.sort(key=lambda entry: entry["info"]["timings"]["request_start"] or 0.0)
            offset_s = time.monotonic() - time.time()
            names: dict[str | None, list[str]] = {}
            for request in work.requests:
                names.setdefault(request.prompt, []).append(request.sample)
            samples = [_sample(entry, work, offset_s, names) for entry in entries]
            duration_s = work.clock.scaled(float(benchmark["duration"]))
        except (KeyError, TypeError, ValueError) as exc:
            raise DatasetError(
                f"{path}: not a known report of GuideLLM", code="client_result_invalid", detail=repr(exc)
            ) from exc
        warnings = ["guidellm does not report the gaps between chunks"]
        if len(samples) != len(work.requests):
            warnings.append(f"guidellm reports {len(samples)} of {len(work.requests)} requests")
        return ClientResult(samples, duration_s, tuple(warnings))


def _profile(arrival: Arrival) -> dict[str, Any]:
    if arrival.request_rate is None and arrival.max_concurrency is not None:
        return {"kind": "concurrent", "streams": [arrival.max_concurrency]}
    if arrival.request_rate is None:
        return {"kind": "throughput"}
    if arrival.process == "poisson" and arrival.burstiness != 1.0:
        raise DatasetError(
            f"client guidellm cannot send with burstiness {arrival.burstiness}",
            code="client_unsupported",
            hint="use `client: builtin`",
        )
    profile: dict[str, Any] = {"kind": arrival.process, "rate": [arrival.request_rate]}
    if arrival.max_concurrency is not None:
        profile["max_concurrency"] = arrival.max_concurrency
    return profile


def _sample(
    entry: dict[str, Any], work: ClientWork, offset_s: float, names: dict[str | None, list[str]]
) -> ClientSample:
    """Return one sample. `offset_s`: monotonic minus Unix time. `names`: prompt -> ids not yet assigned to an entry."""
    timings, clock = entry["info"]["timings"], work.clock
    start_s = timings["request_start"]
    sample: ClientSample = {
        "sent_s": round(clock.t_s((start_s or timings["resolve_start"] or time.time()) + offset_s), 6),
        "prompt_tokens": entry["prompt_tokens"],
        "tokens_from": TokenSource.USAGE.value,
    }
    sent = json.loads(entry["request_args"]) if entry.get("request_args") else {}
    ids = names.get((sent.get("body") or {}).get("prompt"))
    if ids:
        sample["sample"] = ids.pop(0)
    if entry["info"]["status"] == "completed":
        first_s, last_s = timings["first_token_iteration"], timings["last_token_iteration"]
        sample["completion_tokens"] = entry["output_tokens"]
        sample["ttft_s"] = round(clock.scaled(first_s - start_s), 6)
        sample["e2e_s"] = round(clock.scaled(last_s - start_s), 6)
        return sample
    sample["tokens_from"] = TokenSource.NONE.value
    sample["error"] = ErrorCause.CLIENT_ERROR.value
    sample["error_detail"] = str(entry["info"].get("error") or entry["info"]["status"])[:300]
    return sample
