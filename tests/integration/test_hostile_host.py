"""Sweeps over SSH on a host that lies, breaks off, or is not the user's: a real protocol, a fake PBS behind it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli import Cli
from pbs_fixture import FakePbs, wait_until
from pbs_sweeps import SWEEP, PbsSweep
from ssh_server import USER, SshServer


class FarSweep(PbsSweep):
    """The small sweep of the PBS tests, on a PBS behind an SSH server."""

    def __init__(self, pbs: FakePbs, folder: Path, server: SshServer) -> None:
        self.server, self.far_home = server, folder / "far"
        super().__init__(pbs, folder)
        self.far = self.far_home / "sweeps" / SWEEP
        (self.cli.folder / "user").mkdir()
        self.cli.env["XDG_CONFIG_HOME"] = str(self.cli.folder / "user")

    def write(self, **profile: object) -> None:
        profile.setdefault("ssh", self.server.profile(self.far_home))
        super().write(**{"python": sys.executable, "lengths": ("1k", "2k")} | profile)  # type: ignore[arg-type]

    def outcomes(self) -> dict[str, str]:
        return {label: run["outcome"] for label, run in self.wait_until_ended(90).items()}

    def wait_far(self) -> None:
        """Until the runs have ended and PBS has no job of them any more, without asking from here."""
        ends = [self.far / "runs" / label / "attempt-1" / "exit.json" for label in ("len-1k", "len-2k")]
        wait_until(lambda: all(end.exists() for end in ends), 90)
        wait_until(lambda: not self.processes(), 30)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HPCSWEEP_JOB_DIR", "").startswith(str(self.far_home)):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def outside(self) -> list[str]:
        """Files that stand outside the folders that a fetch may write to."""
        root = self.folder
        ours = (self.cli.home / "sweeps" / SWEEP, self.far_home)
        found = [path for path in root.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(root)) for path in found if not any(one in path.parents for one in ours))


@pytest.fixture
def far(pbs: FakePbs, tmp_path: Path) -> Iterator[FarSweep]:
    server = SshServer(tmp_path / "sshd")
    made = FarSweep(pbs, tmp_path, server)
    yield made
    server.close()
    pbs.admin("up")
    pbs.admin("stop-all")
    for process in made.processes():
        process.kill()


def test_a_whole_sweep_goes_over_one_connection(far):
    far.submit()
    assert far.server.logins == 1, "submit stages, asks and submits over one connection"
    assert set(far.outcomes().values()) == {"completed"}
    before = far.server.logins
    far.cli.run("status")
    assert far.server.logins == before + 1


HOSTILE_NAMES = ["../../../../../planted", "/planted", "a/../../../../../planted", "x\nplanted", "y/../../p", "\x1b[2J"]


def test_a_listing_cannot_write_outside_the_sweep(far):
    far.submit()
    far.outcomes()
    before = far.outside()
    attempt = far.far / "runs" / "len-1k" / "attempt-1"
    for name in HOSTILE_NAMES:
        far.server.listed[str(attempt)] = {name: b"ssh-ed25519 AAAA planted"}
        done = far.cli.run("status")
        assert far.outside() == before
        assert "nothing was written" in done.stderr
        assert "\nplanted" not in done.stderr and "\x1b" not in done.stderr


def test_names_that_no_run_of_the_sweep_has_are_left_there(far):
    far.submit()
    far.outcomes()
    far.server.listed[str(far.far / "runs")] = {"authorized_keys": b"planted"}
    far.server.listed[str(far.far / "runs" / "len-1k")] = {"not_run.json": b'{"reason": "so it says"}'}
    (far.far / "runs" / "foreign" / "attempt-1").mkdir(parents=True)
    (far.far / "runs" / "foreign" / "attempt-1" / "events.jsonl").write_text("planted\n")
    (far.far / "jobs" / "0" / "job.sh").write_text("planted\n")
    far.cli.run("status")
    here = far.cli.home / "sweeps" / SWEEP
    assert not (here / "runs" / "foreign").exists() and not (here / "runs" / "authorized_keys").exists()
    assert "planted" not in (here / "jobs" / "0" / "job.sh").read_text()
    assert (here / "runs" / "len-1k" / "not_run.json").exists(), "what a node may write is fetched"


def test_a_link_here_does_not_lead_a_fetch_out_of_the_folder(far):
    far.submit()
    far.wait_far()
    elsewhere = far.folder / "elsewhere"
    elsewhere.mkdir()
    run = far.cli.home / "sweeps" / SWEEP / "runs" / "len-1k"
    run.rmdir()
    run.symlink_to(elsewhere)
    done = far.cli.run("status")
    assert "the path contains a symbolic link" in done.stderr
    assert list(elsewhere.iterdir()) == []


def test_a_fifo_in_the_place_of_a_record_is_refused_and_nothing_is_concluded(far):
    far.submit()
    far.wait_far()
    attempt = far.far / "runs" / "len-1k" / "attempt-1"
    for name in ("exit.json", "events.jsonl"):
        (attempt / name).unlink()
        far.server.listed.setdefault(str(attempt), {})[name] = None
    done = far.cli.run("status")
    assert "not a regular file" in done.stderr
    assert far.cli.runs()["len-1k"]["state"] == "unknown"


def test_a_fetch_cut_short_is_unknown_and_is_not_submitted_again(far):
    far.submit()
    far.wait_far()
    far.server.cut_after_bytes = 0
    runs = far.cli.runs()
    assert {run["state"] for run in runs.values()} == {"unknown"}
    assert all("not all of its files could be read" in run["reason"] for run in runs.values())
    for words in (("retry",), ("retry", SWEEP, "len-1k")):
        refused = far.cli.run(*words, code=1)
        assert "nothing was submitted" in refused.stderr
    assert len(far.pbs.state()["jobs"]) == 1
    far.server.cut_after_bytes = None
    assert set(far.outcomes().values()) == {"completed"}
    assert "nothing to retry" in far.cli.run("retry", code=1).stderr


def test_a_folder_that_vanished_over_there_is_no_proof_of_anything(far):
    far.submit()
    far.wait_far()
    (far.far / "runs").rename(far.far / "away")
    assert {run["state"] for run in far.cli.runs().values()} == {"unknown"}


def test_a_link_that_dies_in_qsub_is_made_anew_and_the_job_found(far):
    far.server.dies_in = "qsub"
    far.submit()
    assert len(far.pbs.state()["jobs"]) == 1


def test_a_host_that_dies_in_qsub_may_have_the_job(far):
    far.server.dies_in, far.server.stays_down = "qsub", True
    done = far.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert "may have been submitted" in done.stderr and "do not submit again" in done.stderr
    assert (far.cli.home / "sweeps" / SWEEP / "jobs" / "0" / "submission.json").exists()
    far.server.dies_in, far.server.down = None, False
    assert set(far.outcomes().values()) == {"completed"}
    assert len(far.pbs.state()["jobs"]) == 1


@pytest.mark.parametrize(
    ("python", "told"), [("/nowhere/python", "cannot import hpcsweep"), ("OTHER", "has hpcsweep 0.0.1, this")]
)
def test_the_python_over_there_is_checked_before_anything_is_copied(far, python, told):
    if python == "OTHER":
        other = far.folder / "other-python"
        other.write_text("#!/bin/sh\necho 0.0.1\n")
        other.chmod(0o755)
        python = str(other)
    far.write(python=python)
    done = far.cli.run("submit", "study.yaml", "--cluster", "pbs-test", code=1)
    assert told in done.stderr and "nothing was copied" in done.stderr
    assert not far.far_home.exists()


@pytest.mark.parametrize(
    ("home", "problem"),
    [
        ("~/hpcsweep", "is not an absolute path"),
        ("scratch/hpcsweep", "is not an absolute path"),
        ("/scratch/../etc", "is not a plain path without `..`"),
    ],
)
def test_a_home_that_means_different_things_on_each_side_is_refused(far, home, problem):
    far.write(ssh=far.server.profile(Path("/x")) | {"home": home})
    done = far.cli.run("submit", "study.yaml", "--cluster", "pbs-test", "--dry-run", code=1)
    assert f"home: '{home}' {problem}" in done.stderr and "line 1" in done.stderr


def foreign(far: FarSweep, **changes: object) -> Cli:
    """The folder of the sweep as another person gets it, whose own configuration is `changes` or empty."""
    cli = Cli(far.folder, dict(far.cli.env))
    cli.env["HPCSWEEP_CONFIG"] = str(far.folder / "own.yaml")
    own = json.loads((far.folder / "hpcsweep.yaml").read_text())["clusters"]["pbs-test"]
    clusters = {"pbs-test": own | {"ssh": own["ssh"] | changes}} if changes else {}
    (far.folder / "own.yaml").write_text(json.dumps({"clusters": clusters}))
    return cli


@pytest.mark.parametrize("changes", [{}, {"host": "login.elsewhere"}, {"home": "/elsewhere"}])
def test_a_folder_does_not_say_to_whom_hpcsweep_connects(far, changes):
    far.submit()
    far.outcomes()
    cli = foreign(far, **changes)
    before = far.server.logins
    done = cli.run("status")
    assert "the host was not contacted" in done.stderr
    assert "completed" in done.stdout, "what is here is shown all the same"
    for words in (("retry", SWEEP, "len-1k"), ("cancel",)):
        assert (
            "your profile" in cli.run(*words, code=1).stderr or "your configuration" in cli.run(*words, code=1).stderr
        )
    assert far.server.logins == before


def test_key_and_known_hosts_come_from_the_users_own_profile(far):
    far.submit()
    far.outcomes()
    path = far.cli.home / "sweeps" / SWEEP / "sweep.json"
    document = json.loads(path.read_text())
    document["profile"]["ssh"] |= {"key_file": "/evil/key", "known_hosts": "/evil/known_hosts", "port": 1}
    path.write_text(json.dumps(document))
    before = far.server.logins
    assert far.cli.run("status").stderr == ""
    assert far.server.logins == before + 1


def test_a_profile_of_a_project_folder_connects_only_once_it_is_trusted(far):
    del far.cli.env["HPCSWEEP_CONFIG"]
    refused = far.cli.run("submit", "study.yaml", "--cluster", "pbs-test", "--dry-run", code=1)
    assert "a folder that you have not trusted" in refused.stderr and f"{USER}@127.0.0.1" in refused.stderr
    assert far.server.logins == 0
    shown = far.cli.run("trust", "--yes").stdout
    assert str(far.server.client_key_file) in shown
    trusted = far.folder / "user" / "hpcsweep" / "trusted.json"
    assert trusted.stat().st_mode & 0o777 == 0o600
    far.cli.run("submit", "study.yaml", "--cluster", "pbs-test")
    config = far.folder / "hpcsweep.yaml"
    config.write_text(config.read_text() + "\n")
    assert "trust" in far.cli.run("status").stderr, "it is trusted as it was"


def test_the_links_of_a_sweep_are_not_copied_to_the_host(far):
    far.submit()
    far.outcomes()
    secret = far.folder / "id_ed25519"
    secret.write_text("the owner's key")
    (far.cli.home / "sweeps" / SWEEP / "data" / "x").symlink_to(secret)
    far.cli.run("retry", SWEEP, "len-1k", code=None)
    assert not any(
        "the owner's key" in path.read_text(errors="replace") for path in far.far.rglob("*") if path.is_file()
    )
    assert (far.far / "jobs" / "1").exists(), "the retry itself was staged"
