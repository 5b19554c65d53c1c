"""Fuzzing: whatever bytes a parser of foreign data is given, it gives a value or its own error, in bounded time.

Bounded for every run of the tests; `HPCSWEEP_FUZZ_EXAMPLES=20000` looks longer, as the nightly run does.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcsweep.engines.base import Engine
from hpcsweep.engines.logs.reader import LogReader
from hpcsweep.engines.registry import engines
from hpcsweep.errors import HpcsweepError
from hpcsweep.foreign_files import parse_json
from hpcsweep.hosts.remote_files import check_name
from hpcsweep.hosts.ssh_config import options_from
from hpcsweep.imports.read_document import read_bytes
from hpcsweep.load.wire.answer import Failure, StreamedResponse
from hpcsweep.load.wire.http1 import HttpError, ResponseReader
from hpcsweep.node.watch.metrics import figures
from hpcsweep.schedulers.base import CommandResult as CommandAnswer
from hpcsweep.schedulers.registry import get_scheduler
from hpcsweep.spec.cluster import ConfigFile, Ssh
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.load import parse_model
from hpcsweep.spec.yaml_text import parse_yaml
from hpcsweep.store.ingest.parse_events import parse
from hpcsweep.store.records import read_end, read_not_run, read_owner
from hpcsweep.sweep.layout import is_label
from hpcsweep.sweep.submission import Submission
from hpcsweep.terminal_text import printable, printable_json

bounded = settings(
    max_examples=int(os.environ.get("HPCSWEEP_FUZZ_EXAMPLES", "60")),
    deadline=5000,
    derandomize="HPCSWEEP_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SAMPLES = Path(__file__).parent.parent / "transcripts"
NASTY = [
    "\x00",
    "\ud800",
    "\u202e",
    "\x1b]0;x\x07",
    "9" * 5000,
    "1e999",
    "NaN",
    "[" * 50,
    "{" * 50,
    "\\",
    '"',
    "\r",
    "../",
]


def _recorded(*patterns: str) -> list[bytes]:
    """Real outputs, cut to what a fuzzer can work with."""
    found = [path for pattern in patterns for path in sorted(SAMPLES.rglob(pattern)) if path.is_file()]
    return [path.read_bytes()[:4000] for path in found[:40]] or [b""]


@st.composite
def damaged(draw: st.DrawFn, texts: list[bytes]) -> bytes:
    """A recorded text with pieces cut out, repeated, or replaced by what parsers stumble over; or any bytes at all."""
    data = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, max(0, len(data)))), draw(st.integers(0, 200))
        put = draw(
            st.one_of(st.binary(max_size=20), st.sampled_from([text.encode("utf-8", "replace") for text in NASTY]))
        )
        data = data[:at] + put * draw(st.integers(1, 3)) + data[at + length :]
    return draw(st.one_of(st.just(data), st.binary(max_size=300)))


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**30)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def _document(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))


EVENT = {
    "kind": "sample", "run_id": "s/r", "attempt": 1, "seq": 3, "at": 1.0, "t_s": 1.0, "workload": "w", "repeat": 1,
    "sample": "a", "index": 0, "sent_s": 0.5, "itl_s": [0.1], "ttft_s": 0.1, "e2e_s": 0.3,
}  # fmt: skip


@bounded
@given(st.lists(st.tuples(st.sampled_from([*EVENT, "value", "figures", "outcome"]), values), max_size=6), values)
def test_events(changes, kind):
    lines = [json.dumps(EVENT)]
    for name, value in changes:
        lines.append(json.dumps(EVENT | {name: value}))
        lines.append(json.dumps(EVENT | {"kind": kind, name: value}))
    data = "\n".join(lines).encode("utf-8", "replace") + b"\n"
    parsed = parse(data, 0, "s/r", 1)
    assert parsed.end == len(data)


@bounded
@given(damaged(_recorded("store/*", "store/**/*.jsonl")))
def test_bytes_of_events(data):
    assert parse(data, 0, "s/r", 1).end <= len(data)


@bounded
@given(
    _document(["outcome", "phase", "reason", "evidence", "exit_code", "killed", "ended_at", "host", "pid", "taken_at"])
)
def test_records(tmp_path, document):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(document))
    troubles: list[str] = []
    end, owner = read_end(path, troubles), read_owner(path, troubles)
    read_not_run(path, troubles)
    for value in [*(end or {}).values(), *owner.values()]:
        for one in value if isinstance(value, list) else [value]:
            assert one is None or isinstance(one, int | float | str)
            assert not isinstance(one, int) or abs(one) < 2**63
            assert not isinstance(one, str) or "\0" not in one.encode().decode()


@bounded
@given(st.binary(max_size=300))
def test_json(data):
    with contextlib.suppress(ValueError):
        json.dumps(parse_json(data), ensure_ascii=False).encode()


@bounded
@given(_document(["job_id", "cluster", "scheduler", "submitted_at", "tasks", "cancelled"]))
def test_submissions(document):
    try:
        found = Submission.model_validate_json(json.dumps(document))
    except ValueError:
        return
    assert found.job_id is None or not found.job_id.startswith("-")


@bounded
@given(damaged([path.read_bytes() for path in Path("experiments").glob("*.yaml")] or [b"a: 1"]))
def test_experiments_and_profiles(data):
    text = data.decode("utf-8", "replace")
    for model in (Experiment, ConfigFile):
        try:
            parse_model(model, text, "f.yaml")
        except HpcsweepError:
            continue


@bounded
@given(values)
def test_yaml_of_any_value(value):
    with contextlib.suppress(HpcsweepError):
        parse_yaml(json.dumps(value), "f.yaml")


@bounded
@given(damaged(_recorded("imports/*", "imports/**/*", "vllm-bench/*", "guidellm/*")))
def test_reports_and_results(data):
    read_bytes(data, "report.md")


@pytest.mark.parametrize("engine", [pytest.param(one, id=name) for name, one in engines().items()])
@bounded
@given(data=damaged(_recorded("engines/*", "engines/**/*.log")))
def test_engine_logs(engine: Engine, data: bytes):
    reader = LogReader(engine)
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n")):
        reader.feed(line, float(number))
    assert reader.phase is not None


@bounded
@given(damaged(_recorded("vllm-metrics/*")))
def test_metrics(data):
    figures(data.decode("utf-8", "replace"))


@bounded
@given(st.lists(damaged([b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"]), max_size=4))
def test_streams(pieces):
    answer = StreamedResponse()
    try:
        for piece in pieces:
            answer.feed(piece, 0)
        answer.check(10, ignore_eos=True)
    except Failure:
        return


@bounded
@given(st.lists(damaged([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]), max_size=3))
def test_http_answers(pieces):
    reader = ResponseReader()
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.eof()
    except HttpError:
        pass


@pytest.mark.parametrize("name", ["slurm", "pbs"])
@bounded
@given(
    stdout=damaged(_recorded("slurm/**/*", "pbs/**/*")),
    stderr=st.sampled_from([b"", b"error"]),
    code=st.sampled_from([0, 1, 127, None]),
)
def test_answers_of_schedulers(name: str, stdout: bytes, stderr: bytes, code: int | None):
    scheduler = get_scheduler(name)
    answer = CommandAnswer(("x",), code, stdout.decode("utf-8", "surrogateescape"), stderr.decode())
    for query in scheduler.queries(["12", "13[]"], "me"):
        query.parse(answer)
    scheduler.parse_probes([answer for _ in scheduler.probes()])
    for parser in (scheduler.parse_submit, scheduler.find_query("n", "me", "/x/jobs/0").parse):
        try:
            parser(answer)
        except HpcsweepError:
            continue


@bounded
@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_names_of_files_and_runs(name):
    try:
        check_name(name, "/x")
        assert Path("/x", name).parent == Path("/x") and name not in ("", ".", "..")
    except HpcsweepError:
        pass
    if is_label(name):
        assert Path("/x", name).parent == Path("/x") and name not in ("", ".", "..")


@bounded
@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_texts_for_a_terminal(text):
    shown = printable(text)
    assert not any(character in shown for character in "\x1b\x00\x9b\u202e\ud800")
    assert all(ord(character) >= 32 or character in "\n\t" for character in shown)
    value = {"a": text}
    assert json.loads(printable_json(json.dumps(value, ensure_ascii=False))) == value


@bounded
@given(
    st.dictionaries(
        st.sampled_from(
            ["hostname", "user", "port", "identityfile", "proxycommand", "userknownhostsfile", "hostkeyalias"]
        ),
        st.lists(st.text(max_size=30), max_size=3),
    )
)
def test_output_of_ssh(found):
    with contextlib.suppress(ValueError, HpcsweepError):
        options_from(Ssh(host="h", home="/x"), found)


@bounded
@given(
    damaged(
        [
            b"[host]:22 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBase64\n",
            b"|1|x|y ssh-rsa AAAA\n@cert-authority * ssh-rsa A\n",
        ]
    )
)
def test_known_hosts(tmp_path, data):
    from hpcsweep.hosts.ssh_login import _load_host_keys

    (tmp_path / "known_hosts").write_bytes(data)
    _load_host_keys(paramiko.HostKeys(), tmp_path / "known_hosts")


def test_the_recorded_texts_are_there():
    assert all(len(_recorded(pattern)) > 1 for pattern in ("engines/**/*", "imports/**/*", "slurm/**/*", "pbs/**/*"))
