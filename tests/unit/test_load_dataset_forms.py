"""Forms of data files that others publish, and what is found before anything is queued."""

import json
import warnings
from pathlib import Path

import pytest

from hpcsweep.errors import DatasetError
from hpcsweep.load.datasets.base import DatasetWarning
from hpcsweep.load.datasets.registry import facts_of, read_options
from hpcsweep.spec.workload import DatasetSpec

FILES = Path(__file__).parents[1] / "transcripts" / "datasets"
AZURE = "80-data-azure-timestamps.csv"
CUSTOM = "81-data-samples-vllm-custom.jsonl"
SHAREGPT_LINES = "82-data-sharegpt-lines.jsonl"
LONG_TAIL = "84-data-trace-longest-row.jsonl"
BURST = "86-data-trace-burst-unit.csv"
AZURE_COLUMNS = {"time": "TIMESTAMP", "input": "ContextTokens", "output": "GeneratedTokens"}
BURST_COLUMNS = {"time": "Timestamp", "input": "Request tokens", "output": "Response tokens"}


def read(kind, path, count=None, send=4, **options):
    """(facts, requests, warnings) of a dataset."""
    dataset, chosen = read_options(DatasetSpec(kind=kind, path=str(path), **options))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DatasetWarning)
        facts = facts_of(dataset, chosen, FILES, None, count)
        requests = dataset.requests(chosen, [Path(name) for name in facts.files], None, send, 0)
    told = list(dict.fromkeys(str(one.message) for one in caught if "tokenizer" not in str(one.message)))
    return facts, requests, told


@pytest.mark.parametrize("columns", [pytest.param(AZURE_COLUMNS, id="named"), pytest.param({}, id="found")])
def test_dates_are_times(columns):
    _, requests, told = read("trace", AZURE, send=2, **columns)
    assert [one.due_s for one in requests] == pytest.approx([0.0, 4.314579], abs=1e-4)
    assert told == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        pytest.param("yesterday,3,4", "column 'TIMESTAMP': 'yesterday' is neither a number nor a date", id="no date"),
        pytest.param("5,3,4", "column 'TIMESTAMP' has both numbers and dates", id="both"),
        pytest.param(
            "2023-11-16 18:15:47,many,4", "column 'ContextTokens': 'many' is not a number of tokens", id="tokens"
        ),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_column(tmp_path, row, told):
    path = tmp_path / "t.csv"
    path.write_text((FILES / AZURE).read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="line 4") as caught:
        read("trace", path)
    assert told in str(caught.value)


def test_a_unit_that_is_not_stated_is_guessed_and_told_with_the_rate():
    _, requests, told = read("trace", BURST, send=2, **BURST_COLUMNS)
    assert [one.due_s for one in requests] == [0.0, 40.0]
    (warning,) = told
    assert "assumed to be s, which gives 0.025 requests/s over 40 s; set `time_unit_s`" in warning
    assert read("trace", BURST, send=2, time_unit_s=0.001, **BURST_COLUMNS)[2] == []


def test_a_unit_is_guessed_from_other_columns_too(tmp_path):
    rows = "".join(f"{40 * number},10,20\n" for number in range(100))
    (tmp_path / "t.csv").write_text("t,in,out\n" + rows, encoding="utf-8")
    _, requests, (warning,) = read("trace", tmp_path / "t.csv", send=100, time="t", input="in", output="out")
    assert requests[-1].due_s == pytest.approx(3.96)
    assert "assumed to be ms, which gives 25 requests/s over 3.96 s" in warning


def test_the_default_columns_are_in_ms_and_that_is_no_guess():
    _, requests, told = read("trace", LONG_TAIL, send=2)
    assert ([one.due_s for one in requests], told) == ([0.0, 27.0], [])


@pytest.mark.parametrize(("count", "longest"), [(2, 7322), (3, 120633), (None, 120633)])
def test_only_rows_that_are_sent_decide_the_fit(count, longest):
    facts, _, _ = read("trace", LONG_TAIL, count=count, send=2)
    assert (facts.requests, facts.prompt_tokens_max) == (3, longest)


def test_rows_with_too_long_prompts_can_be_left_out():
    facts, _, _ = read("trace", LONG_TAIL, max_input=10000)
    assert (facts.requests, facts.prompt_tokens_max) == (2, 7322)


