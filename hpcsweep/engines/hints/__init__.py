"""The knowledge base of failures: what a message means and what to do next, in the YAML files of this folder.

The files are read when a log shows the first possible failure; most runs never need them.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hpcsweep.engines.versions import parse_constraint, satisfies
from hpcsweep.errors import EngineError
from hpcsweep.spec.base import Model, validation_text
from hpcsweep.spec.phases import OutcomeKind

ENGINES = ("vllm", "sglang", "trtllm")
"""The engines that entries are written for. For the engine of a plugin every entry is tried."""

Role = Literal["cause", "general", "consequence", "echo"]


class Hint(Model):
    """One kind of failure: how to recognise it, what it means and what to do next."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="stable: tests and scripts may rely on it")
    pattern: str = Field(description="regular expression, matched without regard to case in `scope`")
    scope: Literal["exception", "line", "both"] = Field(
        "exception", description="exception: class and whole message; line: any line above the level of a warning"
    )
    role: Role = Field(
        "cause",
        description="cause: explains the failure; general: true, but not specific; consequence: something else failed "
        "first; echo: only repeats that something failed",
    )
    engines: tuple[Literal["vllm", "sglang", "trtllm"], ...] = Field((), description="empty: all")
    versions: str | None = Field(None, description="of the engine, as in an experiment; None: all")
    outcome: OutcomeKind = OutcomeKind.CRASHED
    cause: str = Field(description="what the message means, a clause; may be empty where the message is clear")
    next: str = Field(description="what to do, an imperative clause; may be empty for an echo")
    decided_by: str = Field("", description="the engine's own rule that stopped it, such as a timeout")
    fatal: bool = Field(False, description="the engine cannot recover after this line, though its front end may answer")
    source: str = Field(
        min_length=8, description="where the message was seen: an address, or a file of the engine's source"
    )
    example: str = Field(min_length=8, description="a recorded or rebuilt line, or lines; the test of this entry")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as exc:
            raise ValueError(f"not a regular expression: {exc}") from exc
        return text

    @field_validator("versions")
    @classmethod
    def _is_constraint(cls, text: str | None) -> str | None:
        try:
            parse_constraint(text or ">=0")
        except EngineError as exc:
            raise ValueError(exc.message) from exc
        return text

    @property
    def advice(self) -> str:
        """Return cause and next step in one line, as shown after `hint:`."""
        return "; ".join(part for part in (self.cause, self.next) if part)


class _CompiledHint:
    """A hint with its compiled pattern."""

    def __init__(self, hint: Hint) -> None:
        self.hint = hint
        self.regex = re.compile(hint.pattern, re.IGNORECASE)


class EngineHints:
    """The entries for one engine, in the order in which they are tried."""

    def __init__(self, hints: Sequence[Hint]) -> None:
        prepared = [_CompiledHint(hint) for hint in hints]
        self._of_exceptions = [entry for entry in prepared if entry.hint.scope != "line"]
        self._of_lines = [entry for entry in prepared if entry.hint.scope != "exception"]

    def of_exception(self, text: str, version: str | None = None) -> tuple[Hint, re.Match[str]] | None:
        """Return the first entry that matches an exception's class and message. `version`: of the engine, if known."""
        return self._first(self._of_exceptions, text, version)

    def of_line(self, text: str, version: str | None = None) -> tuple[Hint, re.Match[str]] | None:
        """Return the first entry that matches a line without its prefixes."""
        return self._first(self._of_lines, text, version)

    @staticmethod
    def _first(
        entries: Sequence[_CompiledHint], text: str, version: str | None
    ) -> tuple[Hint, re.Match[str]] | None:  # fmt: skip
        for entry in entries:
            match = entry.regex.search(text)
            if match is not None and (
                version is None or entry.hint.versions is None or satisfies(version, entry.hint.versions)
            ):
                return entry.hint, match
        return None


@cache
def hints_of(engine: str) -> EngineHints:
    """Return the entries for an engine by its name; for a name that is not in `ENGINES`, all of them."""
    return EngineHints(
        [hint for hint in all_hints() if not hint.engines or engine not in ENGINES or engine in hint.engines]
    )


@cache
def all_hints() -> tuple[Hint, ...]:
    """Return every entry in the order in which they are tried: specific before general, then by engine.

    Raises EngineError with the file and the entry for an invalid one.
    """
    hints = list(_read_all())
    twice = {hint.id for hint in hints if sum(other.id == hint.id for other in hints) > 1}
    if twice:
        raise EngineError(f"duplicate hint ids: {', '.join(sorted(twice))}", code="duplicate_hint")
    roles = ("cause", "consequence", "echo", "general")
    return tuple(sorted(hints, key=lambda hint: (roles.index(hint.role), not hint.engines)))


def _read_all() -> Iterator[Hint]:
    yaml = YAML(typ="safe", pure=False)
    for file in sorted(files(__package__).iterdir(), key=lambda path: path.name):
        if not file.name.endswith(".yaml"):
            continue
        try:
            entries = yaml.load(file.read_text(encoding="utf-8"))
        except YAMLError as exc:
            raise EngineError(f"{file.name}: not YAML: {exc}", code="hint_file_invalid") from exc
        for entry in entries:
            try:
                yield Hint.model_validate(entry)
            except ValidationError as exc:
                name = entry.get("id") if isinstance(entry, dict) else entry
                message = f"{file.name}, entry {name!r}: {validation_text(exc)}"
                raise EngineError(message, code="hint_invalid", detail=str(exc)) from exc
