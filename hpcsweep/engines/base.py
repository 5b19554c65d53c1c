"""What an engine adapter gives: everything hpcsweep knows of an engine, as data and pure functions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.server import EngineSettings, ServerConfig


def rx(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for log lines: engines change capitals from version to version."""
    return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Launch:
    """How to start a server. `files`: relative name -> text, written into the attempt's folder before the start."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LaunchContext:
    """What only the node knows: the executable, its version, the port and the folder of the attempt."""

    executable: str
    port: int
    version: str | None = None
    host: str = "127.0.0.1"
    attempt_dir: str = "."
    startup_budget_s: float | None = None
    """Our own budget: timeouts that the engine keeps for itself are set above it. None: left as they are."""
    socket_path: str | None = None
    """A Unix socket in a folder that only its owner can enter, for engines with `unix_socket`; None: `port`."""
    key_file: str | None = None
    """Path of the file with `key_file_text`, for engines that have one; None: without it."""


@dataclass(frozen=True)
class PhasePattern:
    """A log line that tells about a phase.

    `start`: it has begun. `end`: it is over, the next one that is not absent begins. `absent`: this start has no
    such phase (an eager server compiles nothing). `early`: a part of it has begun before its turn; phases between may
    follow, and then the rest of it. `after`: the line counts only once that phase was entered.
    """

    regex: re.Pattern[str]
    phase: Phase
    at: Literal["start", "end", "absent", "early"] = "start"
    seen_in: str = ""
    after: Phase | None = None


@dataclass(frozen=True)
class FactPattern:
    """A log line that carries a figure: `group` is the value, times `factor` in `unit`.

    `words`: the value is text; else a number, with thousands commas allowed. `total`: several lines of one process
    add up (one per compiled graph); else the last line of each process counts, or with `first` the first line of all
    (a draft model prints the same line later). Over processes the largest number counts: workers do the same side by
    side. Where several patterns have one name, a later one in the list is more exact and replaces what an earlier one
    found. `value`: what the line means when it carries no figure itself.
    """

    regex: re.Pattern[str]
    name: str
    unit: str = ""
    factor: float = 1.0
    words: bool = False
    total: bool = False
    first: bool = False
    group: int = 1
    value: float | str | None = None
    seen_in: str = ""


@dataclass(frozen=True)
class FailurePattern:
    """A log line that shows why the server died. Earlier patterns win over later ones.

    The built-in engines have none: exceptions are read by themselves, and the knowledge base in `hints/` explains them.
    A plugin may name lines of its own. `decided_by`: the engine's own rule, such as a timeout that it keeps itself;
    empty: no rule, a plain fault. `fatal`: from this line on the engine is dead, though a front end may still answer,
    with errors.
    """

    regex: re.Pattern[str]
    outcome: OutcomeKind
    hint: str = ""
    decided_by: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class Endpoints:
    """Paths on the server. None: the engine has no such thing."""

    health: str = "/health"
    models: str = "/v1/models"
    completions: str = "/v1/completions"
    chat: str = "/v1/chat/completions"
    metrics: str | None = "/metrics"
    reset_prefix_cache: str | None = None
    cache_salt: str | None = None
    """Field of a request whose value separates prefix caches: a workload with a salt of its own finds them empty."""


class LogPatterns(Protocol):
    """What is needed to read an engine's log."""

    name: str
    phase_patterns: Sequence[PhasePattern]
    fact_patterns: Sequence[FactPattern]
    failure_patterns: Sequence[FailurePattern]
    noise: Sequence[re.Pattern[str]]
    """Lines that an engine writes even when it is dead: no sign of progress."""


class Engine(LogPatterns, Protocol):
    """One engine. All of it is pure; `node/` does what it says.

    How other users of a node are kept out of the server is in two optional attributes, see `hpcsweep.engines.access`.
    """

    endpoints: Endpoints
    version_argv: tuple[str, ...]
    """Arguments after the executable that make it print its version."""
    help_argv: tuple[str, ...]
    """Arguments after the executable that make it print all its flags."""
    distributions: tuple[str, ...]
    """Names of its Python distribution, the usual one first: their metadata tell the version without a start."""
    api_key_env: str | None
    """The environment variable that gives the server its API key. None: it can take none but by its arguments."""

    def settings(self, config: ServerConfig) -> EngineSettings:
        """The neutral settings, completed by the flags of `config` that say the same in the engine's own names."""
        ...

    def unsupported(self, config: ServerConfig) -> list[str]:
        """Why this engine cannot express `config`, a sentence each; empty: it can."""
        ...

    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """The command, its environment and files. The API key comes by the environment, never from here."""
        ...

    def parse_version(self, text: str) -> str | None:
        """The version in the output of `version_argv`; None: not found."""
        ...
