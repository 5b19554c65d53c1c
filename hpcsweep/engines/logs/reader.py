"""Read an engine's log line by line: phases, facts and failures, with the engine's own patterns. Pure."""

import re
from collections import deque
from dataclasses import dataclass

from hpcsweep.engines.base import FactPattern, LogPatterns
from hpcsweep.engines.logs.causes import FailureJudge, FailureSeen
from hpcsweep.engines.logs.literals import with_literals
from hpcsweep.engines.logs.prefixes import ANSI, LONGEST, LogLine, split
from hpcsweep.engines.logs.tracebacks import TracebackReader
from hpcsweep.spec.phases import STARTUP_PHASES, CacheUse, Phase

__all__ = ["FactSeen", "FailureSeen", "LogReader", "PhaseSeen"]

_ORDER = {Phase(name): rank for rank, name in enumerate(STARTUP_PHASES)}
_COMPILED, _LOADED = frozenset({"graphs_compiled", "graphs_saved"}), frozenset({"graphs_from_cache"})
"""Facts that decide together whether a compile cache was used: `compile_cache` is hit, miss or partial."""
_MOST_PROCESSES = 4096
_SERVES = re.compile(r"Application startup complete\.")
"""Uvicorn's line, the same in all engines: from here on the server responds."""


@dataclass(frozen=True)
class PhaseSeen:
    """The start of a phase, which is the end of the phase before it."""

    phase: Phase
    t_s: float
    evidence: str


@dataclass(frozen=True)
class FactSeen:
    """A figure or word that the engine printed. A later fact of the same name replaces it."""

    name: str
    value: float | str
    unit: str
    t_s: float
    evidence: str


Seen = PhaseSeen | FactSeen


