"""The contract of an engine adapter: everything hpcsweep has about one engine, as data and pure functions.

A plugin derives a class from `Engine`, fills in its attributes and methods, and registers the class under an entry
point of the group `hpcsweep.engines` whose name equals `Engine.name` (docs/engines.md has an example).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hpcsweep.engines.flag_history import NO_HISTORY, FlagHistory
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.server import EngineSettings, ServerConfig


def rx(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for log lines, ignoring case: engines change capitals from version to version."""
    return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Launch:
    """How to start a server. `files`: relative name -> text, written into the attempt's folder before the start.

    `through`: a command of ours to which `argv` is appended, which prepares the node first; empty: none.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    through: tuple[str, ...] = ()

    @property
    def whole_argv(self) -> tuple[str, ...]:
        """What to execute. `argv` alone is the engine's own command."""
        return (*self.through, *self.argv)


@dataclass(frozen=True)
class Placement:
    """The place of one part of a server that spans several nodes.

    `rank`: of this node, 0 is the node with the HTTP server. `address`: of node 0, as the other nodes reach it; `port`:
    free there. `own_address`, `interface`: of this node, on the network that connects the nodes; `interface` empty:
    unknown. `hosts`: names of all nodes, in order; empty: this machine is every node.
    """

    nodes: int
    rank: int
    address: str
    port: int
    own_address: str
    interface: str = ""
    hosts: Sequence[str] = ()

    @property
    def head(self) -> bool:
        """Return whether this node has the HTTP server."""
        return self.rank == 0


@dataclass(frozen=True)
class LaunchContext:
    """What is only known on the node: the executable, its version, the port and the folder of the attempt.

    `startup_budget_s`: the sweep's own budget; an adapter sets the engine's own timeouts above it. None: leave them.
    `socket_path`: a Unix socket in a folder that only its owner can enter, for engines with `unix_socket`; None: use
    `port`. `key_file`: path of the file that holds `Engine.key_file_text`; None: start without one. `placement` None:
    the server runs on one node.
    """

    executable: str
    port: int
    version: str | None = None
    host: str = "127.0.0.1"
    attempt_dir: str = "."
    startup_budget_s: float | None = None
    socket_path: str | None = None
    key_file: str | None = None
    placement: Placement | None = None


@dataclass(frozen=True)
class PhasePattern:
    """A log line that marks a startup phase.

    `start`: the phase begins. `end`: the phase is over, and the next phase that is not absent begins. `absent`: this
    start does not have the phase (an eager server compiles nothing). `early`: a part of the phase begins before its
    turn; phases between may follow, and then the rest of it. `after`: the line counts only once that phase was
    entered. `seen_in`: the versions in which the line was seen.
    """

    regex: re.Pattern[str]
    phase: Phase
    at: Literal["start", "end", "absent", "early"] = "start"
    seen_in: str = ""
    after: Phase | None = None


