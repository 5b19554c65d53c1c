"""The SSH host against a real sshd: quoting, exit codes, time-outs, whole files, verified host keys."""

import io
import json
import os
import posixpath
import pty
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ssh_server import SshServer

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
    with pytest.raises(HostError, match="not a folder that hpcsweep may remove"):
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
    with pytest.raises(HostError, match="cannot connect over SSH") as caught:
        SshHost(ssh.model_copy(update={"known_hosts": str(empty)})).run(["true"], timeout_s=20)
    assert caught.value.code == "ssh_failed" and "unknown host keys are not accepted" in caught.value.hint


def test_a_dead_port_is_an_error_that_says_what_to_try(ssh):
    with pytest.raises(HostError, match="cannot connect over SSH") as caught:
        SshHost(ssh.model_copy(update={"port": 1})).run(["true"], timeout_s=5)
    assert f"`ssh {ssh.host} true` works" in caught.value.hint


@pytest.fixture
def configured(ssh, tmp_path, monkeypatch):
    """A function that logs in to `cluster`, a host of an SSH configuration with the given lines."""
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def log_in(*lines, main=(), **profile):
        (home / ".ssh" / "part.conf").write_text("\n".join(("Host cluster", *lines)) + "\n")
        config = (f"Include {home}/.ssh/part.conf", "Host cluster", f"  HostName {ssh.host}", f"  Port {ssh.port}")
        (home / ".ssh" / "config").write_text("\n".join((*config, *main)) + "\n")
        opened = SshHost(Ssh(host="cluster", home="/x", **profile))
        try:
            return opened.run(["id", "-un"], timeout_s=20).stdout.strip(), opened.user
        finally:
            opened.close()

    return log_in


def test_an_included_configuration_with_user_and_known_hosts(configured, ssh):
    me = os.environ["HPCSWEEP_TEST_SSH_USER"]
    known = (f"  UserKnownHostsFile /nowhere {ssh.known_hosts}", f"  User {me}")
    assert configured(*known, f"  IdentityFile {ssh.key_file}") == (me, me)


def test_the_user_of_the_configuration_is_the_one_that_jobs_are_looked_for(configured, ssh):
    with pytest.raises(HostError, match="login of nobody refused"):
        configured("  User nobody", f"  UserKnownHostsFile {ssh.known_hosts}", f"  IdentityFile {ssh.key_file}")


def test_several_keys_are_tried(configured, ssh, tmp_path):
    wrong = tmp_path / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong)], check=True)
    keys = (f"  IdentityFile {wrong}", "  IdentityFile /nowhere", f"  IdentityFile {ssh.key_file}")
    assert configured(*keys, f"  UserKnownHostsFile {ssh.known_hosts}")[0]
    with pytest.raises(HostError, match=r"login of .* refused .*wrong"):
        configured(keys[0], f"  UserKnownHostsFile {ssh.known_hosts}")


def test_a_host_key_alias(configured, ssh, tmp_path):
    known = tmp_path / "alias_hosts"
    kind, key = Path(ssh.known_hosts).read_text().split()[1:3]
    known.write_text(f"the-cluster {kind} {key}\n# a comment\n@cert-authority * {kind} {key}\nbroken line\n")
    lines = (f"  UserKnownHostsFile {known}", f"  IdentityFile {ssh.key_file}")
    assert configured("  HostKeyAlias the-cluster", *lines)[0]
    with pytest.raises(HostError, match=r"host key of .* is not in"):
        configured(*lines)


def test_a_changed_host_key_is_refused(configured, ssh, tmp_path):
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    kind, key = other.with_suffix(".pub").read_text().split()[:2]
    (tmp_path / "known").write_text(f"[{ssh.host}]:{ssh.port} {kind} {key}\n")
    with pytest.raises(HostError, match="is not the one in"):
        configured(f"  UserKnownHostsFile {tmp_path / 'known'}", f"  IdentityFile {ssh.key_file}")


def test_a_certificate(configured, ssh, tmp_path):
    key, authority = tmp_path / "certified", os.environ.get("HPCSWEEP_TEST_SSH_USER_CA")
    if authority is None:
        pytest.skip("HPCSWEEP_TEST_SSH_USER_CA is not set: start sshd again")
    me = os.environ["HPCSWEEP_TEST_SSH_USER"]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    lines = (f"  UserKnownHostsFile {ssh.known_hosts}", f"  IdentityFile {key}")
    with pytest.raises(HostError, match=r"login of .* refused"):
        configured(*lines)
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "x", "-n", me, f"{key}.pub"], check=True)
    assert configured(*lines)[0] == me
    elsewhere = tmp_path / "elsewhere-cert.pub"
    (tmp_path / "certified-cert.pub").rename(elsewhere)
    assert configured(*lines, f"  CertificateFile {elsewhere}")[0] == me


def test_a_jump_host(configured, ssh, tmp_path):
    me = os.environ["HPCSWEEP_TEST_SSH_USER"]
    main = (
        "Host gate", f"  HostName {ssh.host}", f"  Port {ssh.port}", f"  User {me}", f"  IdentityFile {ssh.key_file}",
        f"  UserKnownHostsFile {ssh.known_hosts}",
    )  # fmt: skip
    lines = (f"  UserKnownHostsFile {ssh.known_hosts}", f"  IdentityFile {ssh.key_file}", "  ProxyJump gate")
    assert configured(*lines, main=main)[0] == me


SECOND_FACTOR = """\
import sys
from hpcsweep.errors import HostError
from hpcsweep.hosts.ssh import SshHost
from hpcsweep.spec.cluster import Ssh
try:
    print(SshHost(Ssh.model_validate_json(sys.argv[1])).run(["echo", "logged in"], timeout_s=20).stdout)
except HostError as exc:
    sys.exit(f"{exc}")
"""


def test_a_second_factor_is_asked_for_at_the_terminal(tmp_path):
    server = SshServer(tmp_path / "server", code="123456")
    words = [sys.executable, "-c", SECOND_FACTOR, json.dumps(server.profile(tmp_path))]
    refused = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert "requires keyboard-interactive, but the prompt needs a terminal" in refused.stderr
    master, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            words, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        err = ""
        while "code:" not in err:  # what is typed before the prompt is thrown away
            err += process.stderr.read(1)
        time.sleep(0.3)
        os.write(master, b"123456\n")
        out, rest = process.communicate(timeout=60)
        err += rest
    finally:
        os.close(master)
        os.close(terminal)
        server.close()
    assert out.strip() == "logged in", err
    assert "second factor" in err and "code:" in err
    assert "\x1b" not in err and "\u202e" not in err
