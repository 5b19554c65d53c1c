"""`hpcsweep logs RUN`: the server's or the client's log, as it was written; with -f as it grows."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from hpcsweep.cli.context import session
from hpcsweep.cli.output import say
from hpcsweep.cli.runs import choose_run
from hpcsweep.errors import SpecError
from hpcsweep.foreign_files import open_regular
from hpcsweep.node.record.records import EXIT_FILE
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.terminal_text import printable
from hpcsweep.track.refresh import Session

POLL_S = 0.3
FETCH_S = 5.0
INTERRUPTED = 130
_PIECE_BYTES = 1 << 20


@click.command()
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the attempt has ended.")
@click.option("--server", "which", flag_value="server", default=True, help="The engine's log.  [default]")
@click.option("--client", "which", flag_value="client", help="The load client's log.")
@click.option("--job", "which", flag_value="job", help="What the job script printed: the agent's own words.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Begin with the last N lines.")
@click.option("--raw", is_flag=True, help="Byte for byte, with the colours and escape sequences of the engine.")
@click.option("--attempt", type=click.IntRange(1), help="Number of the attempt.  [default: the latest]")
@click.pass_context
def logs(
    ctx: click.Context, run: str, follow: bool, which: str, lines: int | None, raw: bool, attempt: int | None
) -> None:
    """Print the server's or the client's log of a run.

    RUN is a label of the latest sweep, a unique beginning of one, or SWEEP/LABEL. Escape sequences are left out, and
    characters that would disguise text are shown as <U+202E>.
    """
    with session(ctx) as opened:
        sweep, label = choose_run(opened.home, run)
        for trouble in opened.refresh([sweep.name]):
            say(f"warning: {trouble}", err=True)
        log = _Log(sweep, label, which, attempt, _renewal(opened, sweep))
        try:
            path = log.wait() if follow else log.path_or_error()
            pieces = log.pieces(path, _start(path, lines), follow=follow)
            for piece in pieces if raw else _printable_pieces(pieces):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _renewal(opened: Session, sweep: SweepFolder) -> Callable[[], object]:
    """What brings new lines here: those of a sweep over SSH are fetched, some seconds apart; else nothing is done."""
    if opened.cluster(sweep).ssh is None:
        return lambda: None
    last = time.monotonic()

    def renew() -> None:
        nonlocal last
        if time.monotonic() - last >= FETCH_S:
            opened.refresh([sweep.name])
            last = time.monotonic()

    return renew


@dataclass(frozen=True)
class _Log:
    """One log of one run; `attempt` None: of the latest one. `renew` is called before every look at the files."""

    sweep: SweepFolder
    label: str
    which: str
    attempt: int | None
    renew: Callable[[], object]

    @property
    def _number(self) -> int:
        return self.attempt or self.sweep.attempts(self.label)

    @property
    def _attempt_dir(self) -> Path:
        return self.sweep.path / "runs" / self.label / f"attempt-{self._number}"

    def _ended(self) -> bool:
        return (self._attempt_dir / EXIT_FILE).exists()

    def _path(self) -> Path | None:
        path = _job_log(self.sweep, self.label) if self.which == "job" else self._attempt_dir / f"{self.which}.log"
        return path if path is not None and path.exists() else None

    def path_or_error(self) -> Path:
        """The file. Raises SpecError that says what there is instead."""
        path = self._path()
        if path is None:
            raise SpecError(f"{self.sweep.name}/{self.label} has no {self.which} log", hint=self._what_there_is())
        return path

    def wait(self) -> Path:
        """The file, once it is there. Raises SpecError when the attempt ended without it."""
        told = False
        while (path := self._path()) is None:
            if self._ended():
                return self.path_or_error()
            if not told:
                name = f"{self.which} log of {self.sweep.name}/{self.label}"
                say(f"waiting for the {name}; Ctrl-C ends this", err=True)
                told = True
            time.sleep(POLL_S)
            self.renew()
        return path

    def pieces(self, path: Path, start: int, *, follow: bool) -> Iterator[bytes]:
        """What stands in the file from byte `start` on; `follow`: and what comes, until the attempt has ended."""
        with open_regular(path) as file:
            file.seek(start)
            while True:
                ended = self._ended()  # asked before the last look at the file
                while piece := file.read(_PIECE_BYTES):
                    yield piece
                if not follow or ended:
                    return
                time.sleep(POLL_S)
                self.renew()

    def _what_there_is(self) -> str:
        if self._number == 0:
            return "no attempt of it has begun: `hpcsweep status` says why"
        if not self._attempt_dir.exists():
            return f"it has no attempt {self._number}"
        names = sorted(path.name for path in self._attempt_dir.glob("*.log"))
        return f"attempt {self._number} has {', '.join(names)}" if names else f"attempt {self._number} left no log"


def _job_log(sweep: SweepFolder, label: str) -> Path | None:
    """The newest file that the scheduler made of the job's output; None: there is none yet."""
    place = sweep.current_tasks().get(label)
    if place is None:
        return None
    job, index = place
    found = [path for path in (sweep.job_dir(job) / "logs").glob("*") if index_of(path.name) in (index, None)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def index_of(name: str) -> int | None:
    """The array index in the name of a job's output: `3.log` (local, Slurm), `12[3].server.OU` (PBS); None: none."""
    match = re.fullmatch(r"(\d+)\.log", name) or re.search(r"\[(\d+)\]", name)
    return int(match[1]) if match else None


def _printable_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The text of a log in pieces of whole lines, made safe for a terminal; a line without end is cut."""
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
    """The byte at which the last `lines` lines begin; 0 for all of them."""
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
            found = piece.count(b"\n")
            if found >= wanted:
                at = len(piece)
                for _ in range(wanted):
                    at = piece.rfind(b"\n", 0, at)
                return position + at + 1
            wanted -= found
    return 0
