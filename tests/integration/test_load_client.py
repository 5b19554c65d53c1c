import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from load_process import SERVER, Mock, config, finish, load, start

from hpcsweep.events.records import SampleDone, WorkloadStarted
from hpcsweep.load.wire.answer import CAUSES


@pytest.fixture
def mock():
    """The mock server as a real process; it is gone after the test."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None and process.stdin is not None
    yield Mock(int(process.stdout.readline()))
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=20)


ANSWERS = [  # what the server does -> cause of failure, or None; completion tokens; where they were counted
    ("clean", None, 8, "usage"),
    ("http_500", "http_error", None, "none"),
    ("cut", "cut", 3, "chunks"),
    ("cut_in_an_event", "cut", 3, "chunks"),
    ("cut_before_the_answer", "cut", None, "none"),
    ("cut_after_the_last_event", None, 8, "usage"),
    ("error_in_stream", "error_in_stream", 3, "chunks"),
    ("error_event", "error_in_stream", 3, "chunks"),
    ("ended_early", "ended_early", 3, "chunks"),
    ("no_done", "ended_early", 8, "usage"),
    ("no_finish_reason", "ended_early", 8, "usage"),
    ("no_usage", None, 8, "chunks"),
    ("usage_below_chunks", "wrong_usage", 6, "usage"),
    ("usage_above_limit", "wrong_usage", 9, "usage"),
    ("usage_without_numbers", "wrong_usage", None, "usage"),
    ("short", "short", 3, "usage"),
    ("no_tokens", "no_tokens", 0, "usage"),
    ("not_streamed", "not_streamed", None, "none"),
    ("bad_json", "bad_answer", 2, "chunks"),
    ("bad_http", "bad_answer", None, "none"),
    ("wrong_chunk_size", "bad_answer", None, "none"),
    ("half_characters", None, 8, "usage"),
    ("two_tokens_in_a_chunk", None, 8, "usage"),
    ("two_events_in_a_read", None, 8, "usage"),
    ("odd_chunks", None, 8, "usage"),
    ("byte_by_byte", None, 8, "usage"),
    ("crlf", None, 8, "usage"),
    ("cr", None, 8, "usage"),
    ("content_length", None, 8, "usage"),
    ("until_close", None, 8, "usage"),
    ("close_when_idle", None, 8, "usage"),
]


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_every_answer_gets_its_verdict(mock, tmp_path, endpoint):
    """All kinds of answers at once, on connections that are used again after each."""
    prompts = [f"fault={fault}" for fault, *_ in ANSWERS]
    result = load(config(tmp_path, mock.url, prompts, endpoint=endpoint))
    assert (result.code, result.errors) == (0, "")
    by_fault = {prompts[int(sample.sample)][6:]: sample for sample in result.samples}
    found = [
        (fault, by_fault[fault].error, by_fault[fault].completion_tokens, by_fault[fault].tokens_from)
        for fault, *_ in ANSWERS
    ]
    assert found == ANSWERS
    causes = Counter(cause for _, cause, *_ in ANSWERS if cause)
    assert (result.ended.completed, result.ended.failed, result.ended.failures) == (
        len(ANSWERS) - causes.total(),
        causes.total(),
        causes,
    )
    assert set(causes) <= set(CAUSES)
    assert all(sample.error_detail for sample in result.samples if sample.error)


def test_the_mix_of_faults_that_other_clients_miscount(mock, tmp_path):
    """60 clean, 10 with status 500, 10 cut, 12 with an error inside the stream, 8 ended early: 60 good, 40 failed."""
    mix = ["clean"] * 60 + ["http_500"] * 10 + ["cut"] * 10 + ["error_in_stream"] * 12 + ["ended_early"] * 8
    prompts = [f"fault={mix[n * 37 % 100]}" for n in range(100)]
    ended = load(config(tmp_path, mock.url, prompts, arrival={"max_concurrency": 16})).ended
    assert (ended.completed, ended.failed) == (60, 40)
    assert ended.failures == {"http_error": 10, "cut": 10, "error_in_stream": 12, "ended_early": 8}


@pytest.mark.parametrize(
    ("fault", "cause", "detail"),
    [
        pytest.param("stall", "token_timeout", "after 3 chunks", id="between two tokens"),
        pytest.param("stall_at_once", "request_timeout", "0 chunks", id="before the first token"),
    ],
)
def test_a_stall_ends_by_its_budget(mock, tmp_path, fault, cause, detail):
    settings = config(tmp_path, mock.url, [f"fault={fault}", "clean"], request_timeout_s=2.0, token_timeout_s=0.5)
    result = load(settings)
    bad, good = sorted(result.samples, key=lambda sample: int(sample.sample))
    assert (bad.error, good.error) == (cause, None)
    assert detail.split()[-2] + " chunks" in bad.error_detail
    assert result.ended.failures == {cause: 1}


def test_times_are_those_of_tokens(mock, tmp_path):
    settings = config(
        tmp_path, mock.url, ["fault=late_after_role", "fault=half_characters"], arrival={"max_concurrency": 1}
    )
    late, halves = load(settings).samples
    assert late.ttft_s is not None and 0.25 <= late.ttft_s < 5  # the chunk with the role is no first token
    assert late.e2e_s == pytest.approx(late.ttft_s + sum(late.itl_s), abs=1e-4)
    assert len(halves.itl_s) == 2 if halves.itl_s else False  # "\U0001f600", half a character, "\U0001f601"


def test_chunks_are_gaps_and_tokens_are_usage(mock, tmp_path):
    prompts = ["fault=two_tokens_in_a_chunk", "fault=two_events_in_a_read"]
    one, two = load(config(tmp_path, mock.url, prompts, arrival={"max_concurrency": 1})).samples
    assert (len(one.itl_s), one.completion_tokens) == (3, 8)
    assert (len(two.itl_s), two.completion_tokens) == (7, 8)
    assert two.itl_s[0] == 0.0  # both came in one read: nobody knows of a gap


def test_a_simulated_server_is_reported_on_its_own_clock(mock, tmp_path):
    body = {"mock_ttft_s": 0.2, "mock_itl_s": 0.02}
    arrival = {"request_rate": 0.5, "process": "constant"}
    result = load(config(tmp_path, mock.url, ["a", "b", "c"], extra_body=body, arrival=arrival, time_scale=10.0))
    first, *_, last = result.samples
    assert first.ttft_s is not None and 1.8 <= first.ttft_s < 20  # 0.2 s in real time
    assert 3.0 <= last.sent_s - first.sent_s < 20  # two gaps of 2 s
    assert result.ended.duration_s > 6.0


def test_open_loop_sends_when_due_and_waits_for_nobody(mock, tmp_path):
    arrival = {"request_rate": 20, "process": "constant"}
    prompts = ["fault=stall" if n < 5 else "clean" for n in range(15)]
    result = load(config(tmp_path, mock.url, prompts, arrival=arrival, token_timeout_s=4))
    sent = [sample.sent_s for sample in sorted(result.samples, key=lambda s: s.index)]
    assert 0.35 <= sent[-1] - sent[0] < 3.5  # 14 gaps of 50 ms, while five requests stall
    assert result.ended.completed == 10


def test_concurrency_is_a_limit(mock, tmp_path):
    result = load(
        config(tmp_path, mock.url, ["x"] * 40, extra_body={"mock_itl_s": 0.005}, arrival={"max_concurrency": 7})
    )
    assert result.ended.completed == 40
    assert mock.truth()["open_most"] <= 7


def test_warmup_is_marked_and_counted_apart(mock, tmp_path):
    prompts = ["fault=http_500"] + ["clean"] * 5
    result = load(config(tmp_path, mock.url, prompts, num_requests=6, warmup=2, first_of_server=True))
    warmups = [sample for sample in result.of(SampleDone) if sample.warmup]
    assert len(warmups) == 2
    assert "first_of_server" in {sample.cold for sample in warmups}
    assert (result.ended.completed, result.ended.failed) == (5, 1)
    assert "warm-up requests failed" in result.messages
    (started,) = result.of(WorkloadStarted)
    assert started.samples_total == 6


def test_several_processes_count_as_one(mock, tmp_path):
    settings = config(tmp_path, mock.url, ["x"] * 60, num_requests=60, warmup=4, processes=3)
    result = load(settings | {"planned": settings["planned"]})
    assert sorted(sample.index for sample in result.of(SampleDone)) == list(range(64))
    assert (result.ended.completed, result.ended.client_figures["processes"]) == (60, 3.0)


def test_there_are_never_more_processes_than_streams(mock, tmp_path):
    result = load(config(tmp_path, mock.url, ["x"] * 6, arrival={"max_concurrency": 2}, processes=5))
    assert (result.ended.completed, result.ended.client_figures["processes"]) == (6, 2.0)


def test_the_api_key_is_sent_and_never_shown(mock, tmp_path):
    result = load(config(tmp_path, mock.url, ["fault=http_500"]), HPCSWEEP_API_KEY="s3cret-key")
    assert mock.truth()["keys"] == ["Bearer s3cret-key"]
    assert "s3cret" not in repr(result)


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_ends_in_order(mock, tmp_path, processes):
    settings = config(tmp_path, mock.url, ["fault=stall"] * 30, arrival={"max_concurrency": 6}, processes=processes)
    process = start(settings)
    while mock.truth()["seen"].get("stall", 0) < 6:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    result = finish(process)
    assert (result.code, result.ended.failures) == (0, {"aborted": 6})
    assert any("24 requests were not sent" in warning for warning in result.ended.warnings)


def test_a_sender_that_is_killed_is_told(mock, tmp_path):
    settings = config(tmp_path, mock.url, ["fault=stall"] * 8, arrival={"max_concurrency": 8}, processes=2)
    process = start(settings | {"token_timeout_s": 4})
    while mock.truth()["seen"].get("stall", 0) < 8:
        time.sleep(0.05)
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()[0]
    os.kill(int(child), signal.SIGKILL)
    result = finish(process)
    assert "exited with -9" in result.messages
    assert any(warning.startswith("client_died: 1 of 2") for warning in result.ended.warnings)
    assert result.ended.failures == {"token_timeout": 4}


def test_nobody_listens(tmp_path):
    result = load(config(tmp_path, "http://127.0.0.1:9", ["x", "y"]))
    assert (result.code, result.ended.failures, result.ended.duration_s) == (0, {"connect": 2}, 0.0)


def test_a_reader_that_goes_away_ends_the_load(mock, tmp_path):
    process = start(
        config(tmp_path, mock.url, ["fault=stall"] * 50, arrival={"max_concurrency": 2}, token_timeout_s=0.3)
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_data_file_that_changed_is_not_sent(mock, tmp_path):
    settings = config(tmp_path, mock.url, ["x"])
    with (tmp_path / "samples.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "another"}\n')
    result = load(settings)
    assert result.code == 1
    assert "has changed since submission" in result.errors
    assert mock.truth()["seen"] == {}


def test_no_config_is_a_usage_error():
    process = subprocess.run([sys.executable, "-m", "hpcsweep.load.worker"], input="{}", text=True, capture_output=True)
    assert (process.returncode, process.stdout) == (2, "")
    assert "invalid LoadConfig" in process.stderr


def test_without_the_fast_extra_everything_works(mock, tmp_path):
    """orjson hidden: the standard library's JSON takes its place."""
    (tmp_path / "orjson.py").write_text("raise ImportError('hidden')\n", encoding="utf-8")
    result = load(config(tmp_path, mock.url, ["x", "fault=half_characters"]), PYTHONPATH=str(tmp_path))
    assert result.ended.completed == 2


