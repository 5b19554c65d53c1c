"""Lines of events.jsonl: what is kept, what is left for the next time, what is told as trouble."""

import json
import random

import numpy as np
import pytest
from sweep_folders import AttemptLines

from hpcsweep.store.ingest import parse_events as events

RUN_ID = "s-0001/a-1"


def parse(data: bytes, start: int) -> events.Parsed:
    return events.parse(data, start, RUN_ID, 1)


def _attempt() -> AttemptLines:
    return AttemptLines(RUN_ID).started().startup()


def _sample(**changes):
    lines = AttemptLines(RUN_ID)
    lines.sample("8k", 0, 10.0, rng=random.Random(1))
    return json.dumps(json.loads(lines.lines[0]) | changes, separators=(",", ":"))


def _warning(**changes):
    known = {"kind": "warning", "run_id": RUN_ID, "attempt": 1, "seq": 3, "at": 1, "t_s": 1, "message": "m"}
    return json.dumps(known | changes)


def test_an_attempt_is_read_whole():
    data = _attempt().workload("8k", 5).ended().text().encode()
    parsed = parse(data, 0)
    assert parsed.end == len(data)
    assert not parsed.troubles
    assert parsed.lines == data.count(b"\n")
    assert [event.kind for event in parsed.events][:2] == ["attempt_started", "phase_entered"]
    samples = parsed.samples["8k", 1]
    assert len(samples) == 5
    assert samples.columns["itl_count"].tolist() == [15] * 5
    assert len(samples.columns["itl_s"]) == 75
    assert parsed.last is not None and parsed.last.kind == "attempt_ended"
    assert parsed.largest_seq == parsed.last.seq


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_torn_last_line_is_left_for_the_next_time(cut):
    data = _attempt().workload("8k", 2).text().encode()
    first = parse(data[:-cut], 0)
    assert first.end == data[:-cut].rfind(b"\n") + 1
    assert not first.troubles
    rest = parse(data[first.end :], first.end)
    assert rest.end == len(data)
    assert first.lines + rest.lines == data.count(b"\n")


def test_a_line_that_was_written_twice_counts_once():
    lines = _attempt()
    lines.sample("8k", 0, 300.0, rng=random.Random(1))
    parsed = parse((lines.text() + lines.lines[-1] + "\n" + lines.lines[0] + "\n").encode(), 0)
    assert len(parsed.samples["8k", 1]) == 1
    assert parsed.lines == len(lines.lines)


def test_numbers_that_are_none_become_nan_and_optional_fields_may_be_absent():
    lines = AttemptLines(RUN_ID)
    lines.add("sample", 5.0, workload="8k", sample="a", index=0, sent_s=4.0, error="timeout")
    columns = parse(lines.text().encode(), 0).samples["8k", 1].columns
    assert np.isnan(columns["ttft_s"]).all()
    assert np.isnan(columns["completion_tokens"]).all()
    assert columns["tokens_from"] == ("usage",)


TROUBLES = [  # (the line, what the trouble says)
    pytest.param("not json at all", "not a whole line", id="cut by a full disk"),
    pytest.param('{"kind":"sample","seq":1', "not a whole line", id="cut in the middle"),
    pytest.param("[1, 2]", "unknown form", id="not an object"),
    pytest.param('{"kind":"from_the_future","seq":9}', "unknown form", id="an event of a newer version"),
    pytest.param(_sample(ttft_s="soon"), "ttft_s", id="word for a number"),
    pytest.param(_sample(completion_tokens=[1]), "completion_tokens", id="list for a number"),
    pytest.param(_sample(itl_s=[0.1, "x"]), "itl_s", id="word among the gaps"),
    pytest.param(_sample(warmup="perhaps"), "warmup", id="word for a switch"),
    pytest.param(_sample(prompt_tokens=1.5), "prompt_tokens", id="half a token"),
    pytest.param(_sample(index=10**30), "", id="a number of 100 bits"),
    pytest.param(_sample(sent_s=float("inf")), "", id="sent at infinity"),
    pytest.param(_sample(sample=None), "sample", id="no id"),
    pytest.param(_sample().replace('"seq":0', '"seq":"x"'), "seq", id="seq is a word"),
    pytest.param(_sample().replace('"repeat":1', '"repeat":"x"'), "repeat", id="repeat is a word"),
    pytest.param(
        json.dumps(
            {"kind": "fact", "run_id": RUN_ID, "attempt": 1, "seq": 10**30, "at": 1, "t_s": 1, "name": "n", "value": 1}
        ),
        "64 bits",
        id="seq of 100 bits",
    ),
    pytest.param(_warning(t_s=float("nan")), "finite", id="no time"),
]


