"""Check the readiness of a server: it is ours, it is healthy, it lists the model, and it generates a token."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.engines.base import Endpoints
from hpcsweep.node.watch.inbox import ProbeResult

_HEALTH_TIMEOUT_S = 5.0
_ANSWER_LIMIT_BYTES = 16 << 20
"""Upper bound on an answer; a page of metrics has a hundredth of it."""


@dataclass(frozen=True)
class Target:
    """How to connect to a server. `api_key` None: it does not check keys. `socket_path`: used instead of the port."""

    port: int
    endpoints: Endpoints
    served_name: str
    api_key: str | None
    host: str = "127.0.0.1"
    socket_path: str | None = None

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a new connection that is not open yet."""
        if self.socket_path is not None:
            return _UnixConnection(self.socket_path, timeout_s)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(
    target: Target,
    method: str,
    path: str,
    *,
    key: str | None,
    timeout_s: float,
    body: Mapping[str, object] | None = None,
) -> tuple[int, bytes]:
    """Send one request; return HTTP status and body. Raises OSError or HTTPException without an answer."""
    connection = target.connection(timeout_s)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, response.read(_ANSWER_LIMIT_BYTES)
    finally:
        connection.close()


class NotReady(Exception):
    """A step of the readiness check failed; the message is the problem. `hint`: its usual cause."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


def check_readiness(
    target: Target,
    owns_port: Callable[[int], bool | None],
    request_timeout_s: float,
    in_flight: Callable[[bool], None] = lambda _: None,
) -> ProbeResult:
    """Check every step of readiness; return the first problem, or the time at which the server was ready.

    A foreign server on the same port is detected: the listening socket must belong to our own process tree
    (`owns_port`; None: unknown), our key must be accepted and another one rejected, and the served name must be the
    requested one. A Unix socket is in a private folder of the attempt, where no other server can listen.
    `healthy_at_s` of the result is set for a server of ours that answered every request of the check, although the
    last one perhaps with an error: it is not stuck.
    `in_flight` is called with True before the request for a token, and with False after it.
    """
    healthy_at_s: float | None = None
    try:
        status, _ = ask(target, "GET", target.endpoints.health, key=target.api_key, timeout_s=_HEALTH_TIMEOUT_S)
        if status != 200:
            raise NotReady(f"{target.endpoints.health} returned {status}")
        if target.socket_path is None and owns_port(target.port) is False:
            raise NotReady(f"port {target.port} belongs to a process that is not ours")
        healthy_at_s = time.monotonic()
        _check_models(target)
        in_flight(True)
        try:
            token_s = _check_token(target, request_timeout_s)
        finally:
            in_flight(False)
    except NotReady as exc:
        return ProbeResult(None, str(exc), healthy_at_s=healthy_at_s, hint=exc.hint)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        return ProbeResult(None, f"no answer: {exc.__class__.__name__}: {exc}")
    return ProbeResult(time.monotonic(), "", token_s, healthy_at_s)


def _check_models(target: Target) -> None:
    path = target.endpoints.models
    key_hint = "the server did not get its key: does a container or wrapper drop environment variables?"
    status, body = ask(target, "GET", path, key=target.api_key, timeout_s=_HEALTH_TIMEOUT_S)
    if status in (401, 403):
        raise NotReady(f"{path} returned {status} for our key", key_hint)
    if status != 200:
        raise NotReady(f"{path} returned {status}")
    names = [str(entry.get("id")) for entry in json.loads(body).get("data", [])]
    if target.served_name not in names:
        raise NotReady(
            f"{path} lists {', '.join(names) or 'nothing'}, not {target.served_name}",
            "does a wrapper or config file change --served-model-name?",
        )
    if target.api_key is not None:
        status, _ = ask(target, "GET", path, key="not-" + target.api_key[:4], timeout_s=_HEALTH_TIMEOUT_S)
        if status not in (401, 403):
            raise NotReady(
                f"{path} returned {status} for a wrong key, so any user of the node could use the server", key_hint
            )


def _check_token(target: Target, timeout_s: float) -> float:
    """Return the real seconds that the generation of one token took."""
    body = {"model": target.served_name, "prompt": "1 2 3", "max_tokens": 1, "temperature": 0.0}
    begun_s = time.monotonic()
    status, answer = ask(
        target, "POST", target.endpoints.completions, key=target.api_key, timeout_s=timeout_s, body=body
    )
    if status != 200:
        raise NotReady(f"{target.endpoints.completions} returned {status}: {answer[:200].decode(errors='replace')}")
    if not json.loads(answer).get("choices"):
        raise NotReady(f"{target.endpoints.completions} returned no token")
    return time.monotonic() - begun_s


def port_owner(port: int, pids: Callable[[], list[int]]) -> bool | None:
    """Return whether a process of `pids` listens on the port; None: no listening process is visible in /proc.

    /proc/net/tcp contains the socket's inode, /proc/PID/fd its owner (`man 5 proc`).
    """
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for pid in pids():
        try:
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if any(f"socket:[{inode}]" in links for inode in inodes):
            return True
    return False


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for name in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


class Prober:
    """Checks repeatedly, in a thread, until the server is ready or `stop` is called.

    `report` is called with each new result, and with each result of a healthy server, because that is progress.
    """

    def __init__(
        self,
        target: Target,
        owns_port: Callable[[int], bool | None],
        report: Callable[[ProbeResult], None],
        *,
        every_s: float,
        request_timeout_s: float,
    ) -> None:
        self._stopped = threading.Event()
        self.in_flight = False
        """The request for a token has not been answered yet."""
        self._thread = threading.Thread(
            target=self._poll, args=(target, owns_port, report, every_s, request_timeout_s), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop checking. A check that is running is not reported."""
        self._stopped.set()

    def _poll(
        self,
        target: Target,
        owns_port: Callable[[int], bool | None],
        report: Callable[[ProbeResult], None],
        every_s: float,
        request_timeout_s: float,
    ) -> None:
        last = ""
        while not self._stopped.wait(every_s):
            result = check_readiness(target, owns_port, request_timeout_s, self._note_flight)
            if self._stopped.is_set():
                return
            if result.problem != last or result.healthy_at_s is not None:
                report(result)
            if result.ready_at_s is not None:
                return
            last = result.problem

    def _note_flight(self, in_flight: bool) -> None:
        self.in_flight = in_flight
