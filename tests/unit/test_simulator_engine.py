"""Parts of the simulated server that need no process: prefix cache, batching, metrics, answers."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hpcsweep.simulator.answers import AnswerEncoder, token_text
from hpcsweep.simulator.api import Api, ServedModel
from hpcsweep.simulator.engine import BatchingEngine
from hpcsweep.simulator.faults import EarlyEnd
from hpcsweep.simulator.generation import Generation
from hpcsweep.simulator.http import HttpRequest
from hpcsweep.simulator.log import ServerLog
from hpcsweep.simulator.metrics import Histogram, Metrics
from hpcsweep.simulator.pace import Pace
from hpcsweep.simulator.prefix_cache import PrefixCache
from hpcsweep.simulator.profile import Behaviour, Speed

TRANSCRIPT = Path(__file__).parents[1] / "transcripts" / "vllm-metrics" / "vllm-0.32-cpu.txt"

PREFIXES = [  # (prompts in turn, what is found of each)
    pytest.param([list(range(10)), list(range(10))], [0, 8], id="the same again: one token is left to compute"),
    pytest.param([list(range(10)), list(range(11))], [0, 8], id="one more token"),
    pytest.param([list(range(8)), list(range(8))], [0, 4], id="a whole number of blocks: the last is computed"),
    pytest.param([[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9]], [0, 4], id="differs in the second block"),
    pytest.param([[1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 2, 3, 4, 5, 6, 7, 8, 9]], [0, 0], id="differs in the first"),
    pytest.param([[1, 2, 3], [1, 2, 3]], [0, 0], id="shorter than a block"),
    pytest.param([[], []], [0, 0], id="empty"),
    pytest.param([list(range(9)), list(range(50, 90)), list(range(9))], [0, 0, 0], id="driven out by a longer one"),
]


@pytest.mark.parametrize(("prompts", "found"), PREFIXES)
def test_prefix_cache(prompts, found):
    cache = PrefixCache(block_tokens=4, capacity_tokens=40)
    assert [cache.take(prompt) for prompt in prompts] == found
    assert cache.hit_tokens == sum(found)
    assert cache.queried_tokens == sum(len(prompt) for prompt in prompts)
    assert cache.take(prompts[0], "another salt") == 0


class StepPace(Pace):
    """Time that passes only in `sleep`."""

    def __init__(self):
        super().__init__(1.0, 0.0, "")
        self.time_s = 0.0

    def now_s(self, monotonic_s=None):
        return self.time_s

    async def sleep(self, duration_s):
        self.time_s += duration_s
        await asyncio.sleep(0)


def played(speed, requests):
    """For every (prompt tokens, tokens): the times at which its tokens came, when all arrive at once."""
    pace = StepPace()
    engine = BatchingEngine(replace(Behaviour(), speed=speed), pace, Metrics("m", 512))
    times = [[] for _ in requests]

    async def run():
        done = asyncio.Event()
        left = len(requests)

        def end():
            nonlocal left
            left -= 1
            if not left:
                done.set()

        for number, (prompt_tokens, tokens) in enumerate(requests, 1):
            prompt = [(number, position) for position in range(prompt_tokens)]
            came = times[number - 1]
            engine.submit(
                Generation(prompt, tokens, tokens, number, lambda _, came=came: came.append(pace.now_s()), end, 0.0)
            )
        task = asyncio.create_task(engine.run())
        await done.wait()
        task.cancel()

    asyncio.run(run())
    return times


BATCHES = [
    pytest.param(
        Speed(decode_tps=10, prefill_tps=100), [(50, 3)], [[0.6, 0.7, 0.8]], id="prompt, then a token every step"
    ),
    pytest.param(
        Speed(decode_tps=10, prefill_tps=100, first_request_extra_s=5), [(50, 2)], [[5.6, 5.7]], id="cold start"
    ),
    pytest.param(
        Speed(decode_tps=10, prefill_tps=100, max_num_batched_tokens=30), [(50, 1)], [[0.7]], id="prompt in two steps"
    ),
    pytest.param(
        Speed(decode_tps=10, prefill_tps=1e9, per_request_s=0.05),
        [(1, 2), (1, 3)],
        [[0.15, 0.3], [0.15, 0.3, 0.4]],
        id="a step is longer with two",
    ),
    pytest.param(
        Speed(decode_tps=10, prefill_tps=1e9, max_num_seqs=1), [(1, 2), (1, 1)], [[0.1, 0.2], [0.3]], id="one seat"
    ),
    pytest.param(
        Speed(decode_tps=10, prefill_tps=100, max_num_batched_tokens=11),
        [(1, 3), (20, 1)],
        [[0.21, 0.41, 0.51], [0.41]],
        id="decodes come first in the budget",
    ),
]


@pytest.mark.parametrize(("speed", "requests", "times"), BATCHES)
def test_batching(speed, requests, times):
    found = played(speed, requests)
    for row, expected in zip(found, times, strict=True):
        assert row == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_no_error_adds_up_over_many_waits():
    pace = Pace(1000.0, 0.0, "")

    async def wait():
        pace.restart(pace.now_s())
        begun_s = pace.now_s()
        for _ in range(200):
            await pace.sleep(1.0)
        return pace.now_s() - begun_s

    # 200 sleeps of a millisecond each wake up late; only the last of them may show.
    assert asyncio.run(wait()) >= 200 - 1e-6


def test_jitter_stays_within_its_width_and_repeats():
    first, second = Pace(1.0, 0.1, "seed"), Pace(1.0, 0.1, "seed")
    values = [first.varied(10.0) for _ in range(200)]
    assert values == [second.varied(10.0) for _ in range(200)]
    assert min(values) >= 9 and max(values) <= 11 and max(values) - min(values) > 1


def test_histogram_is_cumulative():
    histogram = Histogram((1, 2.5))
    for value in (0.5, 1, 2, 9):
        histogram.observe(value)
    assert histogram.lines("h", 'a="b"') == [
        'h_bucket{a="b",le="1.0"} 2.0',
        'h_bucket{a="b",le="2.5"} 3.0',
        'h_bucket{a="b",le="+Inf"} 4.0',
        'h_count{a="b"} 4.0',
        'h_sum{a="b"} 12.5',
    ]


def test_every_name_and_bucket_of_the_metrics_page_is_one_of_vllms():
    def names(text):
        return {line.partition("{")[0] for line in text.splitlines() if line.startswith("vllm:")}

    def buckets(text):
        return set(re.findall(r'^(vllm:\w+)_bucket\{.*le="([^"]+)"', text, re.MULTILINE))

    page = Metrics("m", 512).page(0, 0, 0.0, PrefixCache(16, 160))
    assert names(page) <= names(TRANSCRIPT.read_text())
    assert buckets(page) <= buckets(TRANSCRIPT.read_text())
    assert ("vllm:time_to_first_token_seconds", "2560.0") in buckets(page)


def test_a_model_name_with_quotes_does_not_break_the_page():
    page = Metrics('a"b\\c\nd', 512).page(0, 0, 0.0, PrefixCache(16, 160))
    assert 'model_name="a\\"b\\\\c\\nd"' in page


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("model", ["org/Model", 'it\'s "x" \\ 模型'])
def test_a_token_event_is_the_same_as_one_made_from_scratch(chat, model):
    answer = AnswerEncoder(chat, model, 1)
    event = json.loads(answer.tokens(7, 7).removeprefix(b"data: "))
    last = json.loads(answer.last_tokens(7, 7, "stop").removeprefix(b"data: "))
    last["choices"][0]["finish_reason"] = None
    assert event == last
    assert event["model"] == model
    text = event["choices"][0]["delta"]["content"] if chat else event["choices"][0]["text"]
    assert text == token_text(7)


class RecordedConnection:
    """Collects what an answer sends."""

    def __init__(self):
        self.sent, self.ended, self.on_lost = b"", False, None

    def start_stream(self):
        pass

    def send(self, event):
        self.sent += event

    def end_stream(self):
        self.ended = True

    def respond(self, status, body, content_type=""):
        self.sent += json.dumps(body).encode()


@pytest.mark.parametrize("done", [True, False])
def test_an_answer_that_is_cut_short_has_usage_and_end_only_if_it_looks_complete(done):
    """Without `done` neither the usage, which the client requested, nor `[DONE]` may be sent."""

    async def play():
        pace, metrics = StepPace(), Metrics("m", 512)
        engine = BatchingEngine(Behaviour(), pace, metrics)
        faults = [EarlyEnd(after_tokens=2, done=done)]
        api = Api(ServedModel("m", 512, None), Speed(), faults, engine, metrics, pace, ServerLog())
        body = {"model": "m", "prompt": "a b", "max_tokens": 5, "stream": True}
        body["stream_options"] = {"include_usage": True}
        connection = RecordedConnection()
        api.handle(HttpRequest("POST", "/v1/completions", {}, json.dumps(body).encode(), 0.0), connection)
        task = asyncio.create_task(engine.run())
        while not connection.ended:
            await asyncio.sleep(0)
        task.cancel()
        return connection.sent

    sent = asyncio.run(play())
    assert sent.count(b'"finish_reason": "stop"') == 1
    assert (b'"usage"' in sent, b"[DONE]" in sent) == (done, done)
