"""The command that serves a variant, and the flags that a written command loses in a shell."""

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
    """The command that starts the server. `files`: relative name -> text of files it needs.

    `trouble`: why there is none; else empty. `secrets`: names of variables to set, whose values are not stored.
    """

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    secrets: tuple[str, ...] = ()


def serve_command(run: RunRow) -> ServeCommand:
    """Return the engine's command for this run's settings, without the run's own host, port and key.

    It comes from the recorded configuration through the engine's adapter, else from the recorded arguments. A simulated
    run without a configuration has no command of a real engine.
    """
    if run.server:
        try:
            config = ServerConfig.model_validate(run.server)
            engine = get_engine(config.engine)
            launch = engine.launch(config, LaunchContext(engine.executable, port=8000))
        except (ValidationError, EngineError) as exc:
            return ServeCommand(trouble=f"the recorded configuration cannot be read: {exc}")
        public = {name: value for name, value in config.env.items() if not is_secret(name)}
        secrets = tuple(sorted(config.env.keys() - public))
        return ServeCommand(without_run_flags(launch.argv, engine.run_flags), public, launch.files, secrets=secrets)
    last = run.last
    if last is None or not last.argv:
        return ServeCommand(trouble="no command was recorded")
    if run.simulated or last.simulated:
        return ServeCommand(trouble="only the simulated engine's command was recorded")
    return ServeCommand(without_run_flags(last.argv))


def without_run_flags(argv: Sequence[str], flags: Sequence[str] = Engine.run_flags) -> tuple[str, ...]:
    """Return the arguments without host, port and key, which belong to one measurement."""
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
    """Return the command as shell text, one flag per line. The backslash is the last character of a continued line."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in sorted(env.items())]
    lines: list[list[str]] = [assignments] if assignments else []
    for index, argument in enumerate(argv):
        if index == 0 or argument.startswith("--"):
            lines.append([])
        lines[-1].append(shlex.quote(argument))
    return " \\\n    ".join(" ".join(line) for line in lines)


@dataclass(frozen=True)
class LostFlags:
    """A written command that ends too early. `line`: 1-based; `flags`: the flags after it, which are lost."""

    line: int
    text: str
    flags: tuple[str, ...]


def lost_flags(script: str, *, once: bool = False) -> tuple[LostFlags, ...]:
    """Return the commands of a script that a blank or a comment after the backslash cuts off, with the flags lost.

    `once`: a command is listed at the line where it first ends too early only.

    Only a backslash that is the very last character continues a line. `\\ ` is a quoted blank: the command ends
    there, and the shell runs the next line as a command of its own.
    """
    lost = []
    lines = script.splitlines()
    end = 0
    for number, line in enumerate(lines, 1):
        if number > end and _looks_continued(line):
            flags = tuple(_flags_below(lines, number))
            if flags:
                lost.append(LostFlags(number, line.strip(), flags))
                end = number + len(flags) if once else 0
    return tuple(lost)


def _looks_continued(line: str) -> bool:
    """Return whether a line has a backslash followed only by blanks, or by blanks and a comment."""
    if line.lstrip().startswith("#"):
        return False
    before, backslash, after = line.rpartition("\\")
    if backslash and after and not after.strip():
        return bool(before.strip())
    code, hash_sign, _ = line.partition(" #")
    return bool(hash_sign) and code.rstrip().endswith("\\")


def _flags_below(lines: Sequence[str], start: int) -> Iterator[str]:
    """Yield the flags of the lines, from index `start`, that were meant as continuations of the one above."""
    for line in lines[start:]:
        stripped = line.strip()
        if not stripped.startswith("-"):
            return
        yield stripped.split()[0].split("=")[0]
        if not stripped.endswith("\\") and not _looks_continued(line):
            return