def test_samples_that_are_not_sent_do_not_decide_the_fit(tmp_path):
    lines = [
        {"prompt": "a", "prompt_tokens": 3, "max_tokens": 5},
        {"prompt": "b", "prompt_tokens": 900, "max_tokens": 7},
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    facts, _, _ = read("samples", tmp_path / "s.jsonl", count=1)
    assert (facts.requests, facts.prompt_tokens_max, facts.completion_tokens_max) == (2, 3, 5)


def test_the_custom_dataset_of_vllm_is_read():
    _, requests, _ = read("samples", CUSTOM, send=2)
    assert [(one.prompt, one.max_tokens) for one in requests] == [("Name a river", 10), ("Tell of the sea", 1520)]


def test_two_limits_of_one_answer_are_refused(tmp_path):
    (tmp_path / "s.jsonl").write_text('{"prompt": "a", "output_tokens": 3, "max_tokens": 4}', encoding="utf-8")
    with pytest.raises(DatasetError, match="output_tokens and max_tokens"):
        read("samples", tmp_path / "s.jsonl")


BATCH = {
    "custom_id": "r-1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "m",
        "messages": [{"role": "user", "content": "Name a river"}],
        "max_completion_tokens": 9,
        "temperature": 0.2,
    },
}


def test_a_batch_file_is_read_and_what_is_not_sent_is_told(tmp_path):
    (tmp_path / "b.jsonl").write_text(json.dumps(BATCH) + "\n", encoding="utf-8")
    _, (request,), (warning,) = read("samples", tmp_path / "b.jsonl", send=1)
    assert (request.sample, request.max_tokens) == ("r-1", 9)
    assert request.messages == BATCH["body"]["messages"]
    assert "temperature of the batch requests are ignored" in warning


def test_sharegpt_as_json_lines_is_read():
    _, requests, _ = read("sharegpt", SHAREGPT_LINES, send=2)
    assert {one.sample for one in requests} == {"a", "b"}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", [CUSTOM, SHAREGPT_LINES, LONG_TAIL, BURST])
def test_a_byte_order_mark_changes_nothing(tmp_path, name, mark):
    path = tmp_path / name
    path.write_text(mark + (FILES / name).read_text(encoding="utf-8"), encoding="utf-8")
    kind = "samples" if name == CUSTOM else "sharegpt" if name == SHAREGPT_LINES else "trace"
    facts, _, _ = read(kind, path, send=1, **(BURST_COLUMNS if name == BURST else {}))
    assert facts.requests >= 2


NOT_SHAREGPT = [
    pytest.param('[{"id": 1, "messages": []}]', "its keys are id, messages", id="another key"),
    pytest.param(
        '[{"id": 1, "conversations": [{"role": "u", "content": "a"}, {}]}]', "role, content", id="other turns"
    ),
    pytest.param("[1]", "entry 1 is not an object", id="no object"),
    pytest.param('[{"id": 1, "conversations": [{"from": "human", "value": "a"}]}]', "no conversation", id="one turn"),
    pytest.param("{torn", "expected: a JSON list, or JSON lines", id="torn"),
]


@pytest.mark.parametrize(("text", "told"), NOT_SHAREGPT)
def test_what_is_no_sharegpt_file_is_refused_before_anything_is_queued(tmp_path, text, told):
    (tmp_path / "s.json").write_text(text, encoding="utf-8")
    dataset, options = read_options(DatasetSpec(kind="sharegpt", path=str(tmp_path / "s.json")))
    with pytest.raises(DatasetError) as caught:
        facts_of(dataset, options, tmp_path, None, None)
    assert caught.value.code == "not_sharegpt"
    assert told in str(caught.value)


def test_a_large_sharegpt_file_is_checked_by_its_beginning(tmp_path, monkeypatch):
    text = (FILES / SHAREGPT_LINES).read_text(encoding="utf-8").splitlines()
    path = tmp_path / "s.json"
    path.write_text("[" + ",\n".join(text * 20) + "]", encoding="utf-8")
    monkeypatch.setattr("hpcsweep.load.datasets.sharegpt_file._WHOLE_BYTES", 500)
    facts, _, _ = read("sharegpt", path, send=1)
    assert facts.requests == 1000
    path.write_text("[" + ",\n".join(['{"id": 1, "turns": []}'] * 200) + "]", encoding="utf-8")
    with pytest.raises(DatasetError, match="turns"):
        read("sharegpt", path, send=1)


def test_a_plugin_dataset_whose_facts_take_no_count_still_works():
    class Plugin:
        def facts(self, options, base_dir, completion_tokens):
            return (options, base_dir, completion_tokens)

    assert facts_of(Plugin(), 1, Path(), 2, 3) == (1, Path(), 2)
