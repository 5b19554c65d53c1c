"""A server with the OpenAI streaming API that misbehaves when asked to: `python mock_server.py`, prints its port.

What it does is said by the prompt: `fault=NAME` anywhere in the request's text; no such word: a clean answer. Knobs
are in the body: `mock_ttft_s`, `mock_itl_s`. GET /truth tells what it has seen.
"""

import asyncio
import json
import re
import sys
from typing import Any

_FAULT = re.compile(r"fault=([a-z_0-9]+)")


class Cut(Exception):
    """Close the connection without another word."""


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> None:
        self.writer, self.body, self.chat = writer, body, "chat" in path
        self.tokens = int(body.get("max_tokens") or 16)
        text = json.dumps(body.get("messages") or body.get("prompt"))
        self.prompt_tokens = len(text.split())
        match = _FAULT.search(text)
        self.fault = match[1] if match else "clean"

    async def head(self, status: str = "200 OK", kind: str = "text/event-stream; charset=utf-8", **more: str) -> None:
        headers = {"content-type": kind, **{k.replace("_", "-"): v for k, v in more.items()}}
        if "content-length" not in headers and headers.get("connection") != "close":
            headers["transfer-encoding"] = "chunked"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self.raw(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode())

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, text: str | None, finish: str | None = None, role: str | None = None) -> bytes:
        if self.chat:
            delta = {key: value for key, value in (("role", role), ("content", text)) if value is not None}
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
        else:
            choice = {"index": 0, "text": text or "", "finish_reason": finish}
        return data({"id": "x", "object": "chunk", "choices": [choice]})

    def usage(self, completion: int) -> bytes:
        prompt = self.prompt_tokens
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return data({"id": "x", "object": "chunk", "choices": [], "usage": counts})

    async def tokens_out(self, count: int) -> None:
        await asyncio.sleep(float(self.body.get("mock_ttft_s", 0)))
        if self.chat:
            await self.chunk(self.event("", role="assistant"))
        for index in range(count):
            if index:
                await asyncio.sleep(float(self.body.get("mock_itl_s", 0)))
            await self.chunk(self.event(f" t{index}", finish="length" if index == self.tokens - 1 else None))

    async def end(self) -> None:
        await self.chunk(b"data: [DONE]\n\n")
        await self.raw(b"0\r\n\r\n")


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


async def clean(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.chunk(x.usage(x.tokens))
    await x.end()


async def answer(x: Exchange) -> None:
    await globals().get(f"fault_{x.fault}", clean)(x)


class Server:
    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.connections = self.open_now = self.open_most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self.one(reader, writer):
                pass
        except (Cut, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        if method == "GET":
            told = json.dumps({"seen": self.seen, "connections": self.connections, "open_most": self.open_most})
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(told), told.encode()))
            return True
        exchange = Exchange(writer, path, json.loads(body))
        self.seen[exchange.fault] = self.seen.get(exchange.fault, 0) + 1
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            await answer(exchange)
        finally:
            self.open_now -= 1
        return not writer.is_closing()


async def main() -> None:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends when the test closes the pipe


if __name__ == "__main__":
    asyncio.run(main())