@dataclass(frozen=True)
class FactPattern:
    """A log line that carries a figure: `group` is the value, times `factor` in `unit`.

    `words`: the value is text; otherwise it is a number, with optional thousands commas. `total`: several lines of one
    process are added up (one per compiled graph); otherwise the last line of each process counts, or with `first` the
    first line of all (a draft model prints the same line later). Of several processes the largest number counts:
    workers do the same work in parallel. Where several patterns have one name, a later pattern in the list is more
    exact and replaces the value of an earlier one. `value`: the fact, for a line that carries no figure itself.
    `unknown`: after such a line the figure is not known, and patterns of this name that precede it do not count.
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
    unknown: bool = False
    seen_in: str = ""


@dataclass(frozen=True)
class FailurePattern:
    """A log line that shows why the server exited. Earlier patterns take precedence over later ones.

    The built-in engines have none: the reader extracts exceptions, and the knowledge base in `hints/` explains them. A
    plugin may add patterns. `decided_by`: the engine's own rule, such as one of its timeouts; empty: none. `fatal`:
    after this line the engine cannot recover, though its front end may still answer, with errors.
    """

    regex: re.Pattern[str]
    outcome: OutcomeKind
    hint: str = ""
    decided_by: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class Endpoints:
    """Paths on the server. None: the engine does not have the endpoint.

    `cache_salt`: field of a request that separates prefix caches; a workload with a new salt starts with an empty one.
    """

    health: str = "/health"
    models: str = "/v1/models"
    completions: str = "/v1/completions"
    chat: str = "/v1/chat/completions"
    metrics: str | None = "/metrics"
    reset_prefix_cache: str | None = None
    cache_salt: str | None = None


class LogPatterns(Protocol):
    """What the log reader needs. `noise`: lines that an engine also writes when it is stuck; they are not progress."""

    name: str
    phase_patterns: Sequence[PhasePattern]
    fact_patterns: Sequence[FactPattern]
    failure_patterns: Sequence[FailurePattern]
    noise: Sequence[re.Pattern[str]]


@dataclass(frozen=True)
class MemoryRule:
    """How the engine divides the memory of a GPU.

    `default_utilization`: share of a GPU's memory that the engine uses by default. `includes_weights`: the
    share bounds weights and KV cache together, so weights that exceed it cannot be served.
    """

    default_utilization: float = 1.0
    includes_weights: bool = False


@dataclass(frozen=True)
class Fp8Rule:
    """What the engine does with FP8 weights on a GPU without FP8 arithmetic (compute capability below 8.9).

    `fallback`: how it computes all the same, as a clause ("vLLM computes in ..."); empty: it does not start.
    `refusal`: how it fails, as a clause; empty: not known.
    """

    fallback: str = ""
    refusal: str = ""


class Engine(ABC):
    """One engine. All of it is pure: `plan/` asks it before a submission, `node/` carries out what it returns.

    The attributes without a value and the abstract methods are required; the others have defaults that are safe for an
    engine of which nothing more is known.
    """

    name: str
    """The name in an experiment, `engine: NAME`, and of the entry point."""
    title: str = ""
    """The name in sentences; empty: `name`."""
    executable: str
    """The command that is looked for on PATH, unless the profile or `$HPCSWEEP_<NAME>` names another."""
    modules: tuple[str, ...] = ()
    """Python modules that start the server as `python -m MODULE`, the usual one first."""
    distributions: tuple[str, ...] = ()
    """Names of its Python distribution, the usual one first: their metadata give the version without a start."""
    run_flags: tuple[str, ...] = ("--host", "--port", "--api-key", "--uds")
    """Flags, each with a value, whose values belong to one run and are left out of a recommended command."""
    flag_history: FlagHistory = NO_HISTORY
    """Flags that were added or removed in known versions."""

    endpoints: Endpoints = Endpoints()
    api_key_env: str | None = None
    """The environment variable that gives the server its API key. None: the server does not read one."""
    one_mpi_job: bool = False
    """Whether its parts on several nodes are one MPI job with a rank for each GPU, so that only the first node has a
    command: that of each rank. The HTTP server is on the node of rank 0."""
    unix_socket: bool = False
    """Whether its HTTP server can listen on `LaunchContext.socket_path`."""

    memory: MemoryRule = MemoryRule()
    fp8: Fp8Rule = Fp8Rule()
    longer_context_env: tuple[str, ...] = ()
    """Variables that permit a context that is longer than the model's own."""
    longer_context_flags: tuple[str, ...] = ()
    """Flags that change the model's configuration, and so may extend its context."""

    phase_patterns: Sequence[PhasePattern] = ()
    fact_patterns: Sequence[FactPattern] = ()
    failure_patterns: Sequence[FailurePattern] = ()
    noise: Sequence[re.Pattern[str]] = ()
    """Lines that it also writes when it is stuck, such as the responses to health checks."""
    log_banner: re.Pattern[str] | None = None
    """A line that only this engine prints: it identifies a log of unknown origin."""
    log_mentions: re.Pattern[str] | None = None
    """Names that occur often in its logs; weaker evidence than `log_banner`."""

    @abstractmethod
    def settings(self, config: ServerConfig) -> EngineSettings:
        """Return the neutral settings of `config`, completed by its flags that set the same in the engine's names."""

    @abstractmethod
    def unsupported(self, config: ServerConfig) -> list[str]:
        """Return why this engine cannot express `config`, a sentence each; empty: it can."""

    def unsupported_across(self, config: ServerConfig, nodes: int) -> list[str]:
        """Return why this engine cannot serve `config` on several nodes, a sentence each; empty: it can.

        `launch` then returns the command of one part of the server for a `LaunchContext` with a `placement`.
        """
        return [f"{self.title or self.name} on several nodes is not supported by its adapter"]

    @abstractmethod
    def launch(self, config: ServerConfig, context: LaunchContext) -> Launch:
        """Return the command, its environment and files; never the API key, which the agent adds to the environment."""

    @abstractmethod
    def parse_version(self, text: str) -> str | None:
        """Return the version in the output of `version_argv`; None: the output has none."""

    def version_argv(self, executable: str) -> tuple[str, ...]:
        """Return the arguments after `executable` that make it print its version; empty: it cannot."""
        return ("--version",)

    def help_argv(self, executable: str) -> tuple[str, ...]:
        """Return the arguments after `executable` that make it print all its flags; empty: it cannot."""
        return ("--help",)

    def key_file_text(self, config: ServerConfig, key: str) -> str | None:
        """Return the text of a configuration file that gives the server its API key on every endpoint but health.

        None: the engine does not read such a file, or `config` already names another.
        """
        return None

    def open_channels(self, config: ServerConfig) -> str:
        """Return what a user of the node can reach without a key besides the HTTP server, a sentence; empty: nothing.

        A port that only PyTorch's rendezvous uses does not count (docs/security.md).
        """
        return ""

    def open_channels_across(self, config: ServerConfig, nodes: int, version: str | None) -> str:
        """Return what another user can reach without a key when the server spans `nodes`, more than one: a sentence.

        Empty: nothing besides the engine's own traffic, which docs/security.md describes. `version`: of the engine;
        None: unknown.
        """
        return ""
