"""Explain the log of a server, job or scheduler: phases with times, facts, the reason of a failure, a hint. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from hpcsweep.engines.base import FactPattern, FailurePattern, LogPatterns, PhasePattern
from hpcsweep.engines.logs.prefixes import ANSI, LONGEST, split
from hpcsweep.engines.logs.reader import FactSeen, FailureSeen, LogReader, PhaseSeen
from hpcsweep.engines.registry import engines, get_engine
from hpcsweep.imports.documents.log_times import LogTimes
from hpcsweep.imports.documents.scheduler_messages import SchedulerMessages
from hpcsweep.spec.phases import OutcomeKind, Phase

_LOOKED_AT = 2_000
"""Lines from which the engine is recognised."""
_TAIL = 5
_BANNER_WEIGHT = 100


@dataclass(frozen=True)
class PhaseSpan:
    """A phase, in seconds since the first time in the log; None: no times in the log, or the phase did not end."""

    phase: Phase
    start_s: float | None
    took_s: float | None
    evidence: str


@dataclass(frozen=True)
class LogExplanation:
    """What a log shows.

    `engine` None: not recognised. `recognised`: from the log, rather than given. `lines`: number of lines read.
    `lasted_s`: from the first to the last time in the log; None: no times. `ready`: the server became ready. `phase`:
    the last phase. `outcome` None: no failure was found. `scheduler`: the scheduler whose text gave the reason; None:
    none. `code`: id of the hint. `evidence`: the line of the reason; `evidence_line`: its number, from 1; None: the
    reason is not from a single line. `tail`: the last lines, if no reason was found.
    """

    engine: str | None
    recognised: bool
    version: str | None
    lines: int
    lasted_s: float | None
    ready: bool
    phase: Phase
    phases: tuple[PhaseSpan, ...]
    facts: tuple[FactSeen, ...]
    outcome: OutcomeKind | None
    reason: str
    hint: str
    decided_by: str
    scheduler: str | None
    code: str
    evidence: str
    evidence_line: int | None
    tail: tuple[str, ...]


@dataclass(frozen=True)
class RecordedEnd:
    """What the node agent recorded at the end of the attempt whose log is explained (exit.json)."""

    outcome: str
    phase: str | None
    reason: str
    hint: str
    decided_by: str


@dataclass
class _NoPatterns:
    """The patterns for the log of an unknown program, of which only exceptions and hints are read."""

    name: str = ""
    phase_patterns: Sequence[PhasePattern] = ()
    fact_patterns: Sequence[FactPattern] = ()
    failure_patterns: Sequence[FailurePattern] = ()
    noise: Sequence[re.Pattern[str]] = ()


@dataclass
class _PhaseStart:
    phase: Phase
    at_s: float | None
    evidence: str


@dataclass
class _LogScan:
    """The state of a scan through a log; its size does not grow with the log."""

    reader: LogReader
    times: LogTimes = field(default_factory=LogTimes)
    scheduler: SchedulerMessages = field(default_factory=SchedulerMessages)
    entered: list[_PhaseStart] = field(default_factory=list)
    lines: int = 0
    ready: bool = False


_READY = re.compile(r"Application startup complete\.|The server is fired up and ready to roll")


def explain(lines: Iterable[str], engine: str | None = None) -> LogExplanation:
    """Read the lines of a log once and explain them.

    `engine`: its name; None: recognise it from the first lines. Raises EngineError for an unknown name.
    """
    stream = iter(lines)
    if engine is None:
        head = list(islice(stream, _LOOKED_AT))
        name = recognise(head)
        stream = chain(head, stream)
    else:
        name = engine
    patterns: LogPatterns = _NoPatterns() if name is None else get_engine(name)
    reading = _LogScan(LogReader(patterns))
    _read(stream, reading)
    return _explanation(reading, name, recognised=engine is None)


def recognise(lines: Iterable[str]) -> str | None:
    """Return the name of the engine that wrote these lines; None: not recognised."""
    known = engines()
    scores = dict.fromkeys(known, 0)
    for line in lines:
        text = line[:LONGEST]
        for name, engine in known.items():
            if engine.log_banner is not None and engine.log_banner.search(text):
                scores[name] += _BANNER_WEIGHT
            elif engine.log_mentions is not None and engine.log_mentions.search(text):
                scores[name] += 1
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] else None


def _read(lines: Iterator[str], reading: _LogScan) -> None:
    for line in lines:
        reading.lines += 1
        text = ANSI.sub("", line[: 2 * LONGEST])
        now_s = reading.times.read(text)
        reading.scheduler.read(text)
        reading.ready = reading.ready or _READY.search(text) is not None
        for seen in reading.reader.feed(line, float(reading.lines)):
            if isinstance(seen, PhaseSeen):
                reading.entered.append(_PhaseStart(seen.phase, now_s, split(seen.evidence).text.strip()))


def _explanation(reading: _LogScan, engine: str | None, *, recognised: bool) -> LogExplanation:
    facts = reading.reader.facts
    failure = reading.reader.failure
    message = reading.scheduler.message()
    version = facts.get("engine_version")
    outcome, reason, hint = _verdict(failure)
    if message is not None and (failure is None or engine is None):
        outcome, reason, hint = message.outcome or outcome, message.reason, message.hint or hint
        failure = None
    ready = reading.ready and outcome is not OutcomeKind.PORT_IN_USE  # uvicorn starts the application before it binds
    return LogExplanation(
        engine=engine,
        recognised=recognised and engine is not None,
        version=None if version is None else str(version.value),
        lines=reading.lines,
        lasted_s=reading.times.now_s,
        ready=ready,
        phase=Phase.READY if ready else reading.reader.phase,
        phases=tuple(_spans(reading)),
        facts=tuple(fact for name, fact in sorted(facts.items()) if name != "engine_version"),
        outcome=outcome,
        reason=reason,
        hint=hint,
        decided_by=failure.decided_by if failure else "",
        scheduler=message.scheduler if message is not None and failure is None else None,
        code=failure.code if failure else "",
        evidence=failure.evidence if failure else "",
        evidence_line=int(failure.t_s) if failure else None,
        tail=() if reason else tuple(reading.reader.last_lines[-_TAIL:]),
    )


def _verdict(failure: FailureSeen | None) -> tuple[OutcomeKind | None, str, str]:
    return (None, "", "") if failure is None else (failure.outcome, failure.words, failure.hint)


def _spans(reading: _LogScan) -> Iterator[PhaseSpan]:
    """Yield the phases in order; the first begins with the log, and a phase ends only when another follows."""
    if not reading.entered:
        return
    begun = [_PhaseStart(Phase.LAUNCH, None if reading.times.now_s is None else 0.0, ""), *reading.entered]
    for number, start in enumerate(begun):
        after = begun[number + 1].at_s if number + 1 < len(begun) else None
        took_s = None if after is None or start.at_s is None else after - start.at_s
        yield PhaseSpan(start.phase, start.at_s, took_s, start.evidence)
