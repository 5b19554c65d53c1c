"""The requests of a result of `vllm bench serve --save-detailed`. Pure.

Keys as in vLLM 0.11 to 0.33, benchmarks/serve.py; `sglang.bench_serving --output-details` has the same keys. Results
before 0.12 have neither `latencies` nor `start_times`: there the latency is the TTFT plus all gaps.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "errors")
"""Lists that every detailed result has."""


def detailed_requests(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the requests of a result in its order, with the field names of `events.records.SampleDone`; seconds.

    `sent_s` is on the tool's own clock, and left out where the result has no start times. A failed request (with an
    error, or without tokens) has `error_detail`. Raises KeyError, TypeError, ValueError or IndexError when the lists
    are missing or do not match.
    """
    lists: list[Sequence[Any]] = [result[name] for name in DETAILS]
    latencies, starts = result.get("latencies"), result.get("start_times")
    for index, (prompt, tokens, ttft_s, itls, error) in enumerate(zip(*lists, strict=True)):
        request: dict[str, Any] = {"prompt_tokens": prompt}
        if starts:
            request["sent_s"] = starts[index]
        if error or not tokens:
            lines = str(error or "").strip().splitlines()
            yield request | {"error_detail": (lines[-1] if lines else "no tokens and no error message")[:300]}
            continue
        e2e_s = latencies[index] if latencies else ttft_s + sum(itls)
        yield request | {"completion_tokens": tokens, "ttft_s": ttft_s, "e2e_s": e2e_s, "itl_s": list(itls)}
