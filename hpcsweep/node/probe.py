"""Readiness of a server, proved step by step: it is ours, it is healthy, it lists the model, and it answers."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcsweep.engines.base import Endpoints
from hpcsweep.node.inbox import ProbeResult

_HEALTH_TIMEOUT_S = 5.0
_ANSWER_LIMIT_BYTES = 16 << 20
"""Of what a server answers when it is asked about itself; a page of metrics is a hundredth of it."""


@dataclass(frozen=True)
class Target:
    """The server to be asked. `api_key` None: this engine checks no key."""

    port: int
    endpoints: Endpoints
    served_name: str
    api_key: str | None
    host: str = "127.0.0.1"


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
    connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, response.read(_ANSWER_LIMIT_BYTES)
    finally:
        connection.close()


def problem_of(target: Target, owns_port: Callable[[int], bool | None], request_timeout_s: float) -> tuple[str, float]:
    """Why the server is not ready ("" when it is), and the real seconds that the one generated token took.

    Another server that happens to sit on the port is found out: the listening socket must belong to our own process
    tree (`owns_port`; None: cannot be told), our key must be accepted and another one refused, and the served name
    must be the one that was asked for.
    """
    try:
        status, _ = ask(target, "GET", target.endpoints.health, key=target.api_key, timeout_s=_HEALTH_TIMEOUT_S)
        if status != 200:
            return f"{target.endpoints.health} answers {status}", 0.0
        if owns_port(target.port) is False:
            return f"port {target.port} belongs to a process that is not ours", 0.0
        problem = _models_problem(target)
        if problem:
            return problem, 0.0
        return _token_problem(target, request_timeout_s)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        return f"no answer: {exc.__class__.__name__}: {exc}", 0.0


def _models_problem(target: Target) -> str:
    path = target.endpoints.models
    status, body = ask(target, "GET", path, key=target.api_key, timeout_s=_HEALTH_TIMEOUT_S)
    if status != 200:
        return f"{path} answers {status}"
    names = [str(entry.get("id")) for entry in json.loads(body).get("data", [])]
    if target.served_name not in names:
        return f"{path} lists {', '.join(names) or 'nothing'}, not {target.served_name}"
    if target.api_key is not None:
        status, _ = ask(target, "GET", path, key="not-" + target.api_key[:4], timeout_s=_HEALTH_TIMEOUT_S)
        if status not in (401, 403):
            return f"{path} answers {status} to a wrong key: it is not the server that we started"
    return ""


def _token_problem(target: Target, timeout_s: float) -> tuple[str, float]:
    body = {"model": target.served_name, "prompt": "1 2 3", "max_tokens": 1, "temperature": 0.0}
    begun_s = time.monotonic()
    status, answer = ask(
        target, "POST", target.endpoints.completions, key=target.api_key, timeout_s=timeout_s, body=body
    )
    if status != 200:
        return f"{target.endpoints.completions} answers {status}: {answer[:200].decode(errors='replace')}", 0.0
    if not json.loads(answer).get("choices"):
        return f"{target.endpoints.completions} answers without a token", 0.0
    return "", time.monotonic() - begun_s


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
    """Asks again and again, in a thread of its own, until the server is ready or `stop` is called."""

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
            problem, token_s = problem_of(target, owns_port, request_timeout_s)
            if self._stopped.is_set():
                return
            if not problem:
                tell(ProbeResult(time.monotonic(), "", token_s))
                return
            if problem != last:
                tell(ProbeResult(None, problem))
            last = problem
