"""A simulated server on several nodes: each node has a process and a worker, and all take part in every step."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hpcsweep.simulator.log import ServerLog

_WORKER = "import os\nwhile os.read(0, 1):\n    os.write(1, b'.')\n"
_RETRY_S = 0.1
_NOTICE_S = 0.2  # from the end of a peer to the exit: vLLM takes a second or more


@dataclass(frozen=True)
class Place:
    """The place of this process. `address`, `port`: of rank 0."""

    nodes: int
    rank: int
    address: str
    port: int


Exchange = Callable[[], Awaitable[None]]
"""Take part in one step; returns when all others have."""


class Together:
    """The processes of one server. `failed` is set when one of them has ended."""

    def __init__(self, placement: Place, log: ServerLog) -> None:
        self.placement, self._log = placement, log
        self.failed = asyncio.Event()
        self._exchanges: list[Exchange] = []
        self._joined = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        """Start the worker, and wait until the processes of all nodes are connected."""
        placement = self.placement
        worker = await asyncio.create_subprocess_exec(
            f"VLLM::Worker_TP{placement.rank}", "-S", "-c", _WORKER, executable=sys.executable,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert worker.stdin is not None and worker.stdout is not None
        self._exchanges.append(_exchange(worker.stdout, worker.stdin))
        self._tasks.append(asyncio.create_task(self._worker_ends(worker)))
        if placement.rank == 0:
            await asyncio.start_server(self._accept, placement.address, placement.port)
            await self._joined.wait()
            return
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(placement.address, placement.port)
                break
            await asyncio.sleep(_RETRY_S)
        self._tasks.append(asyncio.create_task(self._follow(reader, writer)))

    async def step(self) -> None:
        """Let all processes take part in a step; on other ranks than 0 the head does that."""
        if self.placement.rank:
            return
        try:
            for exchange in self._exchanges:
                await exchange()
        except (asyncio.IncompleteReadError, OSError):
            await self._peer_ended()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._exchanges.append(_exchange(reader, writer))
        if len(self._exchanges) == self.placement.nodes:
            self._joined.set()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take part in each step of rank 0."""
        try:
            while True:
                await reader.readexactly(1)
                await self._exchanges[0]()
                writer.write(b".")
        except (asyncio.IncompleteReadError, OSError):
            await self._peer_ended()

    async def _worker_ends(self, worker: asyncio.subprocess.Process) -> None:
        await worker.wait()
        name = f"VllmWorker-{self.placement.rank}"
        text = f"Worker proc {name} died unexpectedly, shutting down executor."
        self._log.line(text, "multiproc_executor.py:241", "EngineCore", "ERROR")
        self.failed.set()

    async def _peer_ended(self) -> None:
        await asyncio.sleep(_NOTICE_S)
        self._log.raw(
            f"RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [{self.placement.address}]"
        )
        self.failed.set()
        await asyncio.Event().wait()


def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    async def exchange() -> None:
        writer.write(b".")
        await reader.readexactly(1)

    return exchange


async def until(task: Awaitable[object], failed: asyncio.Event) -> bool:
    """Await `task`. Return False, without waiting for it, when a process of the server has ended."""
    work, failure = asyncio.ensure_future(task), asyncio.create_task(failed.wait())
    await asyncio.wait([work, failure], return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        failure.cancel()
        work.result()
        return True
    work.cancel()
    return False
