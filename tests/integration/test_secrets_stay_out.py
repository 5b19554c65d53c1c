"""Values planted wherever a user can put a secret: no file, no argument and no report may contain one of them."""

import contextlib
import json
import re
import sqlite3
import time
from pathlib import Path

import pytest
from cli import Cli

TOKEN = "hf_" + "Pl4nt3dT0k3n" * 3
OTHER = "pl4nted-0ther-value"
PROXY = "pl4nted-pr0xy-pass"
TYPED = "hf_" + "Typ3dT0k3n" * 3  # in an argument of ours: tests that run beside watch for the values above
TYPED_PROXY = "typ3d-pr0xy-pass"
PLANTED = [value.encode() for value in (TOKEN, OTHER, PROXY)]

EXPERIMENT = """\
model: some/model
axes: {eager: [yes, no]}
baseline: {eager: yes}
env: {PLAIN: shown}
env_from: [HF_TOKEN, NGC_CLI_AUTH]
secrets_file: $HOME/secrets
workloads:
  short: {dataset: {kind: samples, path: short.json}, max_tokens: 16}
resources: {gpus: 0, walltime: 1h}
simulated: {profile: rehearsal.yaml, time_scale: 50}
"""


@pytest.fixture
def cli(tmp_path):
    (tmp_path / "short.json").write_text('[{"id": "a", "prompt": "one two three", "prompt_tokens": 3}]')
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    (tmp_path / "rehearsal.yaml").write_text("startup: {launch: 1, engine_init: 2, load_weights: 60}\n")
    user = tmp_path / "user"
    user.mkdir()
    (user / "secrets").write_text(f"HF_TOKEN={TOKEN}\n")
    (user / "secrets").chmod(0o600)
    env = {"HOME": str(user), "NGC_CLI_AUTH": OTHER, "https_proxy": f"http://me:{PROXY}@proxy:1", "HPCSWEEP_STORE": ""}
    return Cli(tmp_path, {name: value for name, value in env.items() if value})


def arguments() -> bytes:
    """The command lines of all processes of this machine, as every user can read them."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes() + b"\n"
        except OSError:
            continue
    return found


def test_no_planted_value_is_in_any_file_or_argument(cli, tmp_path):
    cli.run("submit", "e.yaml")
    seen, watched, deadline_s = b"", 0, time.monotonic() + 100
    while not all_ended(cli) and time.monotonic() < deadline_s:
        seen += arguments()
        watched += b"hpcsweep.simulator" in seen
        time.sleep(0.05)
    assert watched, "no server was seen running: nothing was watched"
    status = cli.run("status")
    assert "2 of 2" in status.stdout or "completed" in status.stdout, status.stdout
    assert all(value not in seen for value in PLANTED)
    formats = re.search(r"\[([a-z|\-]+)\]", cli.run("report", "--help").stdout)
    names = formats[1].split("|") if formats else ["markdown", "html", "csv", "json"]
    for name in names:
        cli.run("report", "--format", name, "--output", str(tmp_path / f"report.{name}"), code=None)
    assert (tmp_path / "report.html").exists() and (tmp_path / "report.json").exists()
    servers = list(cli.home.rglob("server.log"))
    assert len(servers) == 2
    files = [p for p in tmp_path.rglob("*") if p.is_file() and tmp_path / "user" not in p.parents]
    assert {"job.sh", "job.json", "sweep.json", "run.json", "events.jsonl", "hpcsweep.db"} <= {p.name for p in files}
    for path in files:
        data = path.read_bytes()
        assert not [value for value in PLANTED if value in data], path
    with contextlib.closing(sqlite3.connect(cli.home / "hpcsweep.db")) as store:
        dump = "\n".join(store.iterdump()).encode()
    assert not [value for value in PLANTED if value in dump]
    assert b"not written down" in b"".join(p.read_bytes() for p in cli.home.rglob("events.jsonl"))


def all_ended(cli: Cli) -> bool:
    return len(list(cli.home.glob("sweeps/*/runs/*/attempt-1/exit.json"))) == 2


def test_the_server_gets_the_values(cli, tmp_path):
    """What the engine's process has in its environment is what was asked for; only its user can read that."""
    cli.run("submit", "e.yaml")
    deadline_s, environments = time.monotonic() + 100, b""
    while not all_ended(cli) and time.monotonic() < deadline_s:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if b"hpcsweep.simulator" in (path / "cmdline").read_bytes():
                    environments += (path / "environ").read_bytes()
            except OSError:
                continue
        time.sleep(0.05)
    assert f"HF_TOKEN={TOKEN}".encode() in environments
    assert f"NGC_CLI_AUTH={OTHER}".encode() in environments


def test_a_variable_that_is_missing_ends_the_run_before_a_server_starts(cli, tmp_path):
    (tmp_path / "user" / "secrets").write_text("X=1\n")
    cli.run("submit", "e.yaml", "--wait", code=3)
    (exit_file, *_) = cli.home.glob("sweeps/*/runs/*/attempt-1/exit.json")
    ended = json.loads(exit_file.read_text())
    assert (ended["outcome"], ended["code"]) == ("failed", "secret_missing")
    assert ended["reason"].startswith("env_from: not set in ") and ended["reason"].endswith(": HF_TOKEN")
    assert not list(cli.home.rglob("server.log"))


def test_a_password_in_the_store_option_is_refused_and_one_in_the_environment_is_masked(cli):
    url = f"postgresql+psycopg://me:{TYPED_PROXY}@127.0.0.1:1/db"
    refused = cli.run("--store", url, "status", code=1)
    assert (
        "every user of this machine can read" in refused.stderr and TYPED_PROXY not in refused.stderr + refused.stdout
    )
    cli.env["HPCSWEEP_STORE"] = url
    failed = cli.run("status", code=1)
    assert TYPED_PROXY not in failed.stderr + failed.stdout and "me:***@127.0.0.1" in failed.stderr


def test_a_secret_in_a_level_on_the_command_line_is_refused(cli):
    refused = cli.run("submit", "e.yaml", "--set", f"eager={TYPED}", code=2)
    assert TYPED not in refused.stderr
