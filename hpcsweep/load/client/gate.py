"""A relay from a TCP port on loopback to a server on a Unix socket, for load clients of other tools.

Every user of the node can connect to that port. The relay forwards a connection only when its first request has the API
key; later requests on it come from the same client. So requests of other users never reach the server.
"""

import asyncio
import hmac
import threading
from types import TracebackType

_HEAD_LIMIT_BYTES = 1 << 16
_READ_BYTES = 1 << 16
_FIRST_REQUEST_S = 10.0  # real; limits the number of open connections of other users
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Gate:
    """A context manager that runs the relay to `socket_path` in its own thread."""

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
    """Copy until the end of the stream, then signal the end to the other side."""
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
