"""Reads tests/transcripts/slurm: what a real Slurm 22.05.8 answered."""

import re
from pathlib import Path

from hpcsweep.schedulers.base import Answer

FOLDER = Path(__file__).parent.parent / "transcripts" / "slurm"
_ANSWER = re.compile(
    r"^\$ (?P<command>.*?)\n--stdout\n(?P<stdout>.*?)--stderr\n(?P<stderr>.*?)--exit (?P<code>\d+)",
    re.DOTALL | re.MULTILINE,
)


def read(name: str) -> list[Answer]:
    """The answers of one transcript, in order; argv is the command line, cut at blanks."""
    text = (FOLDER / f"{name}.txt").read_text()
    answers = [
        Answer(tuple(m["command"].split()), int(m["code"]), m["stdout"], m["stderr"]) for m in _ANSWER.finditer(text)
    ]
    assert len(answers) == text.count("\n--exit ") + text.startswith("--exit "), f"{name}: an answer was not read"
    return answers


def all_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))
