"""The command that serves a variant, and the flags that a written command loses in a shell."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from hpcsweep.analysis.rows import RunRow
from hpcsweep.engines.base import Engine, LaunchContext, Placement
from hpcsweep.engines.registry import get_engine
from hpcsweep.errors import EngineError
from hpcsweep.spec.secret_values import is_secret
from hpcsweep.spec.server import ServerConfig

HEAD_ADDRESS, NODE_ADDRESS, INTERFACE = "HEAD_ADDRESS", "NODE_ADDRESS", "INTERFACE"
"""Variables of the shell in the commands of several nodes: address of node 0, address and interface of the node."""
RANK_PORT = 29500
"""On node 0, for the connections between the nodes."""
_ONE_MPI_JOB = "it is one MPI job over several nodes, which is not exported; command.txt of an attempt has its command"
_VARIABLE = re.compile("\0([A-Za-z_][A-Za-z0-9_]*)\0")


@dataclass(frozen=True)
class PartCommand:
    """The part of a server on one of several nodes. Its values may contain `from_variable`."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class ServeCommand:
    """The command that starts the server. `files`: relative name -> text of files it needs.

    `trouble`: why there is none; else empty. `secrets`: names of variables to set, whose values are not stored.
    `parts`: of a server on several nodes, one for each node, to be started instead; empty: it runs on one node.
    """

    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    secrets: tuple[str, ...] = ()
    parts: tuple[PartCommand, ...] = ()


def serve_command(run: RunRow) -> ServeCommand:
    """Return the engine's command for this run's settings, without the run's own host, port and key.

    It comes from the recorded configuration through the engine's adapter, else from the recorded arguments. A simulated
    run without a configuration has no command of a real engine.
    """
    if run.server:
        try:
            config = ServerConfig.model_validate(run.server)
            engine = get_engine(config.engine)
            if run.nodes > 1 and engine.one_mpi_job:
                return ServeCommand(trouble=_ONE_MPI_JOB)
            launch = engine.launch(config, LaunchContext(engine.executable, port=8000))
            parts = tuple(_parts(engine, config, run.nodes, launch.env)) if run.nodes > 1 else ()
        except (ValidationError, EngineError) as exc:
            return ServeCommand(trouble=f"the recorded configuration cannot be read: {exc}")
        public = {name: value for name, value in config.env.items() if not is_secret(name)}
        secrets = tuple(sorted(config.env.keys() - public))
        argv = without_run_flags(launch.argv, engine.run_flags)
        return ServeCommand(argv, public, launch.files, secrets=secrets, parts=parts)
    last = run.last
    if last is None or not last.argv:
        return ServeCommand(trouble="no command was recorded")
    if run.simulated or last.simulated:
        return ServeCommand(trouble="only the simulated engine's command was recorded")
    return ServeCommand(without_run_flags(last.argv))


def _parts(engine: Engine, config: ServerConfig, nodes: int, usual: Mapping[str, str]) -> Iterator[PartCommand]:
    """Yield the part of each node. `usual`: variables that the adapter sets on one node as well."""
    head, own, interface = (from_variable(name) for name in (HEAD_ADDRESS, NODE_ADDRESS, INTERFACE))
    for rank in range(nodes):
        placement = Placement(nodes, rank, head, RANK_PORT, own, interface)
        launch = engine.launch(config, LaunchContext(engine.executable, port=8000, placement=placement))
        env = {name: value for name, value in launch.env.items() if name not in usual}
        env |= {name: value for name, value in config.env.items() if not is_secret(name)}
        yield PartCommand(without_run_flags(launch.argv, engine.run_flags), env)


def from_variable(name: str) -> str:
    """Return a mark for the value of a variable of the shell, which `shell_word` writes as `"${NAME:?}"`."""
    return f"\0{name}\0"


def shell_word(text: str) -> str:
    """Return text as one word of a shell. An unset or empty variable of `from_variable` ends the script."""
    pieces = _VARIABLE.split(text)
    if len(pieces) == 1:
        return shlex.quote(text)
    words = (f'"${{{piece}:?}}"' if index % 2 else shlex.quote(piece) for index, piece in enumerate(pieces))
    return "".join(word for word in words if word != "''")  # the empty text before, between and after variables


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
    assignments = [f"{name}={shell_word(value)}" for name, value in sorted(env.items())]
    lines: list[list[str]] = [assignments] if assignments else []
    for index, argument in enumerate(argv):
        if index == 0 or argument.startswith("--"):
            lines.append([])
        lines[-1].append(shell_word(argument))
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