def test_ten_thousand_requests_leak_nothing(mock, tmp_path):
    settings = config(tmp_path, mock.url, ["x"], tokens=2, num_requests=10_000, arrival={"max_concurrency": 32})
    process = start(settings)
    assert process.stdout is not None
    fds: list[int] = []
    memory: list[int] = []
    last = ""
    for number, last in enumerate(process.stdout):  # noqa: B007
        if number in (1_000, 9_000):
            fds.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
            pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1]
            memory.append(int(pages) * os.sysconf("SC_PAGESIZE"))
    process.communicate(timeout=60)
    assert json.loads(last)["completed"] == 10_000
    assert mock.truth()["connections"] <= 32 + 2  # and the ones of this test
    assert fds[1] <= fds[0]
    assert memory[1] - memory[0] < 4 << 20


def test_what_is_in_flight_is_reported_while_nothing_ends(mock, tmp_path):
    """The agent's evidence: how many requests the server owes answers for, and when it last sent something."""
    prompts = ["fault=stall", "fault=stall_at_once"]
    before_ns = time.monotonic_ns()
    result = load(config(tmp_path, mock.url, prompts, request_timeout_s=2.0, token_timeout_s=1.5))
    assert [sample.error for sample in result.samples] != [None, None]
    seen = [(record["requests"], record["without_token"]) for record in result.traffic]
    assert (2, 1) in seen, seen
    received_ns = max(record["received_ns"] for record in result.traffic)
    assert before_ns < received_ns < time.monotonic_ns()
    assert len(result.traffic) < 20, "it is reported where it changes"


