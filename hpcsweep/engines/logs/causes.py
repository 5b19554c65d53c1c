"""Choose the reason of a failure from everything that a log shows: the root cause rather than its consequences."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpcsweep.engines.base import FailurePattern
from hpcsweep.engines.hints import Hint, Role, hints_of
from hpcsweep.engines.logs.prefixes import LogLine, is_front_end
from hpcsweep.engines.logs.tracebacks import ExceptionChain, RaisedException
from hpcsweep.spec.phases import OutcomeKind

_LONGEST_REASON = 500
_RANKS: dict[Role, int] = {"cause": 0, "general": 1, "consequence": 2, "echo": 4}
_UNLISTED, _DOUBTFUL = 1, 3
_TROUBLE = re.compile(
    r"error|fail|exception|fatal|abort|kill|time[sd]? ?-?out|out of|not found|no space|no such|cannot|unable|refus"
    r"|watchdog|died|dead|exceed|denied|unsupport|not support|invalid|bus error|segment|quota|limit|sigquit|sigterm"
    r"|core dumped|not enough|missing|stalled|cancel|preempt|libcuda|undefined symbol|xid|ecc\b|address already|crash"
    r"|no memory|unreachable|mpi_|unhealthy|expected|illegal|without|less than|larger than|greater than|must be"
    r"|terminat|oom",
    re.IGNORECASE,
)
"""What a line must contain to be compared with the hints; nearly all lines of a log do not."""
_HARMLESS = re.compile(
    r"\w*Warning: |^\W*(?:warning|note|skip\w*|ignor\w*|(?:failed|unable|could not|cannot) (?:to )?import)\b",
    re.IGNORECASE,
)
"""Lines about something that the program continued without."""
_OF_A_REQUEST = re.compile(
    r"Exception in ASGI application|Error in (?:chat )?completion|Error processing request|Error with model",
    re.IGNORECASE,
)
_ON_THE_WAY_OUT = re.compile(
    r"Exception ignored (?:in|while)|exception was never retrieved|Exception in callback|Error in atexit|"
    r"Exception in thread",
    re.IGNORECASE,
)
_PYDANTIC = re.compile(r"^(?P<count>\d+) validation errors? for (?P<model>\S+)")
_PYDANTIC_TAIL = re.compile(r"\s*\[type=\w+.*$|\s*\(type=[\w.]+.*\)$")
_FURTHER = re.compile(r"^\s*For further information visit|^\s*$")
_MOST_MEMORISED = 256
_LONGEST_SEARCHED = 8_000
_LONGEST_LINE = 2_000


@dataclass(frozen=True)
class FailureSeen:
    """Why the engine exited, according to its log.

    `evidence`: the line as it was logged. `reason`: the line without prefixes, completed by an informative further
    line. `hint`: what it means and what to do; empty: not known. `decided_by`: the engine's own rule; empty: none.
    `code`: id of the entry in the knowledge base; empty: none matches.
    """

    outcome: OutcomeKind
    hint: str
    t_s: float
    evidence: str
    decided_by: str = ""
    reason: str = ""
    code: str = ""

    @property
    def words(self) -> str:
        """Return the reason in one line."""
        return self.reason or self.evidence


class FailureJudge:
    """Compare chains of exceptions and single lines, and keep the best reason: the lowest rank, then the first."""

    def __init__(self, engine: str, patterns: Iterable[FailurePattern]) -> None:
        self._engine, self._patterns = engine, tuple(patterns)
        self._best: tuple[tuple[int, int, int], FailureSeen] | None = None
        self._version: str | None = None
        self._serving = False
        self._memory: dict[str, Hint | None] = {}
        self._lines = 0
        self.dead = False

    def set_version(self, version: str) -> None:
        """Set the engine's version: some hints apply to a range of versions."""
        if version != self._version:
            self._version, self._memory = version, {}

    def set_serving(self) -> None:
        """Record that the server is up: it survived earlier errors, so they are not the reason of a later failure."""
        if not self._serving:
            self._serving = True
            if not self.dead:
                self._best = None

    def line(self, line: LogLine, raw: str, t_s: float, *, inside: bool) -> None:
        """Examine one line. `inside`: the line is part of an exception, which is examined as a whole."""
        self._lines += 1
        text = line.text
        for number, pattern in enumerate(self._patterns):
            if pattern.regex.search(raw):
                self.dead |= pattern.fatal
                seen = FailureSeen(
                    pattern.outcome, pattern.hint, t_s, _short(raw), pattern.decided_by, _short(text.strip())
                )
                self._consider((0, number, self._lines), seen)
                break
        if inside or line.level in ("debug", "info", "warning") or len(text) > _LONGEST_LINE:
            return  # longer lines are dumps of the configuration, in which every word occurs
        if not _TROUBLE.search(text) or _HARMLESS.search(text):
            return
        hint = self._of_line(text)
        if hint is not None:
            self.dead |= hint.fatal
            self._consider((_RANKS[hint.role], 0, self._lines), _of_hint(hint, t_s, _short(raw), _short(text)))

    def raised(self, raised: RaisedException, t_s: float) -> None:
        """Examine an exception at its first line, since the engine may not recover from it."""
        matched = self._of_exception(raised.text)
        if matched is not None and matched[0].fatal:
            self.dead = True
            self._consider((_RANKS["echo"], 0, self._lines), _of_hint(matched[0], t_s, _short(raised.raw), ""))

    def chain(self, chain: ExceptionChain) -> None:
        """Examine a completed chain of exceptions."""
        judged = self._judged(chain)
        if judged is not None:
            self._consider(*judged)

    def verdict(self, open_chains: Iterable[ExceptionChain]) -> FailureSeen | None:
        """Return the best reason so far, including `open_chains`; None: no failure was seen."""
        judged = [candidate for chain in open_chains if (candidate := self._judged(chain)) is not None]
        if self._best is not None:
            judged.append(self._best)
        return min(judged, key=lambda candidate: candidate[0])[1] if judged else None

    def _consider(self, rank: tuple[int, int, int], seen: FailureSeen) -> None:
        if self._best is None or rank < self._best[0]:
            self._best = rank, seen

    def _judged(self, chain: ExceptionChain) -> tuple[tuple[int, int, int], FailureSeen] | None:
        if chain.quiet or _OF_A_REQUEST.search(chain.intro):
            return None
        best: tuple[int, int, RaisedException, tuple[Hint, re.Match[str]] | None] | None = None
        for number, raised in enumerate(chain.raised):
            matched = self._of_exception(raised.text)
            rank = _UNLISTED if matched is None else _RANKS[matched[0].role]
            # The last exception of a chain is the one that its program reports; an earlier one wins by its rank only.
            if best is None or (rank, -number) < best[:2]:
                best = rank, -number, raised, matched
        if best is None:
            return None
        rank, _, raised, matched = best
        front_end = chain.logged and is_front_end(chain.process)
        if front_end and self._serving and rank != _RANKS["echo"]:
            return None  # the response to one request
        if rank in (0, _UNLISTED) and (_ON_THE_WAY_OUT.search(chain.intro) or (front_end and rank)):
            rank = _DOUBTFUL
        reason = _short(sentence(raised, matched[1] if matched else None))
        evidence = _short(raised.raw)
        if matched is None:
            seen = FailureSeen(OutcomeKind.CRASHED, "", chain.t_s, evidence, "", reason)
        else:
            seen = _of_hint(matched[0], chain.t_s, evidence, reason)
        return (rank, 0, chain.order), seen

    def _of_line(self, text: str) -> Hint | None:
        if text not in self._memory:
            if len(self._memory) >= _MOST_MEMORISED:
                self._memory.clear()
            matched = hints_of(self._engine).of_line(text[:_LONGEST_SEARCHED], self._version)
            self._memory[text] = matched[0] if matched else None
        return self._memory[text]

    def _of_exception(self, text: str) -> tuple[Hint, re.Match[str]] | None:
        return hints_of(self._engine).of_exception(text[:_LONGEST_SEARCHED], self._version)


