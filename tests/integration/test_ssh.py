"""The SSH host against a real sshd: quoting, exit codes, time-outs, whole files, verified host keys."""

import io
import os
import posixpath
import shlex
from pathlib import Path

import pytest

from hpcsweep.errors import HostError
from hpcsweep.hosts.ssh import CLEAN, SshHost
from hpcsweep.spec.cluster import Ssh

VARIABLES = (
    "HPCSWEEP_TEST_SSH_HOST",
    "HPCSWEEP_TEST_SSH_PORT",
    "HPCSWEEP_TEST_SSH_KEY",
    "HPCSWEEP_TEST_SSH_KNOWN_HOSTS",
)
pytestmark = pytest.mark.sshd


@pytest.fixture
def ssh(tmp_path):
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        reason = f'{missing[0]} is not set: eval "$(scripts/test-services start sshd)"'
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    host, port, key, known_hosts = (os.environ[name] for name in VARIABLES)
    return Ssh(host=host, port=int(port), key_file=key, known_hosts=known_hosts, home=str(tmp_path / "home"))


@pytest.fixture
def host(ssh):
    opened = SshHost(ssh)
    yield opened
    opened.close()


def sizes_below(host, folder):
    return {file.path: file.size_bytes for file in host.files_below(str(folder))}


def content(host, path, offset, limit_bytes=1 << 30):
    target = io.BytesIO()
    host.copy_from(path, offset, target, limit_bytes)
    return target.getvalue()


@pytest.mark.parametrize(
    "word", ["plain", "two words", "it's", 'a"b', "$(id)", "`id`", "back\\slash", "new\nline", "", "*", "~"]
)
def test_the_other_side_gets_the_very_words(host, word):
    answer = host.run(["printf", "%s", word], timeout_s=20)
    assert (answer.exit_code, answer.stdout) == (0, word)


def test_exit_codes_and_streams(host):
    answer = host.run(["sh", "-c", "cat; echo out; echo err >&2; exit 7"], timeout_s=20, stdin="in\n")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (7, "in\nout\n", "err\n")
    assert host.run(["no-such-command-here"], timeout_s=20).exit_code == 127


def test_output_larger_than_a_window_arrives_whole(host):
    answer = host.run(["head", "-c", "5000000", "/dev/zero"], timeout_s=60)
    assert len(answer.stdout) == 5_000_000


def test_our_own_time_out_is_no_exit_code(host):
    answer = host.run(["sleep", "30"], timeout_s=1)
    assert answer.exit_code is None and answer.wall_s < 10


def test_files_are_written_whole_and_read_from_an_offset(host, tmp_path):
    folder = str(tmp_path / "with space" / "it's")
    host.make_folder(folder)
    host.write_text(posixpath.join(folder, "a"), "one two\n", mode=0o600)
    assert Path(folder, "a").read_text() == "one two\n"
    assert Path(folder, "a").stat().st_mode & 0o777 == 0o600
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    host.put_file(tmp_path / "source", posixpath.join(folder, "b"))
    assert sizes_below(host, folder) == {"a": 8, "b": 100_000}
    assert content(host, posixpath.join(folder, "a"), 4) == b"two\n"
    assert content(host, posixpath.join(folder, "b"), 0, limit_bytes=70_000) == b"x" * 70_000
    assert sorted(p.name for p in Path(folder).iterdir()) == ["a", "b"]


def test_a_folder_is_claimed_once(host, tmp_path):
    host.make_folder(str(tmp_path / "x" / "y"), exist_ok=False)
    with pytest.raises(FileExistsError):
        host.make_folder(str(tmp_path / "x" / "y"), exist_ok=False)
    host.remove_tree(str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    with pytest.raises(HostError, match="no folder that hpcsweep would remove"):
        host.remove_tree("/")


def test_what_cannot_be_read_is_named(host, tmp_path):
    with pytest.raises(HostError, match="nothing-here"):
        content(host, str(tmp_path / "nothing-here"), 0)


def test_what_login_files_over_there_set_does_not_reach_a_command(host):
    inside = host.run(["env", "SQUEUE_PARTITION=x", "SLURM_CONF=y", "sh", "-c", _clean_env()], timeout_s=20)
    assert inside.stdout.split() == ["SLURM_CONF=y"]


def _clean_env():
    return shlex.join(["sh", "-c", CLEAN, "sh", "env"]) + " | grep -E '^(SLURM|SQUEUE)_'"


def test_a_connection_that_broke_is_made_anew(host, tmp_path):
    (tmp_path / "a").write_text("one")
    assert sizes_below(host, tmp_path) == {"a": 3}
    host._transport.sock.close()
    host._transport.join(10)
    assert sizes_below(host, tmp_path) == {"a": 3}
    assert host.run(["true"], timeout_s=20).exit_code == 0


def test_a_host_that_cannot_be_reached_is_not_tried_again_at_once(ssh, monkeypatch):
    dead = SshHost(ssh.model_copy(update={"port": 1}))
    with pytest.raises(HostError) as first:
        dead.run(["true"], timeout_s=5)
    monkeypatch.setattr("hpcsweep.hosts.ssh.open_transport", lambda *_, **__: pytest.fail("tried again"))
    with pytest.raises(HostError) as second:
        list(dead.files_below("/"))
    assert second.value.message == first.value.message


def test_an_unknown_host_key_is_refused(ssh, tmp_path):
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(HostError, match="no SSH connection") as caught:
        SshHost(ssh.model_copy(update={"known_hosts": str(empty)})).run(["true"], timeout_s=20)
    assert "never accepted" in caught.value.hint


def test_a_dead_port_is_an_error_that_says_what_to_try(ssh):
    with pytest.raises(HostError, match="no SSH connection") as caught:
        SshHost(ssh.model_copy(update={"port": 1})).run(["true"], timeout_s=5)
    assert f"`ssh {ssh.host} true` must work" in caught.value.hint
