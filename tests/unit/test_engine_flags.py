"""Flags of known versions, and version constraints."""

from pathlib import Path

import pytest
from packaging.version import Version

from hpcsweep.engines.flag_history import SGLANG, VLLM
from hpcsweep.engines.flags import advice, flag_problems
from hpcsweep.engines.versions import admitted, mentioned, parse_constraint, satisfies
from hpcsweep.errors import EngineError

HISTORIES = {"vllm": VLLM, "sglang": SGLANG}
FLAGS = Path(__file__).parent.parent / "transcripts" / "engines" / "flags"


def parsers(engine):
    """Version -> its flags, of every parser that was read, oldest first."""
    found = {path.stem.removeprefix(f"{engine}-"): path for path in FLAGS.glob(f"{engine}-*.txt")}
    return {version: set(found[version].read_text().split()) for version in sorted(found, key=Version)}


@pytest.mark.parametrize(
    ("engine", "change"),
    [(engine, change) for engine, history in HISTORIES.items() for change in history.removed],
    ids=lambda v: str(v)[:60],
)
def test_a_removed_flag_was_in_the_one_parser_and_is_not_in_any_later_one(engine, change):
    read = parsers(engine)
    versions = list(read)
    assert versions.index(change.gone_in) == versions.index(change.last_in) + 1, "no parser was read between the two"
    assert change.flag in read[change.last_in]
    assert not any(change.flag in read[version] for version in versions[versions.index(change.gone_in) :])


@pytest.mark.parametrize(
    ("engine", "flag", "since"),
    [(engine, *item) for engine, history in HISTORIES.items() for item in history.added.items()],
)
def test_an_added_flag_is_in_no_earlier_parser(engine, flag, since):
    read = parsers(engine)
    versions = list(read)
    at = versions.index(since)
    assert all(flag in read[version] for version in versions[at:])
    assert not any(flag in read[version] for version in versions[:at])


def test_what_to_write_instead_is_in_the_newest_parser():
    for engine, history in HISTORIES.items():
        newest = list(parsers(engine).values())[-1]
        written = {word for change in history.removed for word in change.instead.split() if word.startswith("--")}
        assert written <= newest


CASES = [  # (flags, version, constraint, [(flag, certain)])
    pytest.param(["--swap-space"], "0.32.0", None, [("--swap-space", True)], id="gone in the installed version"),
    pytest.param(["--swap_space"], "0.32.0+cpu", None, [("--swap_space", True)], id="underscores, a local build"),
    pytest.param(["--swap-space"], "0.17.1", None, [], id="still there"),
    pytest.param(["--task"], "0.13.0", None, [("--task", False)], id="between two versions that were read"),
    pytest.param(["--swap-space"], None, ">=0.18", [("--swap-space", True)], id="gone in all that are admitted"),
    pytest.param(["--swap-space"], None, "<0.18", [], id="there in all that are admitted"),
    pytest.param(["--swap-space"], None, ">=0.11", [("--swap-space", False)], id="gone in some"),
    pytest.param(["--swap-space"], None, None, [("--swap-space", False)], id="any version"),
    pytest.param(["--swap-space"], None, ">=0.40", [("--swap-space", True)], id="newer than all that are known"),
    pytest.param(["--moe-backend"], None, "0.11", [("--moe-backend", True)], id="not yet there"),
    pytest.param(["--max-model-len", "--no-such-flag"], "0.32.0", None, [], id="nothing is known against these"),
    pytest.param(["--swap-space"], "not a version", "<0.18", [], id="a version that is none counts as not known"),
]


@pytest.mark.parametrize(("flags", "version", "constraint", "expected"), CASES)
def test_flag_problems(flags, version, constraint, expected):
    problems = flag_problems("vllm", flags, version=version, constraint=constraint)
    assert [(problem.flag, problem.certain) for problem in problems] == expected


def test_the_sentence_names_flag_version_and_what_to_write():
    (problem,) = flag_problems("vllm", ["--rope-theta"], version="0.32.0")
    assert problem.sentence == "--rope-theta was removed from vllm by 0.11.1: write --hf-overrides '{...}'"
    (problem,) = flag_problems("vllm", ["--disable-log-requests"], version="0.32.0")
    assert "leave it out (requests are not logged by default)" in problem.sentence


def test_advice_on_a_flag_that_an_installed_engine_does_not_know():
    assert "KV cache offloading is --kv-offloading-size" in advice("vllm", "--swap-space")
    assert advice("vllm", "--moe-backend") == "--moe-backend is not available before vllm 0.17.1"
    assert "--ep-size N" in advice("sglang", "--enable-ep-moe")
    assert advice("vllm", "--no-such-flag") is None
    assert advice("some-plugin", "--swap-space") is None


@pytest.mark.parametrize(
    ("version", "constraint", "expected"),
    [
        ("0.32.0", None, True),
        ("nonsense", None, True),
        ("0.32.0", ">=0.11,<0.33", True),
        ("0.32.0", "<0.32", False),
        ("0.32.0+cpu", "==0.32.0", True),
        ("0.33.0rc1", ">=0.32", True),
        ("0.32.0", "0.32", True),
        ("0.32.0", "0.3", False),
        ("0.5.4.post2", ">=0.5.4", True),
        ("nonsense", ">=0.1", False),
    ],
)
def test_satisfies(version, constraint, expected):
    assert satisfies(version, constraint) is expected


@pytest.mark.parametrize("text", ["=>0.11", "newest", ">=", "0.11 or so", ">=0.11;<0.12"])
def test_a_bad_constraint_names_itself_and_shows_a_good_one(text):
    with pytest.raises(EngineError, match="invalid engine version constraint") as caught:
        parse_constraint(text)
    assert text in caught.value.message and ">=0.11,<0.12" in caught.value.hint


def test_admitted_and_mentioned():
    assert admitted(">=0.12,!=0.16.0", ["0.11.0", "0.12.0", "0.16.0", "0.32.0"]) == ["0.12.0", "0.32.0"]
    assert mentioned("0.32") == ["0.32"] and mentioned(None) == []
