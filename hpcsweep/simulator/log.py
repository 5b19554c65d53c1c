"""Write log lines in the format of vLLM 0.32."""

import os
import sys
import time

VERSION = "0.32.0"
"""The version of vLLM whose log format is used."""


class ServerLog:
    """Writes lines to standard output with the prefix of a vLLM process, and flushes each of them."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def line(self, text: str, location: str, process: str = "APIServer", level: str = "INFO") -> None:
        """Write each line of `text` as `(EngineCore pid=7) INFO 11-21 01:19:00 [core.py:134] text`."""
        stamp = time.strftime("%m-%d %H:%M:%S")
        for part in text.split("\n"):
            self.raw(f"({process} pid={self._pid}) {level} {stamp} [{location}] {part}")

    def raw(self, text: str) -> None:
        """Write a line without a prefix: progress bars, tracebacks, lines of uvicorn."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def banner(self, model: str, arguments: dict[str, object]) -> None:
        """Write the first lines: version, model, and arguments that differ from the defaults."""
        logo = (
            "",
            "       █     █     █▄   ▄█",
            f" ▄▄ ▄█ █     █     █ ▀▄▀ █  version {VERSION}",
            f"  █▄█▀ █     █     █     █  model   {model}",
            "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀",
            "",
        )
        for row in logo:
            self.line(row, "api_utils.py:347")
        self.line(f"non-default args: {arguments}", "api_utils.py:286")

    def access(self, peer: str, request: str, status: str) -> None:
        """Write the line of one HTTP request."""
        self.raw(f'INFO:     {peer} - "{request} HTTP/1.1" {status}')
