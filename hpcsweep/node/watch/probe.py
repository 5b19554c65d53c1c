"""Readiness of a server, proved step by step: it is ours, it is healthy, it lists the model, and it answers."""

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
"""Of what a server answers when it is asked about itself; a page of metrics is a hundredth of it."""


@dataclass(frozen=True)
class Target:
    """The server to be asked. `api_key` None: it checks no key. `socket_path`: it listens there, on no port."""

    port: int
    endpoints: Endpoints
    served_name: str
    api_key: str | None
    host: str = "127.0.0.1"
    socket_path: str | None = None

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a new connection, not yet open."""
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
    """HTTP status and body of one request. Raises OSError or HTTPException when there is no answer."""
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
    """One step of the readiness check failed; its text is the problem. `hint`: what usually causes it."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


def check_readiness(
    target: Target,
    owns_port: Callable[[int], bool | None],
    request_timeout_s: float,
    in_flight: Callable[[bool], None] = lambda _: None,
) -> ProbeResult:
    """Check every step of readiness, and return the first problem or the time at which the server was ready.

    Another server that happens to sit on the port is found out: the listening socket must belong to our own process
    tree (`owns_port`; None: cannot be told), our key must be accepted and another one refused, and the served name
    must be the one that was asked for. A Unix socket is in a folder of the attempt: no other server can be there.
    `healthy_at_s` of the result is set for a server of ours that answered every request of the check, the last one
    perhaps with an error: it is not stuck.
    `in_flight` is called with True before the token is asked for, with False after.
    """
    healthy_at_s: float | None = None
    try:
        status, _ = ask(target, "GET", target.endpoints.health, key=target.api_key, timeout_s=_HEALTH_TIMEOUT_S)
        if status != 200:
            raise NotReady(f"{target.endpoints.health} answers {status}")
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
    key_hint = "the key of the server did not arrive there: does a container or wrapper drop its variables?"
    status, body = ask(target, "GET", path, key=target.api_key, timeout_s=_HEALTH_TIMEOUT_S)
    if status in (401, 403):
        raise NotReady(f"{path} answers {status} to our key", key_hint)
    if status != 200:
        raise NotReady(f"{path} answers {status}")
    names = [str(entry.get("id")) for entry in json.loads(body).get("data", [])]
    if target.served_name not in names:
        raise NotReady(
            f"{path} lists {', '.join(names) or 'nothing'}, not {target.served_name}",
            "does a wrapper or config file change --served-model-name?",
        )
    if target.api_key is not None:
        status, _ = ask(target, "GET", path, key="not-" + target.api_key[:4], timeout_s=_HEALTH_TIMEOUT_S)
        if status not in (401, 403):
            raise NotReady(f"{path} answers {status} to a wrong key: any user of the node could use it", key_hint)


def _check_token(target: Target, timeout_s: float) -> float:
    """Real seconds that one generated token took."""
    body = {"model": target.served_name, "prompt": "1 2 3", "max_tokens": 1, "temperature": 0.0}
    begun_s = time.monotonic()
    status, answer = ask(
        target, "POST", target.endpoints.completions, key=target.api_key, timeout_s=timeout_s, body=body
    )
    if status != 200:
        raise NotReady(f"{target.endpoints.completions} answers {status}: {answer[:200].decode(errors='replace')}")
    if not json.loads(answer).get("choices"):
        raise NotReady(f"{target.endpoints.completions} answers without a token")
    return time.monotonic() - begun_s


def port_owner(port: int, pids: Callable[[], list[int]]) -> bool | None:
    """Whether a process of `pids` listens on the port; None: nobody can be seen listening, or /proc does not tell.

    /proc/net/tcp names the socket's inode, /proc/PID/fd the owner (`man 5 proc`).
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
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


class Prober:
    """Asks again and again, in a thread of its own, until the server is ready or `stop` is called.

    `tell` gets each result that is new, and each one of a healthy server: that is progress.
    """

    def __init__(
        self,
        target: Target,
        owns_port: Callable[[int], bool | None],
        tell: Callable[[ProbeResult], None],
        *,
        every_s: float,
        request_timeout_s: float,
    ) -> None:
        self._stopped = threading.Event()
        self.in_flight = False
        """The request for one token is under way."""
        self._thread = threading.Thread(
            target=self._ask, args=(target, owns_port, tell, every_s, request_timeout_s), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; an answer under way is not told."""
        self._stopped.set()

    def _ask(
        self,
        target: Target,
        owns_port: Callable[[int], bool | None],
        tell: Callable[[ProbeResult], None],
        every_s: float,
        request_timeout_s: float,
    ) -> None:
        last = ""
        while not self._stopped.wait(every_s):
            result = check_readiness(target, owns_port, request_timeout_s, self._note_flight)
            if self._stopped.is_set():
                return
            if result.problem != last or result.healthy_at_s is not None:
                tell(result)
            if result.ready_at_s is not None:
                return
            last = result.problem

    def _note_flight(self, in_flight: bool) -> None:
        self.in_flight = in_flight
