"""The serve command in lines of a chosen width."""

import shlex
from collections.abc import Sequence


def command_lines(env: dict[str, str], argv: Sequence[str], width: int) -> list[str]:
    """Break a command into lines of at most `width` columns where possible; an option stays with its values."""
    if not argv:
        return []
    pieces = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    for number, argument in enumerate(argv):
        quoted = shlex.quote(argument)
        if number and pieces and not argument.startswith("-") and pieces[-1].startswith("-"):
            pieces[-1] += f" {quoted}"
        else:
            pieces.append(quoted)
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines
