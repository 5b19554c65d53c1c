"""The details of a result of `vllm bench serve --save-detailed`, request by request. Pure.

Keys as in vLLM 0.11 to 0.33, benchmarks/serve.py; `sglang.bench_serving --output-details` has the same ones. Results
before 0.12 have neither `latencies` nor `start_times`: there a request took its TTFT and all gaps after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "errors")
"""The lists that every detailed result has."""


def detailed_requests(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The requests of a result, in its order, under the names of `events.records.SampleDone`; times in seconds.

    `sent_s` is on the tool's own clock, and missing where the result does not say. `error_detail` stands only in a
    failed one: it has an error, or no token came. Raises KeyError, TypeError, ValueError or IndexError when the lists
    are not there or do not fit together.
    """
    lists: list[Sequence[Any]] = [result[name] for name in DETAILS]
    latencies, starts = result.get("latencies"), result.get("start_times")
    for index, (prompt, tokens, ttft_s, itls, error) in enumerate(zip(*lists, strict=True)):
        request: dict[str, Any] = {"prompt_tokens": prompt}
        if starts:
            request["sent_s"] = starts[index]
        if error or not tokens:
            last = str(error or "").strip().splitlines()
            yield request | {"error_detail": (last[-1] if last else "no tokens, and no reason given")[:300]}
            continue
        e2e_s = latencies[index] if latencies else ttft_s + sum(itls)
        yield request | {"completion_tokens": tokens, "ttft_s": ttft_s, "e2e_s": e2e_s, "itl_s": list(itls)}