@pytest.mark.parametrize("fast", [True, False], ids=["orjson", "pydantic_core"])
@pytest.mark.parametrize(("line", "says"), TROUBLES)
def test_a_line_that_is_no_event_is_told_and_the_others_are_kept(line, says, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(events, "_loads", events.from_json)
    good = AttemptLines(RUN_ID).started()
    good.sample("8k", 1, 20.0, rng=random.Random(2))
    before = good.text().encode()
    parsed = parse(before.replace(b'"seq":0', b'"seq":7') + line.encode() + b"\n", 1000)
    ((offset, message),) = parsed.troubles
    assert offset == 1000 + len(before)
    assert says in message
    assert len(parsed.events) == 1
    assert len(parsed.samples["8k", 1]) == 1
    assert parsed.end == 1000 + len(before) + len(line.encode()) + 1


def test_whole_floats_are_tokens_too():
    parsed = parse((_sample(prompt_tokens=6100.0) + "\n").encode(), 0)
    assert not parsed.troubles
    assert parsed.samples["8k", 1].columns["prompt_tokens"].tolist() == [6100.0]


@pytest.mark.parametrize("text", ["it's", 'a"b', "$(id)", "back\\slash", "new\nline", "\u2028", "🙂", "nul\x00"])
def test_any_text_comes_back_as_it_was(text):
    parsed = parse((_sample(sample=text, error=text, error_detail=text) + "\n").encode(), 0)
    columns = parsed.samples["8k", 1].columns
    assert (columns["sample"], columns["error"], columns["error_detail"]) == ((text,), (text,), (text,))


def test_sums_leave_warm_up_out_and_count_tokens_of_the_good_ones():
    lines = AttemptLines(RUN_ID)
    rng = random.Random(3)
    lines.sample("8k", 0, 10.0, rng=rng, warmup=True)
    lines.sample("8k", 1, 20.0, rng=rng, ttft_s=0.5, e2e_s=2.0)
    lines.sample("8k", 2, 22.0, rng=rng, e2e_s=None, ttft_s=None, error="cut", completion_tokens=3)
    sums = parse(lines.text().encode(), 0).samples["8k", 1].sums()
    assert sums == {"done": 2, "failed": 1, "completion_tokens": 16, "first_sent_s": 20.0, "last_end_s": 22.0}


@pytest.mark.parametrize("change", [{"run_id": "s-0001/other"}, {"run_id": "other-0001/a-1"}, {"attempt": 2}])
def test_events_of_another_run_or_attempt_are_rejected(change):
    """A copied file, or one that a hostile folder brings, says nothing of the run in whose folder it is."""
    own, foreign = _sample(seq=1), _sample(**change, seq=2)
    parsed = parse(f"{own}\n{foreign}\n{_warning(**change)}\n".encode(), 0)
    assert (parsed.lines, parsed.events, parsed.largest_seq) == (1, [], 1)
    assert [why.split(":")[0] for _, why in parsed.troubles] == ["sample", "warning"]
    assert all("not of s-0001/a-1 attempt 1" in why for _, why in parsed.troubles)
    assert parsed.last is not None and parsed.last.seq == 1
