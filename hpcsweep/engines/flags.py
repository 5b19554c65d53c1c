"""Compare flags with the known history of an engine: before a submission, and when the installed engine rejects one."""

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import Version

from hpcsweep.engines.argv import canonical
from hpcsweep.engines.flag_history import NO_HISTORY, FlagChange, FlagHistory
from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.versions import admitted, mentioned, parse_version
from hpcsweep.errors import EngineError


@dataclass(frozen=True)
class FlagProblem:
    """What is wrong with a flag. `certain`: in every version that is possible, not only in some."""

    flag: str
    sentence: str
    certain: bool


def flag_problems(
    engine: str, flags: Iterable[str], *, version: str | None = None, constraint: str | None = None
) -> list[FlagProblem]:
    """Return the known problems of `flags` in an installed `version`, or in all versions that a constraint admits.

    Without either every release is possible. Raises EngineError when `constraint` is not a version constraint.
    """
    history = _history(engine)
    possible = _possible(history, version, constraint)
    problems = []
    for flag in flags:
        for sentence, states in _known_of(engine, history, flag, possible):
            if any(state is not False for state in states):
                problems.append(FlagProblem(flag, sentence, all(states)))
    return problems


def advice(engine: str, flag: str) -> str | None:
    """Return what to do about a flag that the installed engine rejects; None: the history does not mention it."""
    sentences = [sentence for sentence, _ in _known_of(engine, _history(engine), flag, [])]
    return "; ".join(sentences) or None


def _history(engine: str) -> FlagHistory:
    try:
        return get_engine(engine).flag_history
    except EngineError:
        return NO_HISTORY


def _possible(history: FlagHistory, version: str | None, constraint: str | None) -> list[Version]:
    installed = parse_version(version) if version is not None else None
    if installed is not None:
        return [installed]
    releases = [*history.releases, *mentioned(constraint)]
    return [Version(release) for release in admitted(constraint, releases)]


def _known_of(
    engine: str, history: FlagHistory, flag: str, possible: list[Version]
) -> list[tuple[str, list[bool | None]]]:
    """Return the sentences against a flag, each with whether it is true in each possible version; None: not read."""
    name = canonical(flag)
    problems = []
    for change in history.removed:
        if change.flag == name:
            sentence = f"{flag} was removed from {engine} by {change.gone_in}: {change.advice()}"
            problems.append((sentence, [_gone(change, v) for v in possible]))
    since = history.added.get(name)
    if since is not None:
        sentence = f"{flag} is not available before {engine} {since}"
        problems.append((sentence, [v < Version(since) for v in possible]))
    return problems


def _gone(change: FlagChange, version: Version) -> bool | None:
    if version >= Version(change.gone_in):
        return True
    return False if version <= Version(change.last_in) else None
