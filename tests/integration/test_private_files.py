"""After a whole sweep no other user of the machine can read, list or change anything of it."""

import os
import stat
from pathlib import Path

import pytest
from cli import Cli
from second_user import as_second_user
from test_main_job import EXPERIMENT, REHEARSAL


@pytest.fixture
def cli(tmp_path):
    for name in ("short", "long"):
        path = tmp_path / f"{name}.json"
        path.write_text('[{"id": "a", "prompt": "one two three", "prompt_tokens": 3}]')
        path.chmod(0o600)  # a prompt that only its owner may read
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    (tmp_path / "rehearsal.yaml").write_text(REHEARSAL)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)  # so that only the modes below keep others out
    return Cli(tmp_path)


def test_everything_below_the_home_is_private_and_a_report_is_the_users_own(cli, tmp_path):
    before = os.umask(0o022)
    try:
        cli.run("submit", "small.yaml", "--set", "eager=yes", "--wait")
        cli.run("report", "--output", str(tmp_path / "report.html"))
        cli.run("export", "--output", str(tmp_path / "serve.sh"), code=None)
    finally:
        os.umask(before)
    found = [cli.home, *cli.home.rglob("*")]
    assert len(found) > 30
    open_to_others = [str(p) for p in found if not p.is_symlink() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert open_to_others == []
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o644
    (copy,) = cli.home.glob("sweeps/*/data/*short.json")

    def attempts() -> list[str]:
        done = []
        for name, action in {
            "list": lambda: list(cli.home.iterdir()),
            "read": lambda: (cli.home / "hpcsweep.db").read_bytes(),
            "read a prompt": copy.read_bytes,
            "write": lambda: (cli.home / "sweeps" / "x").mkdir(),
        }.items():
            try:
                action()
                done.append(name)
            except PermissionError:
                continue
        return done

    assert as_second_user(attempts) == []


def test_a_store_that_others_could_read_is_closed_when_it_is_opened(cli):
    cli.run("submit", "small.yaml", "--set", "eager=yes", "--wait")
    store = cli.home / "hpcsweep.db"
    store.chmod(0o644)
    cli.run("status")
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
