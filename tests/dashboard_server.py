"""A dashboard that the command line started, and a client that sends exactly what a test says."""

import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cli import Cli

LINK = re.compile(r"https?://\S+token=([\w-]+)")


@dataclass
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Dashboard:
    """A running `hpcsweep dashboard`. `printed`: the lines of its stdout so far."""

    process: "subprocess.Popen[str]"
    printed: list[str] = field(default_factory=list)
    cookie: str = ""
    port: int = 0
    reader: threading.Thread = field(default_factory=threading.Thread)

    def link(self, number: int, seconds: float = 20.0) -> str:
        """Token of the n-th link that was printed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = LINK.findall("".join(self.printed))
            if len(found) > number:
                return found[number]
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.02)
        raise AssertionError(f"no link {number}: {self.printed}")

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """Send a request with the session's cookie. Underscores in names of headers are dashes."""
        sent = {"Connection": "close"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie and "Cookie" not in sent:
            sent["Cookie"] = self.cookie
        connection = self.connection()
        connection.putrequest(method, path, skip_host="Host" in sent)
        if body is not None:
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(None if body is None else body.encode())
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)

    def log_in(self, number: int = 0) -> Answer:
        answer = self.ask(f"/?token={self.link(number)}", Cookie="")
        assert answer.status == 303, answer
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def events(self, path: str, **headers: str) -> "Events":
        return Events(self, path, headers)

    def stop(self) -> None:
        """Kill the process, if it has not ended, and close what the test has open of it."""
        self.process.kill()
        self.process.wait()
        self.reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()

    def interrupt(self) -> tuple[int, float, str]:
        """Press Ctrl-C; exit code, seconds until the process ended, stderr."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        return code, time.monotonic() - begun, self.process.stderr.read()


class Events:
    """An open stream of server-sent events."""

    def __init__(self, dashboard: Dashboard, path: str, headers: dict[str, str]) -> None:
        self.connection = dashboard.connection()
        self.connection.request("GET", path, headers={"Cookie": dashboard.cookie, "Connection": "close"} | headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.deadline = float("inf")

    def __iter__(self) -> Iterator[tuple[str, Any, str]]:
        """Yield (kind, data, id)."""
        kind, data, event_id = "", "", ""
        while (line := self.response.readline().decode()) and time.monotonic() < self.deadline:
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = value
            elif name == "id":
                event_id = value
            elif not name and kind:
                yield kind, json.loads(data), event_id
                kind, data = "", ""

    def until(self, wanted: Any, seconds: float = 40.0) -> Any:
        """The first event for which `wanted(kind, data)` is true."""
        self.deadline = time.monotonic() + seconds
        seen = []
        for kind, data, event_id in self:
            if wanted(kind, data):
                return kind, data, event_id
            seen.append((kind, str(data)[:300]))
        raise AssertionError(f"the stream ended, or nothing like it came in {seconds} s: {seen[-5:]}")

    def close(self) -> None:
        if self.connection.sock is not None:
            self.connection.sock.close()
        self.response.close()
        self.connection.close()


def start(cli: Cli, *options: str) -> Dashboard:
    """Start a dashboard on a free port."""
    process = cli.start("dashboard", "--refresh", "1s", *options)
    made = Dashboard(process)

    def read() -> None:
        for line in process.stdout:
            made.printed.append(line)

    made.reader = threading.Thread(target=read, daemon=True)
    made.reader.start()
    made.link(0)
    made.port = int(re.search(r"ssh -L (\d+):", "".join(made.printed))[1])
    return made
