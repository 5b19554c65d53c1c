"""Reads tests/transcripts/slurm: what a real Slurm answered; 22.05.8, other versions in folders of their names."""

import re
from pathlib import Path

from hpcsweep.schedulers.base import CommandResult

FOLDER = Path(__file__).parent.parent / "transcripts" / "slurm"
_ANSWER = re.compile(
    r"^\$ (?P<command>.*?)\n--stdout\n(?P<stdout>.*?)--stderr\n(?P<stderr>.*?)--exit (?P<code>\d+|None)",
    re.DOTALL | re.MULTILINE,
)


def read(name: str) -> list[CommandResult]:
    """The answers of one transcript, in order; argv is the command line, cut at blanks."""
    text = (FOLDER / f"{name}.txt").read_text()
    answers = [
        CommandResult(tuple(m["command"].split()), _exit_code(m["code"]), m["stdout"], m["stderr"])
        for m in _ANSWER.finditer(text)
    ]
    assert len(answers) == text.count("\n--exit ") + text.startswith("--exit "), f"{name}: an answer was not read"
    return answers


def _exit_code(text: str) -> int | None:
    """None: the command was still running when it was stopped."""
    return None if text == "None" else int(text)


def all_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))