@pytest.mark.parametrize(
    ("dataset", "arrival", "closed"),
    [
        pytest.param({"kind": "samples"}, {"max_concurrency": 2}, True, id="slots"),
        pytest.param({"kind": "samples"}, {"max_concurrency": 2, "request_rate": 50}, False, id="a rate"),
        pytest.param({"kind": "samples"}, {}, False, id="all at once"),
        pytest.param({"kind": "bursts", "gap_s": 0.2}, {"max_concurrency": 2}, False, id="a plugin's arrival times"),
    ],
)
def test_the_first_line_reports_an_open_or_closed_loop(mock, tmp_path, dataset, arrival, closed):
    """It depends on the schedule, not on the kind of the dataset."""
    settings = config(tmp_path, mock.url, ["a", "b", "c", "d"], arrival=arrival)
    settings["planned"]["workload"]["dataset"] |= dataset
    env = {}
    if dataset["kind"] == "bursts":
        settings["planned"]["workload"]["dataset"].pop("path")
        settings["planned"]["facts"]["files"] = {}
        plugin = Path(__file__).parents[1] / "plugins" / "bursts"
        site = tmp_path / "site"
        shutil.copytree(plugin, site)
        (site / "hpcsweep_bursts-1.0.dist-info").mkdir()
        points = "[hpcsweep.datasets]\nbursts = hpcsweep_bursts:Bursts\n"
        (site / "hpcsweep_bursts-1.0.dist-info" / "entry_points.txt").write_text(points, encoding="ascii")
        env["PYTHONPATH"] = str(site)
    result = load(settings, **env)
    assert (result.code, result.errors, result.ended.completed) == (0, "", 4)
    (started,) = result.of(WorkloadStarted)
    assert started.closed_loop is closed
    if dataset["kind"] == "bursts":
        sent_s = [sample.sent_s for sample in sorted(result.samples, key=lambda sample: sample.index)]
        assert sent_s[2] - sent_s[0] > 0.15
