"""A project folder from somebody else: a dry run, `status` and `report` in it run nothing of it and signal nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from cli import Cli
from sweep_folders import make_sweep

EXPERIMENT = """\
model: some/model
engine: vllm
axes: {len: [1k]}
workloads:
  short: {dataset: {kind: samples, path: short.json}, max_tokens: 16}
resources: {gpus: 0, walltime: 1h}
"""
AUDITED = """\
import sys
log = open(sys.argv.pop(1), "a", buffering=1)
def hook(event, args):
    watched = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.kill", "os.killpg", "socket.connect")
    if event in watched:
        log.write(f"{event} {args!r}\\n")
sys.addaudithook(hook)
from hpcsweep.cli.main import main
main()
"""
"""The command line, with a record of every process that it starts, signals or connects to."""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "short.json").write_text(json.dumps([{"id": "s", "prompt": "a", "prompt_tokens": 1}]))
    (folder / "small.yaml").write_text(EXPERIMENT)
    made = Cli(folder)
    made.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return made


def evil(folder: Path, name: str) -> tuple[Path, Path]:
    """A script that leaves a file behind when it is run, and that file."""
    ran, script = folder.parent / f"{name}-ran", folder / f"{name}.sh"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    return script, ran


def git(folder: Path, *words: str) -> None:
    names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *names, *words], check=True, capture_output=True)


def test_a_repository_runs_nothing_during_a_dry_run_and_its_revision_is_known(cli):
    git(cli.folder, "init", "-q")
    git(cli.folder, "add", ".")
    git(cli.folder, "commit", "-q", "-m", "first")
    head = subprocess.run(["git", "-C", str(cli.folder), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    ran = []
    for name in ("fsmonitor", "filter", "hook"):
        script, mark = evil(cli.folder, name)
        ran.append(mark)
        if name == "fsmonitor":
            git(cli.folder, "config", "core.fsmonitor", str(script))
        elif name == "filter":
            git(cli.folder, "config", "filter.x.clean", f"{script}; cat")
            (cli.folder / ".gitattributes").write_text("* filter=x\n")
        else:
            hooks = cli.folder / ".git" / "hooks"
            hooks.mkdir(exist_ok=True)
            for hook in ("post-index-change", "pre-commit", "post-checkout"):
                (hooks / hook).write_text(script.read_text())
                (hooks / hook).chmod(0o755)
    (cli.folder / "short.json").touch()  # its entry in the index is stale: git has to look at the content
    subprocess.run(["git", "-C", str(cli.folder), "status"], check=True, capture_output=True)
    assert all(mark.exists() for mark in ran), "the repository is as hostile as it means to be"
    for mark in ran:
        mark.unlink()
    (cli.folder / "short.json").touch()
    cli.run("submit", "small.yaml", "--dry-run")
    sweep = cli.json("submit", "small.yaml")["sweep"]  # provenance is in sweep.json
    provenance = json.loads((cli.home / "sweeps" / sweep / "sweep.json").read_text())["provenance"]
    assert not any(mark.exists() for mark in ran)
    assert (provenance["git_revision"], provenance["git_changes"]) == (head.strip(), "yes")
    cli.run("cancel")


def test_templates_of_a_folder_need_a_word_of_the_user(cli):
    (cli.folder / "templates").mkdir()
    own = cli.folder / "templates" / "local.sh.j2"
    own.write_text('{% extends "local.sh.j2" %}{% block setup %}\necho from the folder\n{% endblock %}')
    refused = cli.run("submit", "small.yaml", "--dry-run", code=1)
    assert "./templates has local.sh.j2" in refused.stderr and "--template-dir templates" in refused.stderr
    assert "from the folder" in cli.run("submit", "small.yaml", "--dry-run", "--template-dir", "templates").stdout
    assert "local.sh.j2" in cli.run("trust", "--yes").stdout
    assert "from the folder" in cli.run("submit", "small.yaml", "--dry-run").stdout
    own.write_text(own.read_text() + "\n")
    assert "./templates has" in cli.run("submit", "small.yaml", "--dry-run", code=1).stderr
    cli.run("trust", "--forget")
    own.rename(own.with_name("mail.html.j2"))  # a folder `templates` of something else does not matter
    cli.run("submit", "small.yaml", "--dry-run")


def test_templates_of_the_users_configuration_are_used(cli):
    config = Path(cli.env["XDG_CONFIG_HOME"]) / "hpcsweep"
    (config / "mine").mkdir(parents=True)
    (config / "mine" / "local.sh.j2").write_text(
        '{% extends "local.sh.j2" %}{% block setup %}\necho my own\n{% endblock %}'
    )
    (config / "hpcsweep.yaml").write_text("templates: mine\n")
    assert "echo my own" in cli.run("submit", "small.yaml", "--dry-run").stdout


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "job.parse_file('x', proto='pickle', allow_pickle=True)",
        "job.model_dump()",
        "cluster.__init__.__globals__",
        "self.__init__.__globals__",
        "lipsum.__globals__['os'].system('id')",
        "cycler.__init__.__globals__.os.popen('id').read()",
        "job|attr('model_dump')",
        "['x']|map('system')|list",
        "range.__class__",
        "namespace.__init__.__globals__",
        "dict.mro()",
    ],
)
def test_a_template_gets_at_nothing_but_values(cli, expression):
    (cli.folder / "t").mkdir()
    (cli.folder / "t" / "local.sh.j2").write_text("{{ " + expression + " }}")
    done = cli.run("submit", "small.yaml", "--dry-run", "--template-dir", "t", code=1)
    assert done.stderr.startswith("Error: template")
    assert "Traceback" not in done.stderr


def audited(cli: Cli, *words: str) -> tuple[str, list[str]]:
    """(output, what was started, signalled or connected to) of a command."""
    record = cli.folder.parent / "record"
    record.write_text("")
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(record), *words],
        cwd=cli.folder, env=cli.environment(), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr, record.read_text().splitlines()


def test_status_and_report_start_signal_and_connect_to_nothing(cli, victim):
    made = make_sweep(cli.home, scheduler="local", axes={"ep": ["on", "off"]})
    for label in made.labels:
        made.write(label, made.lines(label).started().startup().ended("out_of_memory"))
    state_of(made.folder.path, victim)
    for words in (("status",), ("report",), ("report", "--format", "markdown"), ("show", made.labels[0])):
        _, record = audited(cli, *words)
        assert record == []
    assert victim.is_running()


@pytest.fixture
def victim():
    process = subprocess.Popen(["sleep", "300"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def state_of(sweep: Path, process: psutil.Process, created: float | None = None) -> None:
    """A state.json by which element 0 of job 0 is this process, and the dispatcher dead."""
    (sweep / "dispatcher").mkdir(exist_ok=True)
    task = {"state": "running", "pid": process.pid, "created": created or process.create_time()}
    state = {"pid": 1, "created": 1.0, "tasks": {"0_0": task}}
    (sweep / "dispatcher" / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("created", [None, 0.0], ids=["its true start", "no start"])
def test_cancel_signals_only_what_works_in_the_jobs_folder(cli, victim, created):
    made = make_sweep(cli.home, scheduler="local", axes={"ep": ["on"]}, submitted=False)
    path = made.folder.job_dir(0) / "submission.json"
    submission = {"job_id": f"{made.folder.name}:0", "cluster": "local", "scheduler": "local", "submitted_at": 1.0}
    path.write_text(json.dumps(submission | {"array_tasks": 1}))
    state_of(made.folder.path, victim, created)
    cli.run("cancel", code=None)
    time.sleep(0.5)
    assert victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE


def test_cancel_still_ends_an_element_whose_dispatcher_is_dead(cli):
    made = make_sweep(cli.home, scheduler="local", axes={"ep": ["on"]}, submitted=False)
    job_dir = made.folder.job_dir(0)
    (job_dir / "job.sh").write_text("#!/bin/bash\nsleep 300\n")
    submission = {"job_id": f"{made.folder.name}:0", "cluster": "local", "scheduler": "local", "submitted_at": 1.0}
    old_key = {"elements": 1}  # the key before version 0.2
    (job_dir / "submission.json").write_text(json.dumps(submission | old_key))
    process = subprocess.Popen(["bash", str(job_dir / "job.sh")], start_new_session=True)
    try:
        time.sleep(0.5)
        state_of(made.folder.path, psutil.Process(process.pid))
        cli.run("cancel")
        assert process.wait(10) == -signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
