"""The faults that a profile can request, one class per kind."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Fault:
    """Base of all faults.

    `times`: number of servers sharing a cache directory (VLLM_CACHE_ROOT) that have the fault, the first ones; 0: all.
    """

    kind: ClassVar[str] = ""
    times: int = 0


@dataclass(frozen=True)
class Stall(Fault):
    """The server stops making progress in `phase`, and is idle.

    `noise`: the front end continues to log that it is waiting. `busy`: it uses a core while it waits, like a rank whose
    peer does not answer.
    """

    kind = "stall"
    phase: str = "compile"
    noise: bool = False
    busy: bool = False


@dataclass(frozen=True)
class RankStuck(Fault):
    """In `phase` rank number `rank` of `ranks` gets stuck, and the others busy-wait for it.

    `how`: `stopped` (as by SIGSTOP), `sleeping` (as in a lock), or `looping` (in code of its own).
    """

    kind = "rank_stuck"
    phase: str = "compile"
    ranks: int = 2
    rank: int = 1
    how: str = "stopped"


@dataclass(frozen=True)
class Slow(Fault):
    """`phase` takes `extra_s` longer, with progress signals.

    `cpu`: it computes and allocates memory like a compiler. `log`: it writes log lines. `cache`: its cache grows.
    """

    kind = "slow"
    phase: str = "compile"
    extra_s: float = 3600.0
    cpu: bool = True
    log: bool = False
    cache: bool = False


@dataclass(frozen=True)
class Crash(Fault):
    """The server logs `message` in the middle of `phase` and exits with `exit_code`."""

    kind = "crash"
    phase: str = "load_weights"
    message: str = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    exit_code: int = 1


@dataclass(frozen=True)
class OutOfMemory(Fault):
    """The server exits in `phase` with PyTorch's error for a full GPU."""

    kind = "out_of_memory"
    phase: str = "kv_cache"
    tried_gib: float = 2.5


@dataclass(frozen=True)
class Children(Fault):
    """Processes that outlive the server: in their own session, re-parented, or ignoring SIGTERM."""

    kind = "children"
    count: int = 2
    own_session: bool = False
    orphan: bool = False
    ignore_sigterm: bool = False


@dataclass(frozen=True)
class IgnoreSigterm(Fault):
    """The server ignores SIGTERM."""

    kind = "ignore_sigterm"


@dataclass(frozen=True)
class WrongModel(Fault):
    """`/v1/models` lists another model than the requested one."""

    kind = "wrong_model"
    name: str = "another-model"


@dataclass(frozen=True)
class RequestFault(Fault):
    """Base of faults of single requests.

    `every`: the k-th, 2k-th ... request. `only`: the requests with these numbers, from 1. Neither: all.
    `probes`: it also applies to requests for one token, which have no number.
    """

    every: int = 0
    only: tuple[int, ...] = ()
    probes: bool = False

    def applies_to(self, number: int | None) -> bool:
        """Return whether the request with this number has the fault; None: a probe."""
        if number is None:
            return self.probes
        if self.only:
            return number in self.only
        return self.every == 0 or number % self.every == 0


@dataclass(frozen=True)
class Hang(RequestFault):
    """The answer stops after `after_tokens`, and the connection remains open."""

    kind = "hang"
    after_tokens: int = 10


@dataclass(frozen=True)
class HttpError(RequestFault):
    """The request is answered with an HTTP error."""

    kind = "error"
    status: int = 500
    message: str = "EngineCore encountered an issue. See stack trace (above) for the root cause."


@dataclass(frozen=True)
class StreamError(RequestFault):
    """The stream contains an error event after `after_tokens`, with HTTP status 200."""

    kind = "stream_error"
    after_tokens: int = 10
    message: str = "EngineCore encountered an issue. See stack trace (above) for the root cause."


@dataclass(frozen=True)
class Cut(RequestFault):
    """The connection is reset after `after_tokens`."""

    kind = "cut"
    after_tokens: int = 10


@dataclass(frozen=True)
class EarlyEnd(RequestFault):
    """The answer ends after `after_tokens` as if it were complete. `done`: with its last event, `[DONE]`."""

    kind = "early_end"
    after_tokens: int = 10
    done: bool = True


@dataclass(frozen=True)
class Exit(RequestFault):
    """The server exits in the middle of an answer, after `after_tokens`. `exit_code` below 0: by that signal."""

    kind = "exit"
    after_tokens: int = 10
    exit_code: int = 1
    message: str = "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."


RANK_SHAPES = ("stopped", "sleeping", "looping")
"""The ways in which a rank can be stuck."""
STARTUP_FAULTS = (Stall, RankStuck, Slow, Crash, OutOfMemory)
FAULTS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        *STARTUP_FAULTS, Children, IgnoreSigterm, WrongModel, Hang, HttpError, StreamError, Cut, EarlyEnd, Exit
    )
}  # fmt: skip
