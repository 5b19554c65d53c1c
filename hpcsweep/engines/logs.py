"""Reads an engine's log line by line: phases, facts and failures, by the engine's own patterns. Pure."""

import re
from collections import deque
from dataclasses import dataclass

from hpcsweep.engines.base import ANSI, Engine, FactPattern, FailurePattern
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind, Phase

_ORDER = {Phase(name): rank for rank, name in enumerate(STARTUP_PHASES)}
_PROCESS = re.compile(r"\([A-Za-z]\w* pid=\d+\)|\[[-\d: ]+ (?:(?:DP|TP|PP|EP)\d+ ?)+\]")
_COMPILED, _LOADED = frozenset({"graphs_compiled", "graphs_saved"}), frozenset({"graphs_from_cache"})
"""Facts that tell, between them, whether a compile cache was of use: `compile_cache` is hit, miss or partial."""
_LONGEST = 16_000
"""Characters of a line that are searched: vLLM prints its whole configuration in one."""


@dataclass(frozen=True)
class PhaseSeen:
    """A phase has begun; the one before it is over."""

    phase: Phase
    t_s: float
    evidence: str


@dataclass(frozen=True)
class FactSeen:
    """A figure or word that the engine printed. A later one of the same name replaces it."""

    name: str
    value: float | str
    unit: str
    t_s: float
    evidence: str


@dataclass(frozen=True)
class FailureSeen:
    """Why the engine says that it dies. `decided_by`: its own rule, empty when it names none."""

    outcome: OutcomeKind
    hint: str
    t_s: float
    evidence: str
    decided_by: str = ""


Seen = PhaseSeen | FactSeen | FailureSeen


class LogReader:
    """Follows one attempt's log, in the order of its lines.

    Phases only move forward: with eight workers the same line comes eight times, and a straggler's line is no step
    back. `ready` and the phases after it are not in a log: the agent enters them.
    """

    def __init__(self, engine: Engine, keep_lines: int = 60) -> None:
        self._engine = engine
        self._lines: deque[str] = deque(maxlen=keep_lines)
        self._absent: set[Phase] = set()
        self._entered: list[Phase] = [Phase.LAUNCH]
        self._totals: dict[str, dict[str, float]] = {}
        self._facts: dict[str, FactSeen] = {}
        self._failure_rank = len(engine.failure_patterns)
        self._failure: FailureSeen | None = None
        self._dead = False

    @property
    def phase(self) -> Phase:
        """The startup phase that the log tells; `launch` before the first telling line."""
        return self._entered[-1]

    @property
    def facts(self) -> dict[str, FactSeen]:
        """The facts read so far, by name."""
        return dict(self._facts)

    @property
    def failure(self) -> FailureSeen | None:
        """The most telling failure so far: the root cause, not what followed from it. None: none was seen."""
        return self._failure

    @property
    def death(self) -> FailureSeen | None:
        """The failure of an engine that is dead, even if its front end lives. None: no line told so."""
        return self._failure if self._dead else None

    @property
    def last_lines(self) -> list[str]:
        """The last lines that are no noise, oldest first; of a progress bar only what it showed last."""
        return list(self._lines)

    def has_entered(self, phase: Phase) -> bool:
        """Whether a line told of this phase."""
        return phase in self._entered

    def unseen_phases(self) -> list[Phase]:
        """Startup phases that no line told of, though nothing said that this start has none of the kind."""
        return [phase for phase in _ORDER if phase not in self._entered and phase not in self._absent]

    def is_noise(self, line: str) -> bool:
        """Whether `line` is one that this engine writes even when it is stuck: no sign of progress."""
        text = ANSI.sub("", line)[:_LONGEST].strip()
        return not text or any(pattern.search(text) for pattern in self._engine.noise)

    def feed(self, line: str, t_s: float) -> list[Seen]:
        """What `line` tells; `t_s` is when it arrived. A line may hold several states of a progress bar."""
        pieces = [piece for piece in ANSI.sub("", line).rstrip("\r\n").split("\r") if piece.strip()]
        if not pieces:
            return []
        if not self.is_noise(pieces[-1]):
            self._lines.append(pieces[-1][:_LONGEST])
        seen: list[Seen] = []
        for piece in pieces:
            text = piece[:_LONGEST]
            seen += self._phases(text, t_s)
            seen += self._facts_of(text, t_s)
            seen += self._failures(text, t_s)
        return seen

    def _phases(self, text: str, t_s: float) -> list[Seen]:
        seen: list[Seen] = []
        for pattern in self._engine.phase_patterns:
            if pattern.after is not None and pattern.after not in self._entered:
                continue
            if not pattern.regex.search(text):
                continue
            if pattern.at == "absent":
                self._absent.add(pattern.phase)
                continue
            phase = pattern.phase if pattern.at == "start" else self._after(pattern.phase)
            if phase is not None and _ORDER[phase] > _ORDER[self.phase]:
                self._absent.discard(phase)
                self._entered.append(phase)
                seen.append(PhaseSeen(phase, t_s, _short(text)))
        return seen

    def _after(self, phase: Phase) -> Phase | None:
        later = [p for p in _ORDER if _ORDER[p] > _ORDER[phase] and p not in self._absent]
        return later[0] if later else None

    def _facts_of(self, text: str, t_s: float) -> list[Seen]:
        seen: list[Seen] = []
        for pattern in self._engine.fact_patterns:
            match = pattern.regex.search(text)
            if match is None:
                continue
            value = _value(pattern, match)
            if value is None:
                continue
            if pattern.total and not isinstance(value, str):
                value = self._add(pattern.name, text, value)
            fact = FactSeen(pattern.name, value, pattern.unit, t_s, _short(text))
            self._facts[pattern.name] = fact
            seen.append(fact)
        if any(isinstance(fact, FactSeen) and fact.name in _COMPILED | _LOADED for fact in seen):
            cache = FactSeen("compile_cache", self._compile_cache(), "", t_s, _short(text))
            self._facts[cache.name] = cache
            seen.append(cache)
        return seen

    def _compile_cache(self) -> str:
        if self._facts.keys() & _COMPILED:
            return "partial" if self._facts.keys() & _LOADED else "miss"
        return "hit"

    def _add(self, name: str, text: str, value: float) -> float:
        process = _PROCESS.search(text)
        totals = self._totals.setdefault(name, {})
        key = process[0] if process else ""
        totals[key] = totals.get(key, 0.0) + value
        return max(totals.values())

    def _failures(self, text: str, t_s: float) -> list[Seen]:
        for rank, pattern in enumerate(self._engine.failure_patterns):
            if not pattern.regex.search(text):
                continue
            self._dead |= pattern.fatal
            if rank < self._failure_rank:
                self._failure_rank, self._failure = rank, _failure(pattern, text, t_s)
                return [self._failure]
        return []


def _failure(pattern: FailurePattern, text: str, t_s: float) -> FailureSeen:
    return FailureSeen(pattern.outcome, pattern.hint, t_s, _short(text), pattern.decided_by)


def _value(pattern: FactPattern, match: re.Match[str]) -> float | str | None:
    if pattern.value is not None:
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
