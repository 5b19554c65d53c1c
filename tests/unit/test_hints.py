"""The knowledge base of failures: the example of every entry leads to it, and every entry has a source."""

import re
import subprocess
import sys
import time
from collections import Counter

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from sweep_folders import make_sweep

from hpcsweep.cli.main import main
from hpcsweep.engines import hints
from hpcsweep.engines.hints import Hint, all_hints, hints_of
from hpcsweep.engines.logs.causes import _TROUBLE
from hpcsweep.engines.logs.prefixes import split
from hpcsweep.engines.logs.reader import LogReader
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError

ENTRIES = [pytest.param(hint, id=hint.id) for hint in all_hints()]


def failure_of(text, engine):
    """What a reader of this engine's logs makes of `text`."""
    reader = LogReader(get_engine(engine))
    for line in text.split("\n"):
        reader.feed(line, 1.0)
    return reader.failure


def test_there_are_many_and_no_two_have_one_name():
    assert len(all_hints()) >= 100
    assert [name for name, count in Counter(hint.id for hint in all_hints()).items() if count > 1] == []


@pytest.mark.parametrize("hint", ENTRIES)
class TestEveryEntry:
    def test_its_example_leads_to_it(self, hint):
        for engine in hint.engines or ("vllm", "sglang", "trtllm"):
            found = failure_of(hint.example, engine)
            assert found is not None and found.code == hint.id, engine
            assert found.outcome is hint.outcome and found.hint == hint.advice
            assert found.decided_by == hint.decided_by

    def test_it_says_what_to_do_and_where_it_is_from(self, hint):
        assert hint.role == "echo" or (len(hint.cause) > 10 and len(hint.next) > 10)
        assert "\n" not in hint.advice and not hint.advice.endswith(".")
        assert re.search(r"https://|[a-z]", hint.source)

    def test_its_pattern_finds_nothing_in_a_line_of_a_start_that_works(self, hint):
        regex = re.compile(hint.pattern, re.IGNORECASE)
        assert [line for line in QUIET_LINES if regex.search(line)] == []

    def test_its_pattern_takes_no_time_on_a_hostile_line(self, hint):
        regex = re.compile(hint.pattern, re.IGNORECASE)
        begun = time.process_time()
        for text in HOSTILE:
            regex.search(text)
        assert time.process_time() - begun < 1.0


QUIET_LINES = [
    "", "Loading safetensors checkpoint shards:  50% Completed | 46/92 [01:15<01:15,  1.64s/it]",
    "Starting to load model /models/x...", "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%",
    "Application startup complete.", '127.0.0.1:51194 - "POST /v1/completions HTTP/1.1" 200 OK',
    "Load weight begin. avail mem=139.10 GB", "The server is fired up and ready to roll!",
    "Available KV cache memory: 11.17 GiB", "Free memory on device (78/79 GiB) on startup.",
    "Using cache directory: /home/u/.cache/vllm/torch_compile_cache/1/rank_0_0/backbone for vLLM's torch.compile",
]  # fmt: skip
HOSTILE = [
    word * (8_000 // len(word))
    for word in (
        "a", " ", "(", ".", "CUDA error ", "not found ", "fp8 ", "NCCL WARN ", "gloo ", "num_experts ", "Error: ",
        "No such file or directory ", "model-00001-of-00002", "huggingface.co ", "exit code ", "out of memory ",
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "hint", [entry for entry in all_hints() if entry.scope != "exception"], ids=lambda hint: hint.id
)
def test_the_quick_look_at_a_line_lets_its_example_pass(hint):
    assert any(_TROUBLE.search(split(line).text) for line in hint.example.split("\n"))


def test_an_entry_of_one_engine_is_not_tried_on_another():
    text = "RuntimeError: Rank 1 scheduler died during initialization (exit code: 1)."
    assert failure_of(text, "sglang").code == "sglang-subprocess-died"
    assert failure_of(text, "vllm").code == ""


def test_every_entry_is_tried_on_the_engine_of_a_plugin():
    assert hints_of("of-a-plugin").of_exception("RuntimeError: Rank 1 scheduler died") is not None


def test_an_entry_for_some_versions_is_tried_where_the_version_is_one_or_is_not_known():
    entry = Hint(
        id="x", pattern="odd thing", versions=">=0.12,<0.15", cause="it is odd and old", next="install a newer one",
        source="a test of this project", example="RuntimeError: odd thing",
    )  # fmt: skip
    known = hints.EngineHints([entry])
    assert known.of_exception("RuntimeError: odd thing", "0.13.1") is not None
    assert known.of_exception("RuntimeError: odd thing", None) is not None
    assert known.of_exception("RuntimeError: odd thing", "0.15.0") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pattern": "("}, "not a regular expression"),
        ({"outcome": "sad"}, "Input should be"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
        ({"versions": "about 3"}, "invalid engine version constraint"),
        ({"id": "Two Words"}, "String should match pattern"),
        ({"source": ""}, "at least 8 characters"),
    ],
)
def test_a_faulty_entry_is_named_with_its_file(change, said, tmp_path, monkeypatch):
    entry = {
        "id": "x", "pattern": "p", "cause": "a cause of it", "next": "a step to take", "source": "a test of ours",
        "example": "RuntimeError: p",
    } | change  # fmt: skip
    with (tmp_path / "own.yaml").open("w") as file:
        YAML(typ="safe").dump([entry], file)
    monkeypatch.setattr(hints, "files", lambda package: tmp_path)
    with pytest.raises(EngineError, match=r"own\.yaml, entry") as caught:
        list(hints._read_all())
    assert said in str(caught.value) + caught.value.detail


def test_nothing_is_read_before_a_line_may_be_a_failure():
    code = (
        "from hpcsweep.engines import hints; from hpcsweep.engines.logs.reader import LogReader\n"
        "from hpcsweep.engines.registry import get_engine\n"
        "r = LogReader(get_engine('vllm')); r.feed('INFO Starting to load model x...', 1.0); r.failure\n"
        "assert hints.all_hints.cache_info().currsize == 0\n"
        "r.feed('ValueError: x', 1.0); r.failure\n"
        "assert hints.all_hints.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_hint_is_shown_wherever_a_failure_is(tmp_path):
    sweep = make_sweep(tmp_path, axes={"ep": ["on"]}, samples=1)
    (label,) = sweep.labels
    hint = "the GPU ran out of memory; use more GPUs"
    ended = sweep.lines(label).started(job_id="12").ended("out_of_memory", reason="CUDA out of memory", hint=hint)
    sweep.write(label, ended, end="out_of_memory")
    for command in (["status"], ["status", "--json"], ["show", label], ["report"], ["report", "--format", "markdown"]):
        done = CliRunner().invoke(main, ["--home", str(tmp_path), *command], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        assert hint.lower() in " ".join(done.output.replace("│", " ").split()).lower(), command
