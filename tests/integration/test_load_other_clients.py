"""Other tools' clients as processes: small programs with their names, which do what the real ones do, or fail."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from load_process import config, finish, load, start

RESULT = Path(__file__).parents[1] / "transcripts" / "vllm-bench" / "eager512-c4.json"


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """Puts a program named vllm on the PATH, with the given body; `out` is the result file that it is asked for."""

    def put(body: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        lines = [
            f"#!{sys.executable}",
            "import json, os, pathlib, signal, subprocess, sys, time",
            "args = dict(zip(sys.argv, sys.argv[1:] + ['']))",
            "out = pathlib.Path(args['--result-dir']) / args['--result-filename']",
            body,
        ]
        (folder / "vllm").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "vllm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


def test_its_result_becomes_our_records(vllm, tmp_path):
    vllm(f"out.write_text(pathlib.Path({str(RESULT)!r}).read_text())")
    result = load(config(tmp_path, "http://127.0.0.1:9", ["x"] * 16, tokens=32, client="vllm-bench"))
    assert (result.code, result.errors) == (0, "")
    assert (result.ended.completed, result.ended.failed) == (16, 0)
    assert [sample.sample for sample in result.samples] == [str(n) for n in range(16)]
    assert result.ended.duration_s == pytest.approx(
        json.loads(RESULT.read_text(encoding="utf-8"))["duration"], abs=1e-5
    )


def test_the_key_goes_by_the_environment_alone(vllm, tmp_path):
    vllm("sys.exit(f'key {os.environ[\"OPENAI_API_KEY\"] == \"s3cret\"} {\"s3cret\" in str(sys.argv)} "
         "{os.environ.get(\"HPCSWEEP_API_KEY\")}')")  # fmt: skip
    result = load(config(tmp_path, "http://127.0.0.1:9", ["x"], client="vllm-bench"), HPCSWEEP_API_KEY="s3cret")
    assert "key True False None" in result.samples[0].error_detail


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param("sys.exit('no such flag')", "exit code 1; no such flag", id="it fails"),
        pytest.param("print('done')", "done", id="it leaves no result"),
        pytest.param("out.write_text('{}')", "", id="its result is of another form"),
    ],
)
def test_a_tool_that_fails_fails_every_sample(vllm, tmp_path, body, told):
    vllm(body)
    result = load(config(tmp_path, "http://127.0.0.1:9", ["x", "y"], client="vllm-bench"))
    assert (result.code, result.ended.failures) == (1, {"client_error": 2})
    assert told in result.samples[0].error_detail


def test_sigterm_ends_the_tool_and_all_that_it_started(vllm, tmp_path):
    pids = tmp_path / "pids"
    vllm(
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "time.sleep(1000)"
    )
    process = start(config(tmp_path, "http://127.0.0.1:9", ["x", "y"], client="vllm-bench"))
    while not (pids.exists() and len(pids.read_text(encoding="ascii").split()) == 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    result = finish(process)
    assert (result.code, result.ended.failures) == (0, {"aborted": 2})
    for pid in pids.read_text(encoding="ascii").split():
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text(encoding="ascii").split()[2] == "Z"


def test_an_unknown_client_names_the_known_ones(tmp_path):
    result = load(config(tmp_path, "http://127.0.0.1:9", ["x"], client="aiperf"))
    assert result.code == 1
    assert "known: builtin, guidellm, vllm-bench" in result.errors
