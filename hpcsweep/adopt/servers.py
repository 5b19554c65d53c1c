"""Find the commands that start an LLM server, inside any wrapper: srun, nohup, containers, `bash -c`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hpcsweep.engines.registry import ENGINES
from hpcsweep.shell import Line, SimpleCommand, script_commands, simple_commands, unquoted

_MODULES = {module: name for name in ENGINES.builtin for module in ENGINES.get(name).modules}
_IMAGES = {"vllm-openai": "vllm"}
"""Images whose entry point is the server."""

_CONTAINERS = ("apptainer", "singularity", "docker", "podman", "podman-hpc", "shifter", "enroot")
_LAUNCHERS = ("srun", "mpirun", "mpiexec", "aprun", "jsrun", "pbsdsh", "trtllm-llmapi-launch")
_SHELLS = ("bash", "sh", "zsh")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class ServerStart:
    """A command that starts a server.

    `prefix`: the raw words before the engine; `environment`: the assignments among them. `args`: the raw words after
    the subcommand, including the model. `background`: the command ends in `&`.
    """

    line: Line
    engine: str
    prefix: tuple[str, ...]
    environment: tuple[str, ...]
    args: tuple[str, ...]
    text: str
    background: bool

    @property
    def container(self) -> tuple[str, ...] | None:
        """Return the raw words of the container's command, from its name on; None: no container."""
        names = [unquoted(word).rpartition("/")[2] for word in self.prefix]
        index = next((n for n, name in enumerate(names) if name in _CONTAINERS), None)
        return self.prefix[index:] if index is not None else None

    @property
    def launchers(self) -> tuple[str, ...]:
        """Return the launchers of parallel tasks among the words before the engine."""
        return tuple(name for word in self.prefix if (name := unquoted(word).rpartition("/")[2]) in _LAUNCHERS)


def server_starts(text: str) -> list[ServerStart]:
    """Return the commands of a script that start a server, in order."""
    return [start for command in script_commands(text) if (start := server_start(command)) is not None]


def server_start(command: SimpleCommand) -> ServerStart | None:
    """Return the server that a command starts; None: it does not start one."""
    words = [unquoted(word) for word in command.words]
    if not words or words[0] in ("echo", "printf", "#", "export", "pkill", "kill", "pgrep", "which", "command"):
        return None
    span = _find(words)
    if span is None:
        return _inside_a_shell(command, words)
    engine, start, end = span
    prefix = command.words[:start]
    environment = tuple(word for word in prefix if _ASSIGNMENT.match(word))
    rest = tuple(word for word in prefix if not _ASSIGNMENT.match(word))
    args = command.words[end:]
    return ServerStart(command.line, engine, rest, environment, args, command.text, command.after == "&")


def replacement(starts: Sequence[ServerStart], text: str) -> str:
    """Return which lines of a script start the server, and what to write instead."""
    first = starts[0]
    last_line = text.rstrip("\n").count("\n") + 1
    where = _lines(first.line.first, first.line.last)
    single = first.line.first == first.line.last
    advice = f"{where} {'starts' if single else 'start'} the server ({_short(first.text)}): "
    advice += f"replace {'it' if single else 'them'} with `exec hpcsweep-node`"
    if last_line > first.line.last:
        after = _lines(first.line.last + 1, last_line)
        advice += f", and remove {after}, whose work hpcsweep-node does (waiting, load, teardown)"
    if len(starts) > 1:
        advice += f"; the script also starts servers in line {', '.join(str(start.line.first) for start in starts[1:])}"
    return advice


def _find(words: Sequence[str]) -> tuple[str, int, int] | None:
    """Return (engine, index of its first word, index of its first argument); None: no word starts a server."""
    for index, word in enumerate(words):
        name, following = word.rpartition("/")[2], words[index + 1] if index + 1 < len(words) else ""
        if name in ("vllm", "sglang") and following == "serve":
            return name, index, index + 2
        if name == "trtllm-serve":
            return "trtllm", index, index + (2 if following == "serve" else 1)
        if word == "-m" and following in _MODULES:
            start = index
            while start and not _is_python(words[start]):
                start -= 1
            end = index + (3 if words[index + 2 : index + 3] == ["serve"] else 2)
            return _MODULES[following], start, end
        if index and any(earlier.rpartition("/")[2] in _CONTAINERS for earlier in words[:index]):
            image = name.partition(":")[0]
            if image in _IMAGES and "serve" not in words[index + 1 :] and "-m" not in words[index + 1 :]:
                return _IMAGES[image], index + 1, index + 1
    return None


def _is_python(word: str) -> bool:
    return re.fullmatch(r"(?:.*/)?python[\d.]*", word) is not None


def _inside_a_shell(command: SimpleCommand, words: Sequence[str]) -> ServerStart | None:
    """Return the server in `bash -c "vllm serve ..."`."""
    for index, word in enumerate(words[:-1]):
        if re.fullmatch(r"-l?c", word) and any(earlier.rpartition("/")[2] in _SHELLS for earlier in words[:index]):
            for inner in simple_commands(Line(command.line.first, command.line.last, words[index + 1])):
                start = server_start(inner)
                if start is not None:
                    prefix = (*command.words[: index - 1], *start.prefix)
                    environment = tuple(word for word in prefix if _ASSIGNMENT.match(word))
                    rest = tuple(word for word in prefix if not _ASSIGNMENT.match(word))
                    background = command.after == "&"
                    both = (*environment, *start.environment)
                    return ServerStart(command.line, start.engine, rest, both, start.args, command.text, background)
    return None


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first}-{last}"


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 60 else f"{plain[:57]}..."
