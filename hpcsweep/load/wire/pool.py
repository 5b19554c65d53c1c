"""The connections of one sending process, and the epoll that watches them."""

import select
from collections.abc import Iterator

from hpcsweep.load.wire.connection import Address, ServerConnection

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Pool:
    """Idle connections are used again, the last one first. Readable ones are always watched."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[ServerConnection] = []
        self.epoll = select.epoll()
        self.open: dict[int, ServerConnection] = {}

    def take(self) -> ServerConnection:
        """An idle connection, or a new one that may still be connecting. Raises OSError."""
        return self._idle.pop() if self._idle else self.new()

    def new(self) -> ServerConnection:
        """A new connection, idle, that may still be connecting. Raises OSError."""
        connection = ServerConnection(self._address)
        self.open[connection.fd] = connection
        self.epoll.register(connection.fd, IN | OUT if connection.wants_out else IN)
        return connection

    def release(self, connection: ServerConnection) -> None:
        """Nothing is on this connection any more, and it may be used again."""
        connection.rested, connection.item, connection.streaming = True, None, False
        self._idle.append(connection)

    def drop(self, connection: ServerConnection) -> None:
        """Close it."""
        del self.open[connection.fd]
        if connection.item is None and connection in self._idle:
            self._idle.remove(connection)
        connection.close()

    def watch_output(self, connection: ServerConnection, wanted: bool) -> None:
        """Say whether the connection waits for room to write."""
        if connection.wants_out != wanted:
            connection.wants_out = wanted
            self.epoll.modify(connection.fd, IN | OUT if wanted else IN)

    def connecting(self) -> int:
        """How many are not connected yet."""
        return sum(connection.connecting for connection in self.open.values())

    def busy(self) -> Iterator[ServerConnection]:
        """Those that have a request; dropping some on the way is allowed."""
        return (connection for connection in list(self.open.values()) if connection.item is not None)

    def close(self) -> None:
        """Close all."""
        for connection in self.open.values():
            connection.close()
        self.open.clear()
        self._idle.clear()
        self.epoll.close()
