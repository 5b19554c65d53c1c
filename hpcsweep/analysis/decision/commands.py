"""The command that serves a variant, and what a written command loses on its way through a shell."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from hpcsweep.analysis.rows import RunRow
from hpcsweep.engines.base import Engine, LaunchContext
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError
from hpcsweep.spec.secret_values import is_secret
from hpcsweep.spec.server import ServerConfig


@dataclass(frozen=True)
class ServeCommand:
    """What starts the server. `files`: relative name -> text that must lie beside it. `trouble`: why there is none.

    `secrets`: names of variables that must be set too, whose values are nobody's business.
    """

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    secrets: tuple[str, ...] = ()


def serve_command(run: RunRow) -> ServeCommand:
    """The engine's own command for this run's settings, without what belongs to the run alone: host and port.

    From the recorded configuration, as the adapter of the real engine writes it; else from the recorded arguments.
    A simulated run without a configuration has no command of a real engine.
    """
    if run.server:
        try:
            config = ServerConfig.model_validate(run.server)
            engine = get_engine(config.engine)
            launch = engine.launch(config, LaunchContext(engine.executable, port=8000))
        except (ValidationError, EngineError) as exc:
            return ServeCommand(trouble=f"the recorded configuration cannot be read: {exc}")
        told = {name: value for name, value in config.env.items() if not is_secret(name)}
        secrets = tuple(sorted(config.env.keys() - told))
        return ServeCommand(without_run_flags(launch.argv, engine.run_flags), told, launch.files, secrets=secrets)
    last = run.last
    if last is None or not last.argv:
        return ServeCommand(trouble="no command was recorded")
    if run.simulated or last.simulated:
        return ServeCommand(trouble="only the simulated engine's command was recorded")
    return ServeCommand(without_run_flags(last.argv))


def without_run_flags(argv: Sequence[str], flags: Sequence[str] = Engine.run_flags) -> tuple[str, ...]:
    """The arguments without host, port and key, whose values are those of one measurement."""
    kept: list[str] = []
    skip = False
    for argument in argv:
        if skip:
            skip = False
        elif argument in flags:
            skip = True
        elif not argument.startswith(tuple(f"{flag}=" for flag in flags)):
            kept.append(argument)
    return tuple(kept)


def shell_text(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """The command as shell text, a flag a line. A continued line ends in its backslash: nothing may follow that."""
    words = [f"{name}={shlex.quote(value)}" for name, value in sorted(env.items())]
    lines: list[list[str]] = [words] if words else []
    for place, argument in enumerate(argv):
        if place == 0 or argument.startswith("--"):
            lines.append([])
        lines[-1].append(shlex.quote(argument))
    return " \\\n    ".join(" ".join(line) for line in lines)


@dataclass(frozen=True)
class LostFlags:
    """Where a written command ends too early. `line`: 1-based; `flags`: what stands after it and never arrives."""

    line: int
    text: str
    flags: tuple[str, ...]


def lost_flags(script: str, *, once: bool = False) -> tuple[LostFlags, ...]:
    """Return the commands of a script that a blank or a comment after the backslash cuts off, with the flags lost.

    `once`: a command is listed at the line where it first ends too early only.

    Only a backslash that is the very last character continues a line. `\\ ` is a quoted blank: the command ends
    there, and the shell runs the next line as a command of its own.
    """
    found = []
    lines = script.splitlines()
    end = 0
    for number, line in enumerate(lines, 1):
        if number > end and _looks_continued(line):
            flags = tuple(_flags_below(lines, number))
            if flags:
                found.append(LostFlags(number, line.strip(), flags))
                end = number + len(flags) if once else 0
    return tuple(found)


def _looks_continued(line: str) -> bool:
    """A backslash with only blanks, or blanks and a comment, after it."""
    if line.lstrip().startswith("#"):
        return False
    head, backslash, tail = line.rpartition("\\")
    if backslash and tail and not tail.strip():
        return bool(head.strip())
    code, hash_sign, _ = line.partition(" #")
    return bool(hash_sign) and code.rstrip().endswith("\\")


def _flags_below(lines: Sequence[str], start: int) -> Iterator[str]:
    """Yield the flags of the lines, from index `start`, that were meant as continuations of the one above."""
    for place in range(start, len(lines)):
        line = lines[place]
        stripped = line.strip()
        if not stripped.startswith("-"):
            return
        yield stripped.split()[0].split("=")[0]
        if not stripped.endswith("\\") and not _looks_continued(line):
            return
