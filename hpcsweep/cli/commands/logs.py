"""`hpcsweep logs RUN`: print a log of a run; with `-f`, continue as it grows."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from hpcsweep.api.log_files import job_log, submission_log
from hpcsweep.cli.context import refresh, session
from hpcsweep.cli.output import note
from hpcsweep.cli.runs import choose_run
from hpcsweep.errors import SpecError, nearest
from hpcsweep.foreign_files import open_regular
from hpcsweep.node.prepare.commands import PREPARE_LOG
from hpcsweep.node.process.load_process import CLIENT_LOG
from hpcsweep.node.records import EXIT_FILE
from hpcsweep.sweep.layout import SweepFolder, last_attempt
from hpcsweep.terminal_text import printable
from hpcsweep.track.refresh import Session
from hpcsweep.track.runs import read_runs

POLL_S = 0.3
FETCH_S = 5.0
INTERRUPTED = 130
_PIECE_BYTES = 1 << 20


@click.command()
@click.argument("run", required=False)
@click.option("--preparation", metavar="NAME", help="A preparation in place of a run; RUN is then its sweep.")
@click.option("-f", "--follow", is_flag=True, help="Continue until the attempt has ended.")
@click.option("--server", "which", flag_value="server", default=True, help="The engine's log.  [default]")
@click.option("--client", "which", flag_value="client", help="The load client's log.")
@click.option("--job", "which", flag_value="job", help="Output of the job script, with the agent's messages.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Start with the last N lines.")
@click.option("--raw", is_flag=True, help="Print the bytes unchanged, with the engine's colours and escape sequences.")
@click.option("--attempt", type=click.IntRange(1), help="Number of the attempt.  [default: the latest]")
@click.pass_context
def logs(
    ctx: click.Context,
    run: str | None,
    preparation: str | None,
    follow: bool,
    which: str,
    lines: int | None,
    raw: bool,
    attempt: int | None,
) -> None:
    """Print the log of a run's server, client or job, or of a preparation.

    RUN is a label of the latest sweep, a unique prefix of a label, or SWEEP/LABEL. `--preparation NAME [SWEEP]` prints
    the output of a preparation's commands; with `--job`, the output of its job. Escape sequences are removed, and
    characters that would disguise text are shown as <U+202E>.
    """
    with session(ctx) as opened:
        if preparation is not None:
            log = _of_preparation(opened, run, preparation, which, attempt)
        elif run is None:
            raise click.UsageError("name a run, or a preparation by --preparation NAME")
        else:
            sweep, label = choose_run(opened.home, run)
            refresh(opened, [sweep.name])
            folder = sweep.path / "runs" / label
            files = {"server": "server.log", "client": CLIENT_LOG}
            log = _Log(
                f"{sweep.name}/{label}", folder, files.get(which), attempt, lambda: job_log(sweep, label),
                fetcher(opened, sweep),
            )  # fmt: skip
        try:
            path = log.wait() if follow else log.path_or_error()
            pieces = log.pieces(path, _start(path, lines), follow=follow)
            for piece in pieces if raw else _printable_pieces(pieces):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def fetcher(opened: Session, sweep: SweepFolder) -> Callable[[], object]:
    """Return a function that fetches new lines: over SSH at most every `FETCH_S` seconds; locally it does nothing."""
    if opened.cluster(sweep).ssh is None:
        return lambda: None
    last = time.monotonic()

    def fetch() -> None:
        nonlocal last
        if time.monotonic() - last >= FETCH_S:
            opened.refresh([sweep.name])
            last = time.monotonic()

    return fetch


def _of_preparation(opened: Session, sweep_name: str | None, name: str, which: str, attempt: int | None) -> "_Log":
    """Return a log of the latest job of a preparation. Raises SpecError."""
    if which == "client":
        raise click.UsageError("a preparation has no load client")
    sweep = opened.home.sweep(sweep_name)
    refresh(opened, [sweep.name])
    with opened.store.reading() as connection:
        steps = [step for status in read_runs(connection, [sweep.name]) for step in status.current_preparations]
    number = next((step.number for step in steps if step.name == name), None)
    if number is None:
        hint = nearest(name, [step.name for step in steps]) if steps else "its experiment has no `prepare`"
        raise SpecError(f"{sweep.name} has no preparation {name!r}", code="unknown_preparation", hint=hint)
    file = None if which == "job" else PREPARE_LOG
    title = f"preparation {name} of {sweep.name}"
    return _Log(
        title, sweep.job_dir(number), file, attempt, lambda: submission_log(sweep, number, 0), fetcher(opened, sweep)
    )


@dataclass(frozen=True)
class _Log:
    """One log of a run or preparation. `title`: its name; `folder`: in which its attempts are.

    `file`: in the folder of an attempt; None: `job_output`, the output of its job. `attempt` None: the latest. `fetch`
    is called before each look at the files.
    """

    title: str
    folder: Path
    file: str | None
    attempt: int | None
    job_output: Callable[[], Path | None]
    fetch: Callable[[], object]

    @property
    def _name(self) -> str:
        return "job log" if self.file is None else f"{Path(self.file).stem} log"

    @property
    def _number(self) -> int:
        return self.attempt or last_attempt(self.folder)

    @property
    def _attempt_dir(self) -> Path:
        return self.folder / f"attempt-{self._number}"

    def _ended(self) -> bool:
        return (self._attempt_dir / EXIT_FILE).exists()

    def _path(self) -> Path | None:
        path = self.job_output() if self.file is None else self._attempt_dir / self.file
        return path if path is not None and path.exists() else None

    def path_or_error(self) -> Path:
        """Return the file. Raises SpecError with the logs that exist instead."""
        path = self._path()
        if path is None:
            raise SpecError(f"{self.title} has no {self._name}", code="no_log", hint=self._existing_logs())
        return path

    def wait(self) -> Path:
        """Wait for the file and return it. Raises SpecError when the attempt ended without it."""
        reported = False
        while (path := self._path()) is None:
            if self._ended():
                return self.path_or_error()
            if not reported:
                note(f"waiting for the {self._name} of {self.title}; Ctrl-C stops")
                reported = True
            time.sleep(POLL_S)
            self.fetch()
        return path

    def pieces(self, path: Path, start: int, *, follow: bool) -> Iterator[bytes]:
        """Yield the file from byte `start` on; `follow`: continue until the attempt has ended."""
        with open_regular(path) as file:
            file.seek(start)
            while True:
                ended = self._ended()  # asked before the last look at the file
                while piece := file.read(_PIECE_BYTES):
                    yield piece
                if not follow or ended:
                    return
                time.sleep(POLL_S)
                self.fetch()

    def _existing_logs(self) -> str:
        if self._number == 0:
            return "no attempt has started: `hpcsweep status` shows the reason"
        if not self._attempt_dir.exists():
            return f"{self.title} has no attempt {self._number}"
        names = sorted(path.name for path in self._attempt_dir.glob("*.log"))
        return f"attempt {self._number} has {', '.join(names)}" if names else f"attempt {self._number} left no log"


def _printable_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a log in pieces of whole lines, made safe for a terminal; an overlong line is split."""
    rest = b""
    for piece in pieces:
        rest += piece
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) > _PIECE_BYTES:
            end = len(rest)
        if end:
            yield printable(rest[:end].decode("utf-8", "replace")).encode("utf-8", "replace")
            rest = rest[end:]
    if rest:
        yield printable(rest.decode("utf-8", "replace")).encode("utf-8", "replace")


def _start(path: Path, lines: int | None) -> int:
    """Return the byte at which the last `lines` lines start; None: 0, for all lines."""
    if lines is None:
        return 0
    with open_regular(path) as file:
        end = position = file.seek(0, os.SEEK_END)
        if lines == 0:
            return end
        wanted = lines + 1  # the newline before the first of them
        if end:
            file.seek(end - 1)
            wanted -= file.read(1) != b"\n"
        while position > 0:
            step = min(_PIECE_BYTES, position)
            position -= step
            file.seek(position)
            piece = file.read(step)
            newlines = piece.count(b"\n")
            if newlines >= wanted:
                offset = len(piece)
                for _ in range(wanted):
                    offset = piece.rfind(b"\n", 0, offset)
                return position + offset + 1
            wanted -= newlines
    return 0
