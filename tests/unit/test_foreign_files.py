"""Files, records and texts that others may have written: what cannot be used is not known, and costs nothing."""

import json
import os
import time
from pathlib import Path

import pytest
from sweep_folders import make_sweep

from hpcsweep.errors import HpcsweepError, SpecError
from hpcsweep.foreign_files import open_regular, parse_json, read_regular
from hpcsweep.imports.read_document import read_bytes
from hpcsweep.node.records import read_json
from hpcsweep.spec.yaml_text import parse_yaml
from hpcsweep.store.ingest.ingest_events import _LONGEST_LINE_BYTES
from hpcsweep.store.ingest.sweeps import ingest_sweep
from hpcsweep.store.open import open_store
from hpcsweep.submit.local.state import read_state
from hpcsweep.terminal_text import one_line, printable, printable_json
from hpcsweep.track.runs import read_runs

LABEL = "ep-on"
RECORDS = {
    "not JSON": b"\x00\xff{",
    "a list": b"[]",
    "nested": b"[" * 100_000,
    "types": json.dumps({"outcome": ["x"], "pid": "x", "host": {}, "reason": 1, "job_id": []}).encode(),
    "large numbers": json.dumps({"outcome": "lost", "exit_code": 10**30, "pid": 2**70, "ended_at": 1e300}).encode(),
    "digits": b'{"pid": ' + b"9" * 10_000 + b"}",
    "infinite": b'{"outcome": "lost", "taken_at": Infinity, "ended_at": NaN}',
    "surrogates": b'{"outcome": "lost", "reason": "\\ud800", "host": "\\udfff", "evidence": ["\\ud800"]}',
    "NUL": b'{"outcome": "lost", "reason": "\\u0000", "host": "a\\u0000b"}',
    "large": b'{"reason": "' + b"x" * (8 << 20) + b'"}',
}
UNREADABLE = {"not JSON", "a list", "nested", "digits", "large", "fifo", "folder", "link", "device"}


@pytest.mark.parametrize("name", ["owner.json", "exit.json", "not_run.json", "events.jsonl"])
@pytest.mark.parametrize("kind", [*RECORDS, "fifo", "folder", "link", "device"])
def test_a_malformed_record_does_not_hide_the_other_runs(tmp_path: Path, name: str, kind: str) -> None:
    content = RECORDS.get(kind)
    made = make_sweep(tmp_path, axes={"ep": ["on", "off"]}, scheduler="local")
    made.write("ep-off", made.lines("ep-off").started().startup().ended("completed"), end="completed")
    folder = made.folder.path / "runs" / LABEL
    (folder / "attempt-1").mkdir()
    path = folder / name if name == "not_run.json" else folder / "attempt-1" / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("link", "device"):
        path.symlink_to("/etc/passwd" if kind == "link" else "/dev/zero")
    else:
        path.write_bytes(content or b"")
    store = open_store(tmp_path / "store.db")
    begun = time.monotonic()
    count = ingest_sweep(store, made.folder.path)
    assert time.monotonic() - begun < 20
    with store.reading() as connection:
        (sweep,) = read_runs(connection)
    verdicts = {run.run: run.verdict for run in sweep.runs}
    assert verdicts["ep-off"].outcome == "completed"
    if kind in UNREADABLE and name != "events.jsonl":
        assert any(name in trouble for trouble in (*count.troubles, *count.unreadable))
        assert verdicts[LABEL].outcome is None, "nothing is concluded from it"
    store.close()


def test_a_file_of_events_that_cannot_be_read_is_said_to_be_unreadable(tmp_path: Path) -> None:
    made = make_sweep(tmp_path, axes={"ep": ["on"]}, scheduler="local")
    (made.folder.path / "runs" / LABEL).rmdir()
    (made.folder.path / "runs" / LABEL).write_text("a file in the place of a folder")
    store = open_store(tmp_path / "store.db")
    assert "Not a directory" in ingest_sweep(store, made.folder.path).unreadable[0]
    store.close()


def test_zeros_after_a_crash_are_passed_over_in_bounded_memory(tmp_path: Path) -> None:
    made = make_sweep(tmp_path, axes={"ep": ["on"]}, scheduler="local")
    lines = made.lines(LABEL).started()
    folder = made.write(LABEL, lines)
    path = folder / "events.jsonl"
    whole = path.stat().st_size
    os.truncate(path, whole + 3 * _LONGEST_LINE_BYTES)  # a hole: zeros without a newline
    with path.open("ab") as file:
        file.write(b"\n" + made.lines(LABEL).started().startup().ended("completed").text().encode())
    store = open_store(tmp_path / "store.db")
    ingest_sweep(store, made.folder.path)
    with store.reading() as connection:
        (sweep,) = read_runs(connection)
        troubles = connection.exec_driver_sql("select offset, message from ingest_trouble").all()
    assert sweep.runs[0].verdict.outcome == "completed"
    assert [(at, "not an event" in why) for at, why in troubles] == [(whole, True)]
    store.close()


def test_infinite_figures_do_not_hide_an_event(tmp_path: Path) -> None:
    made = make_sweep(tmp_path, axes={"ep": ["on"]}, scheduler="local")
    lines = made.lines(LABEL).started().startup()
    lines.add("fact", 260.0, name="load_s", value=float("inf"), unit="s", source="log")
    lines.add("workload_started", 261.0, workload="w", samples_total=1)
    figures = {"rss_bytes": float("inf"), "cpu_s": 1.5}
    lines.add("workload_ended", 262.0, workload="w", duration_s=1.0, completed=1, failed=0, client_figures=figures)
    made.write(LABEL, lines.ended("completed"))
    path = made.attempt_dir(LABEL) / "events.jsonl"
    path.write_text(path.read_text().replace("Infinity", "1e999"))
    store = open_store(tmp_path / "store.db")
    ingest_sweep(store, made.folder.path)
    with store.reading() as connection:
        found = connection.exec_driver_sql("select client_figures from workload_result").scalar_one()
        assert json.loads(found) == {"cpu_s": 1.5}
        facts = connection.exec_driver_sql("select number from fact where name = 'load_s'").scalars().all()
        assert facts == [155.0]
    store.close()