class LogReader:
    """Follow the log of one attempt, line by line.

    Phases only advance: eight workers print the same line eight times, and a late line must not move the phase back.
    `ready` and the phases after it are not in a log; the agent enters them.
    """

    def __init__(self, engine: LogPatterns, keep_lines: int = 60) -> None:
        self._phase_patterns = with_literals(engine.phase_patterns)
        self._fact_patterns = with_literals(engine.fact_patterns)
        self._noise = tuple(engine.noise)
        self._lines: deque[str] = deque(maxlen=keep_lines)
        self._absent: set[Phase] = set()
        self._entered: list[Phase] = [Phase.LAUNCH]
        self._furthest = _ORDER[Phase.LAUNCH]
        self._values: dict[str, dict[str, float]] = {}
        self._ranks: dict[str, int] = {}
        self._facts: dict[str, FactSeen] = {}
        self._tracebacks = TracebackReader()
        self._judge = FailureJudge(engine.name, engine.failure_patterns)

    @property
    def phase(self) -> Phase:
        """Return the current startup phase by the log; `launch` before the first informative line."""
        return self._entered[-1]

    @property
    def facts(self) -> dict[str, FactSeen]:
        """Return the facts read so far, by name."""
        return dict(self._facts)

    @property
    def failure(self) -> FailureSeen | None:
        """Return the root cause so far, rather than its consequences. None: the log shows no failure."""
        return self._judge.verdict(self._tracebacks.open_chains())

    @property
    def death(self) -> FailureSeen | None:
        """Return the failure of an engine that cannot recover, even if its front end still runs. None: not logged."""
        return self.failure if self._judge.dead else None

    @property
    def last_lines(self) -> list[str]:
        """Return the last lines that are not noise, oldest first; of a progress bar only its last state."""
        return list(self._lines)

    def has_entered(self, phase: Phase) -> bool:
        """Return whether the log showed this phase."""
        return phase in self._entered

    def unseen_phases(self) -> list[Phase]:
        """Return the startup phases that the log neither showed nor marked as absent."""
        return [phase for phase in _ORDER if phase not in self._entered and phase not in self._absent]

    def is_noise(self, line: str) -> bool:
        """Return whether the engine also writes `line` when it is stuck, so that it is not a progress signal."""
        text = ANSI.sub("", line[: 2 * LONGEST])[:LONGEST].strip()
        return not text or any(pattern.search(text) for pattern in self._noise)

    def feed(self, line: str, t_s: float) -> list[Seen]:
        """Return what `line` shows. `t_s`: when it arrived. A line may contain several states of a progress bar."""
        pieces = [piece for piece in ANSI.sub("", line).rstrip("\r\n").split("\r") if piece.strip()]
        if not pieces:
            self._tracebacks.feed(split(ANSI.sub("", line[:LONGEST]).rstrip("\r\n")), "", t_s)
            return []
        if not self.is_noise(pieces[-1]):
            self._lines.append(pieces[-1][:LONGEST])
        seen: list[Seen] = []
        for piece in pieces:
            text = piece[:LONGEST]
            parts, lowered = split(text), text.lower()
            seen += self._phases(text, lowered, t_s)
            seen += self._facts_of(parts, text, lowered, t_s)
            self._failures(parts, text, t_s)
        return seen

    def _phases(self, text: str, lowered: str, t_s: float) -> list[Seen]:
        seen: list[Seen] = []
        for literal, _, pattern in self._phase_patterns:
            if literal not in lowered or not pattern.regex.search(text):
                continue
            if pattern.after is not None and pattern.after not in self._entered:
                continue
            if pattern.at == "absent":
                self._absent.add(pattern.phase)
                continue
            phase = pattern.phase if pattern.at != "end" else self._after(pattern.phase)
            if phase is None or _ORDER[phase] <= self._furthest:
                continue
            if pattern.at == "early" and self._furthest >= _ORDER[Phase.CAPTURE_GRAPHS]:
                continue  # a part of the phase that continues
            if pattern.at != "early":
                self._furthest = _ORDER[phase]
            if phase is not self.phase:
                self._absent.discard(phase)
                self._entered.append(phase)
                seen.append(PhaseSeen(phase, t_s, _short(text)))
        return seen

    def _after(self, phase: Phase) -> Phase | None:
        later = [p for p in _ORDER if _ORDER[p] > _ORDER[phase] and p not in self._absent]
        return later[0] if later else None

    def _facts_of(self, line: LogLine, text: str, lowered: str, t_s: float) -> list[Seen]:
        seen: list[Seen] = []
        for literal, rank, pattern in self._fact_patterns:
            match = pattern.regex.search(text) if literal in lowered else None
            if match is None:
                continue
            value = _value(pattern, match)
            if pattern.unknown:
                self._ranks[pattern.name] = rank
            if value is None or not self._counts(pattern, rank):
                continue
            if not isinstance(value, str):
                value = self._over_processes(pattern, line.process, value)
            fact = FactSeen(pattern.name, value, pattern.unit, t_s, _short(text))
            self._facts[pattern.name] = fact
            seen.append(fact)
            if pattern.name == "engine_version":
                self._judge.set_version(str(value))
        if any(isinstance(fact, FactSeen) and fact.name in _COMPILED | _LOADED for fact in seen):
            cache = FactSeen("compile_cache", self._compile_cache(), "", t_s, _short(text))
            self._facts[cache.name] = cache
            seen.append(cache)
        return seen

    def _compile_cache(self) -> str:
        if self._facts.keys() & _COMPILED:
            return CacheUse.PARTIAL.value if self._facts.keys() & _LOADED else CacheUse.MISS.value
        return CacheUse.HIT.value

    def _counts(self, pattern: FactPattern, rank: int) -> bool:
        """Return whether a line may set this fact: not after a more exact pattern or a first line that counts."""
        known = self._ranks.get(pattern.name)
        if known is None or rank > known:
            self._ranks[pattern.name] = rank
            if known is not None:
                self._values.pop(pattern.name, None)
            return True
        return rank == known and not pattern.first

    def _over_processes(self, pattern: FactPattern, process: str, value: float) -> float:
        """Return the figure of a server: the largest of its workers, which do the same work in parallel."""
        values = self._values.setdefault(pattern.name, {})
        if process not in values and len(values) >= _MOST_PROCESSES:
            return max(values.values())
        values[process] = values.get(process, 0.0) + value if pattern.total else value
        return max(values.values())

    def _failures(self, line: LogLine, text: str, t_s: float) -> None:
        chain = self._tracebacks.feed(line, text, t_s)
        if chain is not None:
            self._judge.chain(chain)
        if self._tracebacks.raised is not None:
            self._judge.raised(self._tracebacks.raised, t_s)
        self._judge.line(line, text, t_s, inside=self._tracebacks.inside)
        if _SERVES.search(text):
            self._judge.set_serving()
            self._tracebacks = TracebackReader()


def _value(pattern: FactPattern, match: re.Match[str]) -> float | str | None:
    if pattern.value is not None or pattern.unknown:
        return pattern.value
    raw = match[pattern.group]
    if raw is None:
        return None
    if pattern.words:
        return str(raw)
    try:
        number = float(raw.replace(",", "")) * pattern.factor
        return float(round(number)) if pattern.unit in ("bytes", "tokens") else number
    except ValueError:
        return None


def _short(text: str) -> str:
    line = text.strip()
    return line if len(line) <= 500 else line[:499] + "…"