def _of_hint(hint: Hint, t_s: float, evidence: str, reason: str) -> FailureSeen:
    return FailureSeen(hint.outcome, hint.advice, t_s, evidence, hint.decided_by, reason, hint.id)


def sentence(raised: RaisedException, match: re.Match[str] | None) -> str:
    """Return the message of an exception in one line. `match`: where an entry of the knowledge base matches it."""
    lines = [line.strip() for line in raised.message]
    first = lines[0] if lines else ""
    pydantic = _PYDANTIC.match(first)
    if pydantic is not None:
        details = _pydantic_details(lines[1:])
        name = f"{raised.name}: {pydantic[0]}"
        return f"{name}: {'; '.join(details)}" if details else name
    if not first:
        return f"{raised.kind} without a message{_where(raised)}"
    parts = [first]
    further = _informative_line(raised, match) or (lines[1] if first.endswith(":") and len(lines) > 1 else "")
    if further:
        parts.append(further)
    return f"{raised.kind}: " + " ".join(parts)


def _where(raised: RaisedException) -> str:
    position = f" ({raised.file}, line {raised.line}, in {raised.function})" if raised.file else ""
    check = f": the check `{raised.code}` failed" if raised.code.startswith("assert ") else ""
    return f"{check}{position}"


def _informative_line(raised: RaisedException, match: re.Match[str] | None) -> str:
    """Return the further line of a message in which a pattern was found; empty: in its first, or across several."""
    if match is None:
        return ""
    start = match.start() - len(raised.kind) - 2
    at = 0
    for number, line in enumerate(raised.message):
        if at <= start < at + len(line) + 1:
            return line.strip() if number else ""
        at += len(line) + 1
    return ""


def _pydantic_details(lines: Iterable[str]) -> list[str]:
    """Return pydantic's message for each field: `tp: Input should be a valid integer`."""
    details: list[str] = []
    field = ""
    for line in lines:
        if _FURTHER.match(line):
            continue
        text = _PYDANTIC_TAIL.sub("", line).strip()
        if text == line.strip() and " " not in text:
            field = text
            continue
        text = re.sub(r"^(?:Value|Assertion) error, ", "", text)
        details.append(f"{field}: {text}" if field else text)
        field = ""
    return details[:5]


def _short(text: str) -> str:
    line = text.strip()
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
