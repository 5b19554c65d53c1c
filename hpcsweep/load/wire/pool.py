"""The connections of one sending process, and the epoll object that watches them."""

import select
from collections.abc import Iterator

from hpcsweep.load.wire.connection import Address, ServerConnection

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class ConnectionPool:
    """Reuses idle connections, the latest first. All connections are watched for input."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[ServerConnection] = []
        self.epoll = select.epoll()
        self.open: dict[int, ServerConnection] = {}

    def take(self) -> ServerConnection:
        """Return an idle connection, or a new one that may still be connecting. Raises OSError."""
        return self._idle.pop() if self._idle else self.new()

    def new(self) -> ServerConnection:
        """Return a new idle connection that may still be connecting. Raises OSError."""
        connection = ServerConnection(self._address)
        self.open[connection.fd] = connection
        self.epoll.register(connection.fd, IN | OUT if connection.wants_out else IN)
        return connection

    def release(self, connection: ServerConnection) -> None:
        """Return a connection without a request to the pool, for reuse."""
        connection.was_idle, connection.item, connection.streaming = True, None, False
        self._idle.append(connection)

    def drop(self, connection: ServerConnection) -> None:
        """Close a connection."""
        del self.open[connection.fd]
        if connection.item is None and connection in self._idle:
            self._idle.remove(connection)
        connection.close()

    def watch_output(self, connection: ServerConnection, wanted: bool) -> None:
        """Set whether to watch the connection for room to write."""
        if connection.wants_out != wanted:
            connection.wants_out = wanted
            self.epoll.modify(connection.fd, IN | OUT if wanted else IN)

    def connecting(self) -> int:
        """Return the number of connections that are still connecting."""
        return sum(connection.connecting for connection in self.open.values())

    def busy(self) -> Iterator[ServerConnection]:
        """Return the connections with a request. They may be dropped during the iteration."""
        return (connection for connection in list(self.open.values()) if connection.item is not None)

    def close(self) -> None:
        """Close all connections."""
        for connection in self.open.values():
            connection.close()
        self.open.clear()
        self._idle.clear()
        self.epoll.close()
