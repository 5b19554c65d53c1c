"""A relay for other tools' clients to a server on a Unix socket: a TCP port on loopback that asks for the key.

Every user of the node can connect to that port. A connection is passed on only when its first request carries the key;
what follows on it comes from the same client. The server does not see a request of anybody else.
"""

import asyncio
import hmac
import threading
from types import TracebackType

_HEAD_LIMIT_BYTES = 1 << 16
_READ_BYTES = 1 << 16
_FIRST_REQUEST_S = 10.0  # real: a stranger's open connections do not pile up
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Gate:
    """An open gate to `socket_path`, in a thread of its own, until the block that it manages has ended."""

    def __init__(self, socket_path: str, key: str) -> None:
        self._socket_path, self._key = socket_path, key
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def __enter__(self) -> "Gate":
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=_HEAD_LIMIT_BYTES), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _FIRST_REQUEST_S)
            if not self._allowed(head):
                writer.write(_REFUSED)
                await writer.drain()
                return
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket_path)
            try:
                server_writer.write(head)
                await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
            finally:
                server_writer.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            return
        finally:
            writer.close()

    def _allowed(self, head: bytes) -> bool:
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"authorization":
                scheme, _, token = value.strip().partition(b" ")
                return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._key.encode())
        return False


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until the end, then say that it has ended."""
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
