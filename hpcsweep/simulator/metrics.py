"""Generate `/metrics`: Prometheus text with the names of vLLM 0.32. Durations are simulated seconds."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from hpcsweep.simulator.generation import Generation
from hpcsweep.simulator.prefix_cache import PrefixCache

# The bucket bounds are those of vLLM's own page.
_TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
_GAP = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)


class Histogram:
    """Counts of values below bounds, as Prometheus defines them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """Return the lines of the histogram. `labels`: without braces."""
        text, below = [], 0
        for bound, count in zip((*map(float, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            text.append(f'{name}_bucket{{{labels},le="{bound}"}} {float(below)}')
        return [*text, f"{name}_count{{{labels}}} {float(below)}", f"{name}_sum{{{labels}}} {self._sum}"]


class Metrics:
    """The counters of a server. `max_model_len`: tokens of the longest request."""

    def __init__(self, model: str, max_model_len: int) -> None:
        tokens = [m * 10**e for e in range(len(str(max_model_len))) for m in (1, 2, 5) if m * 10**e <= max_model_len]
        escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        self._model_label = f'model_name="{escaped}"'
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.cached_tokens = 0
        self._finished: Counter[str] = Counter()
        self._histograms = {
            "vllm:time_to_first_token_seconds": Histogram(_TTFT),
            "vllm:inter_token_latency_seconds": Histogram(_GAP),
            "vllm:request_time_per_output_token_seconds": Histogram(_GAP),
            "vllm:e2e_request_latency_seconds": Histogram(_LATENCY),
            "vllm:request_queue_time_seconds": Histogram(_LATENCY),
            "vllm:request_inference_time_seconds": Histogram(_LATENCY),
            "vllm:request_prefill_time_seconds": Histogram(_LATENCY),
            "vllm:request_decode_time_seconds": Histogram(_LATENCY),
            "vllm:request_prompt_tokens": Histogram(tokens),
            "vllm:request_generation_tokens": Histogram(tokens),
        }

    def gap(self, gap_s: float) -> None:
        """Count the time between two tokens of one answer."""
        self._histograms["vllm:inter_token_latency_seconds"].observe(gap_s)

    def finished(self, generation: Generation, reason: str, now_s: float) -> None:
        """Count a request that ended for `reason`: stop, length or abort."""
        self._finished[reason] += 1
        if reason == "abort" or not generation.given:
            return
        observe = self._observe
        decode_s = generation.last_token_s - generation.first_token_s
        observe("vllm:time_to_first_token_seconds", generation.first_token_s - generation.arrival_s)
        if generation.given > 1:
            observe("vllm:request_time_per_output_token_seconds", decode_s / (generation.given - 1))
        observe("vllm:e2e_request_latency_seconds", now_s - generation.arrival_s)
        observe("vllm:request_queue_time_seconds", generation.scheduled_s - generation.arrival_s)
        observe("vllm:request_inference_time_seconds", now_s - generation.scheduled_s)
        observe("vllm:request_prefill_time_seconds", generation.first_token_s - generation.scheduled_s)
        observe("vllm:request_decode_time_seconds", decode_s)
        observe("vllm:request_prompt_tokens", generation.prompt_tokens)
        observe("vllm:request_generation_tokens", generation.given)

    def _observe(self, name: str, value: float) -> None:
        self._histograms[name].observe(value)

    def page(self, running: int, waiting: int, kv_cache_usage: float, cache: PrefixCache) -> str:
        """Return the page. `kv_cache_usage`: a fraction."""
        labels = f'engine="0",{self._model_label}'
        lines: list[str] = []

        def add(name: str, kind: str, values: Sequence[tuple[str, float]]) -> None:
            lines.append(f"# TYPE {name} {kind}")
            lines.extend(f"{name}{{{extra}}} {float(value)}" for extra, value in values)

        add("vllm:num_requests_running", "gauge", [(labels, running)])
        add("vllm:num_requests_waiting", "gauge", [(labels, waiting)])
        add("vllm:kv_cache_usage_perc", "gauge", [(labels, kv_cache_usage)])
        add("vllm:prefix_cache_queries_total", "counter", [(labels, cache.queried_tokens)])
        add("vllm:prefix_cache_hits_total", "counter", [(labels, cache.hit_tokens)])
        add("vllm:num_preemptions_total", "counter", [(labels, 0)])
        add("vllm:prompt_tokens_total", "counter", [(labels, self.prompt_tokens + self.cached_tokens)])
        add("vllm:prompt_tokens_cached_total", "counter", [(labels, self.cached_tokens)])
        add("vllm:generation_tokens_total", "counter", [(labels, self.generation_tokens)])
        reasons = [
            (f'engine="0",finished_reason="{reason}",{self._model_label}', self._finished[reason])
            for reason in ("stop", "length", "abort", "error", "repetition")
        ]
        add("vllm:request_success_total", "counter", reasons)
        for name, histogram in self._histograms.items():
            lines.append(f"# TYPE {name} histogram")
            lines.extend(histogram.lines(name, labels))
        return "\n".join(lines) + "\n"
