"""The recorded sessions of a real OpenPBS: every command with what it answered."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "transcripts" / "pbs"
_COMMAND = re.compile(r"\$ \[(\w+)\] (.*)")
_END = re.compile(r"--- exit code: (-?\d+)   \(wall .*\)")


@dataclass(frozen=True)
class Recorded:
    """One command: who ran it, and its answer. `number`: its place in the file, from 0."""

    file: str
    number: int
    user: str
    command: str
    stdout: str
    stderr: str
    exit_code: int


def read(name: str) -> list[Recorded]:
    """The commands of one transcript, in their order."""
    found: list[Recorded] = []
    current: dict[str, list[str]] = {}
    user = where = ""
    for line in (FOLDER / name).read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        started, ended = _COMMAND.fullmatch(line), _END.fullmatch(line)
        if started and where == "":
            user, where, current = started[1], "command", {"command": [started[2]], "stdout": [], "stderr": []}
        elif line in ("--- stdout", "--- stderr") and where:
            where = line.removeprefix("--- ")
        elif ended and where:
            text = {part: "".join(f"{item}\n" for item in lines) for part, lines in current.items()}
            command = text["command"].rstrip("\n")
            found.append(Recorded(name, len(found), user, command, text["stdout"], text["stderr"], int(ended[1])))
            where = ""
        elif where:
            current[where].append(line)
    return found


def files() -> list[str]:
    """Names of all transcripts."""
    return sorted(path.name for path in FOLDER.glob("*.txt"))


def every(pattern: str) -> list[Recorded]:
    """Commands of all transcripts that match."""
    return [entry for name in files() for entry in read(name) if re.search(pattern, entry.command)]


def one(file: str, command: str, occurrence: int = 0) -> Recorded:
    """The `occurrence`-th command of this very text in a transcript. KeyError when it is not there."""
    matches = [entry for entry in read(next(n for n in files() if n.startswith(file))) if entry.command == command]
    if len(matches) <= occurrence:
        raise KeyError(f"{file}: {command!r}, {len(matches)} times")
    return matches[occurrence]
