"""The faults that a profile can ask for, one class a kind."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Fault:
    """Base of all faults.

    `times`: only the first so many servers that share a cache directory (VLLM_CACHE_ROOT) have it; 0: all have.
    """

    kind: ClassVar[str] = ""
    times: int = 0


@dataclass(frozen=True)
class Stall(Fault):
    """The server makes no more progress in `phase`, and is idle.

    `noise`: a front end goes on writing that it waits. `busy`: it keeps a core busy while it waits, as a rank does
    whose peer does not answer.
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
    """`phase` takes `extra_s` longer.

    It shows that it is alive: `cpu`: it computes and takes memory, as a compiler does; `log`: it writes lines;
    `cache`: its compile cache grows.
    """

    kind = "slow"
    phase: str = "compile"
    extra_s: float = 3600.0
    cpu: bool = True
    log: bool = False
    cache: bool = False


@dataclass(frozen=True)
class Crash(Fault):
    """The server writes `message` in the middle of `phase` and ends with `exit_code`."""

    kind = "crash"
    phase: str = "load_weights"
    message: str = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    exit_code: int = 1


@dataclass(frozen=True)
class OutOfMemory(Fault):
    """The server dies in `phase` with PyTorch's words for a full GPU."""

    kind = "out_of_memory"
    phase: str = "kv_cache"
    tried_gib: float = 2.5


@dataclass(frozen=True)
class Children(Fault):
    """Processes that outlive the server: in a session of their own, re-parented, or deaf to SIGTERM."""

    kind = "children"
    count: int = 2
    own_session: bool = False
    orphan: bool = False
    ignore_sigterm: bool = False


@dataclass(frozen=True)
class IgnoreSigterm(Fault):
    """The server goes on when it is asked to end."""

    kind = "ignore_sigterm"


@dataclass(frozen=True)
class WrongModel(Fault):
    """`/v1/models` names another model than the one that was asked for."""

    kind = "wrong_model"
    name: str = "another-model"


@dataclass(frozen=True)
class RequestFault(Fault):
    """Base of what befalls single requests.

    `every`: the k-th, 2k-th ... request. `only`: the requests of these numbers, from 1. Neither: all.
    `probes`: it befalls requests for one token too, which are not numbered.
    """

    every: int = 0
    only: tuple[int, ...] = ()
    probes: bool = False

    def befalls(self, number: int | None) -> bool:
        """Whether the request of this number has it; None: a probe."""
        if number is None:
            return self.probes
        if self.only:
            return number in self.only
        return self.every == 0 or number % self.every == 0


@dataclass(frozen=True)
class Hang(RequestFault):
    """The answer stops after `after_tokens` and the connection stays open."""

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
    """The stream carries an error event after `after_tokens`, under HTTP status 200."""

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
    """The answer ends after `after_tokens`, as if it had been complete. `done`: with its last event, `[DONE]`."""

    kind = "early_end"
    after_tokens: int = 10
    done: bool = True


@dataclass(frozen=True)
class Exit(RequestFault):
    """The whole server ends in the middle of the answer, after `after_tokens`. `exit_code` below 0: by that signal."""

    kind = "exit"
    after_tokens: int = 10
    exit_code: int = 1
    message: str = "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."


RANK_SHAPES = ("stopped", "sleeping", "looping")
"""How a rank may be stuck."""
STARTUP_FAULTS = (Stall, RankStuck, Slow, Crash, OutOfMemory)
FAULTS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        *STARTUP_FAULTS, Children, IgnoreSigterm, WrongModel, Hang, HttpError, StreamError, Cut, EarlyEnd, Exit
    )
}  # fmt: skip
