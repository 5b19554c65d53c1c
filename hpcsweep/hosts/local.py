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
    """Run commands and write files on this machine."""

    name = "local"

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str | None = None) -> CommandResult:
        """Run a command; see `Host.run`. Output that is not UTF-8 is decoded with surrogates.

        It runs in its own session, so that a time-out also stops its child processes, such as a qstat that hangs
        below a shell.
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
        """Create a folder and its parents; see `Host.make_folder`."""
        try:
            Path(path).mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise HostError(f"{path} exists, but is not a folder", code="not_a_folder") from None
            raise
        except OSError as exc:
            raise HostError(
                f"cannot create folder {path}: {exc}", code="folder_not_created", hint="see HPCSWEEP_HOME and --home"
            ) from exc

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file atomically; see `Host.write_text`."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
            temporary.chmod(mode)
            temporary.replace(target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise HostError(f"cannot write {path}: {exc}", code="file_not_written") from exc

    def put_file(self, source: Path, path: str) -> None:
        """Copy a file; see `Host.put_file`."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary)
            temporary.replace(target)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise HostError(f"cannot copy {source} to {path}: {exc}", code="file_not_written") from exc

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