def test_a_fifo_does_not_hold_up_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(tmp_path / "fifo", 100)
    with pytest.raises(OSError, match="not a regular file"), open_regular("/dev/zero", follow=True):
        pass
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic link"):
        read_regular(tmp_path / "link", 1 << 20)
    assert read_json(tmp_path / "link") is None
    (tmp_path / "large").write_bytes(b"x" * 101)
    with pytest.raises(OSError, match="larger than the limit of 100 bytes"):
        read_regular(tmp_path / "large", 100)


@pytest.mark.parametrize(
    "state",
    [
        b"[]", b"{}", b'{"pid": "x"}', b'{"pid": 1, "elements": []}', b'{"pid": 1, "elements": {"x": {}, "0_0": 3}}',
        b'{"pid": 99999999999999999999999, "elements": {}}', b"[" * 100_000,
        b'{"pid": 1, "elements": {"0_0": {"state": "running", "pid": "4", "created": "x"}}}',
    ],
)  # fmt: skip
def test_a_malformed_state_of_the_dispatcher_names_no_process(tmp_path: Path, state: bytes) -> None:
    made = make_sweep(tmp_path, axes={"ep": ["on"]}, scheduler="local")
    (made.folder.path / "dispatcher").mkdir()
    (made.folder.path / "dispatcher" / "state.json").write_bytes(state)
    assert all(task.pid is None for task in read_state(made.folder).tasks.values())


@pytest.mark.parametrize("label", ["../../../x", "/etc", "..", "a/b", "", "a\nb", ".hidden", "x" * 300])
def test_a_sweep_file_cannot_name_a_folder_elsewhere(tmp_path: Path, label: str) -> None:
    made = make_sweep(tmp_path, axes={"ep": ["on"]}, scheduler="local")
    path = made.folder.path / "sweep.json"
    document = json.loads(path.read_text())
    document["runs"][0]["label"] = label
    path.write_text(json.dumps(document))
    with pytest.raises(HpcsweepError) as refused:
        made.folder.read_sweep()
    assert refused.value.code == "sweep_file_corrupt"
    store = open_store(tmp_path / "store.db")
    with pytest.raises(HpcsweepError) as refused:
        ingest_sweep(store, made.folder.path)
    assert refused.value.code == "sweep_file_corrupt"
    store.close()


def test_lone_surrogates_in_json_become_a_question_mark() -> None:
    assert parse_json(b'{"\\ud800": ["\\udfff", "\\ud83d\\ude00"]}') == {"?": ["?", "\U0001f600"]}
    with pytest.raises(ValueError, match="too deeply"):
        parse_json("[" * 100_000)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system [id]", "line 1: a: .*os.system is not supported"),
        ("a: !foo 1", "line 1: a: !foo is not supported"),
        ("x: 1\na: !foo {b: 1}", "line 2: a: !foo"),
        ("a: !!binary aGk=", "bytes is not supported"),
        ('a: ["\\ud800"]', "line 1: a.0: text with the character"),
        ('a: "x\\0y"', "text with the character"),
        ('"\\ud800": 1', "key"),
        ("&a [*a]", "nested too deeply, or an alias contains itself"),
        ("[" * 3000, "nested too deeply"),
        ("a:\n" + "".join(" " * i + "b:\n" for i in range(1, 2000)), "nested too deeply"),
        (BOMB, "more than 100000 values"),
        ("a: " + "9" * 5000, "invalid YAML"),
    ],
)
def test_yaml_that_is_more_than_values_is_refused_quickly(text: str, message: str) -> None:
    begun = time.monotonic()
    with pytest.raises(SpecError, match=message):
        parse_yaml(text, "f.yaml")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;never closed\nnext", "\nnext"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x9b31mx", "x"),
        ("a\x1b", "a"),
        ("a\x08\x07b", "ab"),
        ("one\ttwo\nthree\r\n", "one\ttwo\nthree\n"),
        ("50 %\r100 %", "50 %100 %"),
        ("abc\u202edef", "abc<U+202E>def"),
        ("a\u2066b\u200bc\ufeff", "a<U+2066>b<U+200B>c<U+FEFF>"),
        ("caf\u00e9 \u4e2d \U0001f600", "caf\u00e9 \u4e2d \U0001f600"),
        ("\ud800", "<U+D800>"),
    ],
)
def test_text_for_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_json_for_a_terminal_has_the_same_values() -> None:
    value = {"a": "\u202e\x9b\x7f\u00e9"}
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert "\u202e" not in shown and "\x9b" not in shown
    assert one_line(" a\n\tb ") == "a b"


def test_escapes_take_linear_time() -> None:
    for piece in ("\x1b[", "\x1b]", "\x1bP", "\x9b0", "\x1b[0;", "\x1b"):
        begun = time.monotonic()
        printable(piece * 300_000)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("piece", ["=", "1", "-", "1.", "| ", "<table>", "\x1b[", "a: 1 ", "--a ", "1% ", " "])
def test_a_long_line_of_a_report_is_read_in_linear_time(piece: str) -> None:
    line = piece * (8000 // len(piece))
    begun = time.monotonic()
    read_bytes(f"# title\n\n{line}!\n| a | b |\n|---|---|\n| {line} | 1 |\n".encode(), "report.md")
    assert time.monotonic() - begun < 8
