"""Find text that every match of a pattern contains; a search for it is much cheaper than the pattern itself. Pure."""

import re
from collections.abc import Iterable
from typing import Protocol, TypeVar

_CLASSES = frozenset("dDwWsSbBAZ0123456789")
_END_OF_RUN = frozenset(".^$)")


class _HasRegex(Protocol):
    @property
    def regex(self) -> re.Pattern[str]: ...


P = TypeVar("P", bound=_HasRegex)


def with_literals(patterns: Iterable[P]) -> tuple[tuple[str, int, P], ...]:
    """Return (literal in lower case, index in the list, pattern) of each; an empty literal: any text may match."""
    return tuple((required_literal(pattern.regex), index, pattern) for index, pattern in enumerate(patterns))


def required_literal(regex: re.Pattern[str]) -> str:
    """Return the longest text, in lower case, that is outside of all groups and choices; empty: none."""
    pattern, runs, run = regex.pattern, [""], ""
    at, depth = 0, 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "\\":
            character = pattern[at]
            at += 1
            literal = character not in _CLASSES
        elif character == "[":
            at = _after_set(pattern, at)
            literal = False
        elif character in "(|":
            if character == "|" and depth == 0:
                return ""
            depth += character == "("
            literal = False
        elif character in "*+?{":
            if character in "*?{":
                run = run[:-1]
            at = pattern.index("}", at) + 1 if character == "{" else at
            literal = False
        else:
            depth -= character == ")"
            literal = character not in _END_OF_RUN
        if literal and depth == 0:
            run += character
        else:
            runs.append(run)
            run = ""
    return max(*runs, run, key=len).lower()


def _after_set(pattern: str, at: int) -> int:
    """Return the index after the set of characters that begins before `at`."""
    first = at + (pattern[at] == "^")
    at = first
    while pattern[at] != "]" or at == first:
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
