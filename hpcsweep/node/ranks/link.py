"""The connection between the head agent and the agent of another node: JSON messages over TCP.

Both sides prove that they have the token of the attempt, which is only in a file that its user can read, without
sending it (HMAC-SHA256 over a random number of each side). Every message carries a MAC under a key of this connection,
so that another host on the network cannot insert or change one. The content is not encrypted; secrets never go over it.

Each side sends something at least every two seconds. A connection that is silent for much longer counts as lost, for
which only time counts in which this process itself was running.
"""

import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any

PING_EVERY_S = 2.0
SILENT_S = 60.0
"""Seconds without a message after which the other side counts as lost; a node that loses power sends nothing."""
_HANDSHAKE_S = 10.0
_LONGEST_MESSAGE_BYTES = 4 << 20
_MOST_WAITING_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 16

Message = Mapping[str, Any]


class LinkError(Exception):
    """The other side does not have the token, or is not an agent of hpcsweep."""


class Link:
    """One authenticated connection. `on_message` and `on_closed` are called in a thread of the link.

    `on_closed` is called once, with the reason, unless `close` was called before.
    """

    def __init__(self, connection: socket.socket, key: bytes, ours: str, theirs: str) -> None:
        self._socket, self._key, self._ours, self._theirs = connection, key, ours, theirs
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._waiting_bytes, self._lock = 0, threading.Lock()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self.silent_s = 0.0
        """Seconds without a message so far, in which this process was running."""
        self.lost_messages = 0
        """Log lines that were dropped because the other side did not read them."""

    def start(self, on_message: Callable[[Message], None], on_closed: Callable[[str], None]) -> None:
        """Receive and send from now on."""
        self._socket.settimeout(PING_EVERY_S)
        self._threads = [
            threading.Thread(target=self._receive, args=(on_message, on_closed), daemon=True),
            threading.Thread(target=self._transmit, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, kind: str, *, droppable: bool = False, **fields: Any) -> None:
        """Queue a message. One that is `droppable` is dropped while too much is unsent."""
        payload = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
        with self._lock:
            if droppable and self._waiting_bytes > _MOST_WAITING_BYTES:
                self.lost_messages += 1
                return
            self._waiting_bytes += len(payload)
        self._queue.put(payload)

    def close(self, within_s: float = 2.0) -> None:
        """Send what is queued, up to `within_s` seconds, and close the connection."""
        self._queue.put(None)
        if self._threads:
            self._threads[1].join(timeout=within_s)
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=within_s)
        self._socket.close()

    def _transmit(self) -> None:
        number = 0
        while not self._closed.is_set():
            try:
                payload = self._queue.get(timeout=PING_EVERY_S)
            except Empty:
                payload = b'{"kind":"ping"}'
            if payload is None:
                return
            mac = _mac(self._key, self._ours, number, payload)
            number += 1
            rest = mac.encode() + b" " + payload + b"\n"
            while rest and not self._closed.is_set():
                try:
                    rest = rest[self._socket.send(rest) :]
                except TimeoutError:
                    continue
                except OSError:  # the receiver reports it
                    return
            with self._lock:
                self._waiting_bytes = max(0, self._waiting_bytes - len(payload))

    def _receive(self, on_message: Callable[[Message], None], on_closed: Callable[[str], None]) -> None:
        number, rest = 0, b""
        reason = ""
        while not reason and not self._closed.is_set():
            try:
                chunk = self._socket.recv(_CHUNK_BYTES)
            except TimeoutError:
                self.silent_s += PING_EVERY_S
                if self.silent_s >= SILENT_S:
                    reason = f"no message for {SILENT_S:.0f} s"
                continue
            except OSError as exc:
                reason = f"connection lost: {exc.strerror or exc}"
                break
            if not chunk:
                reason = "connection closed"
                break
            self.silent_s = 0.0
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_MESSAGE_BYTES:
                reason = "a message is too long"
            for line in lines:
                mac, _, payload = line.partition(b" ")
                if not hmac.compare_digest(mac, _mac(self._key, self._theirs, number, payload).encode()):
                    reason = "a message was changed on the way"
                    break
                number += 1
                message = json.loads(payload)
                if message["kind"] != "ping":
                    on_message(message)
        if not self._closed.is_set():
            on_closed(reason)


def welcome(connection: socket.socket, token: str) -> tuple[int, Link]:
    """Authenticate a rank that has connected; return its rank and the link. Raises LinkError, OSError."""
    connection.settimeout(_HANDSHAKE_S)
    ours = secrets.token_hex(16)
    _write(connection, {"nonce": ours})
    hello = _read(connection)
    rank, theirs = hello.get("rank"), str(hello.get("nonce"))
    if not isinstance(rank, int) or not hmac.compare_digest(
        str(hello.get("proof")), _proof(token, "rank", rank, ours, theirs)
    ):
        raise LinkError("the connection does not have the token of this attempt")
    _write(connection, {"proof": _proof(token, "head", rank, ours, theirs)})
    return rank, Link(connection, _session_key(token, rank, ours, theirs), "head", "rank")


def join(connection: socket.socket, token: str, rank: int) -> Link:
    """Authenticate towards the head agent; return the link. Raises LinkError, OSError."""
    connection.settimeout(_HANDSHAKE_S)
    theirs, ours = str(_read(connection).get("nonce")), secrets.token_hex(16)
    _write(connection, {"rank": rank, "nonce": ours, "proof": _proof(token, "rank", rank, theirs, ours)})
    if not hmac.compare_digest(str(_read(connection).get("proof")), _proof(token, "head", rank, theirs, ours)):
        raise LinkError("the other side does not have the token of this attempt")
    return Link(connection, _session_key(token, rank, theirs, ours), "rank", "head")


def _proof(token: str, side: str, rank: int, head_nonce: str, rank_nonce: str) -> str:
    text = f"{side} {rank} {head_nonce} {rank_nonce}"
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


def _session_key(token: str, rank: int, head_nonce: str, rank_nonce: str) -> bytes:
    return bytes.fromhex(_proof(token, "session", rank, head_nonce, rank_nonce))


def _mac(key: bytes, sender: str, number: int, payload: bytes) -> str:
    return hmac.new(key, f"{sender} {number} ".encode() + payload, hashlib.sha256).hexdigest()[:32]


def _write(connection: socket.socket, message: Message) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _read(connection: socket.socket) -> Message:
    """Return one short line of the handshake, byte by byte, so that nothing after it is read."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > 1024:
            raise LinkError("the other side is not an agent of hpcsweep")
        line += byte
    try:
        message = json.loads(line)
    except ValueError as exc:
        raise LinkError("the other side is not an agent of hpcsweep") from exc
    if not isinstance(message, dict):
        raise LinkError("the other side is not an agent of hpcsweep")
    return message
