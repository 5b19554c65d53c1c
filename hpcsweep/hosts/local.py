"""This machine as a host."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hpcsweep.errors import HostError
from hpcsweep.hosts.base import leaks
from hpcsweep.schedulers.base import CommandResult


class LocalHost:
    """Commands run here, files lie here."""

    name = "local"

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> CommandResult:
        """Run a command; see `Host.run`. Output that is no UTF-8 comes back with surrogates.

        It runs in a session of its own: a command that is stopped takes what it started along, such as the qstat
        of a hung server below a shell.
        """
        env = {name: value for name, value in os.environ.items() if not leaks(name)}
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                encoding="utf-8",
                errors="surrogateescape",
                start_new_session=True,
            )
        except FileNotFoundError:
            return CommandResult(tuple(argv), 127, "", f"{argv[0]}: command not found", time.monotonic() - started)
        except OSError as exc:
            return CommandResult(tuple(argv), 126, "", f"{argv[0]}: {exc}", time.monotonic() - started)
        with process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired as exc:
                _kill_session(process)
                return CommandResult(
                    tuple(argv), None, _text(exc.stdout), _text(exc.stderr), time.monotonic() - started
                )
            except BaseException:
                _kill_session(process)
                raise
        return CommandResult(tuple(argv), process.returncode, stdout, stderr, time.monotonic() - started)

    def make_folder(self, path: str, *, exist_ok: bool = True) -> None:
        """Make a folder and its parents; see `Host.make_folder`."""
        try:
            Path(path).mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise HostError(f"{path} is there, but is no folder") from None
            raise
        except OSError as exc:
            raise HostError(f"{path}: folder cannot be made: {exc}", hint="see HPCSWEEP_HOME and --home") from exc

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file whole; see `Host.write_text`."""
        target = Path(path)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8", errors="surrogateescape")
            beside.chmod(mode)
            beside.replace(target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise HostError(f"{path} cannot be written: {exc}") from exc

    def put_file(self, source: Path, path: str) -> None:
        """Copy a file; see `Host.put_file`."""
        target = Path(path)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, beside)
            beside.replace(target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise HostError(f"{source} cannot be copied to {path}: {exc}") from exc

    def remove_tree(self, path: str) -> None:
        """Remove a folder; see `Host.remove_tree`."""
        shutil.rmtree(path, ignore_errors=True)


def _kill_session(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _text(data: bytes | str | None) -> str:
    if isinstance(data, bytes):
        return data.decode("utf-8", "surrogateescape")
    return data or ""
