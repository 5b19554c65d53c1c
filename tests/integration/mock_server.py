"""A server with the OpenAI streaming API that misbehaves when asked to: `python mock_server.py`, prints its port.

What it does is said by the prompt: `fault=NAME` anywhere in the request's text; no such word: a clean answer. Knobs
are in the body: `mock_ttft_s`, `mock_itl_s`. GET /truth tells what it has seen.
"""

import asyncio
import json
import os
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


async def http_500(x: Exchange) -> None:
    text = b'{"error": {"message": "no memory"}}'
    await x.head("500 Internal Server Error", "application/json", content_length=str(len(text)))
    await x.raw(text)


async def cut(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    raise Cut


async def cut_in_an_event(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    await x.raw(b"40\r\ndata: {")
    raise Cut


async def cut_before_the_answer(x: Exchange) -> None:
    raise Cut


async def cut_after_the_last_event(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.chunk(x.usage(x.tokens))
    await x.chunk(b"data: [DONE]\n\n")
    raise Cut


async def stall(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    await asyncio.sleep(3600)


async def stall_at_once(x: Exchange) -> None:
    await x.head()
    await asyncio.sleep(3600)


async def error_in_stream(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    await x.chunk(data({"error": {"message": "engine is dead", "code": 500}}))
    await x.end()


async def error_event(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    await x.chunk(b"event: error\n" + data({"message": "engine is dead"}))
    await x.end()


async def ended_early(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    await x.raw(b"0\r\n\r\n")


async def no_done(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.chunk(x.usage(x.tokens))
    await x.raw(b"0\r\n\r\n")


async def no_finish_reason(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens - 1)
    await x.chunk(x.usage(x.tokens))
    await x.end()


async def no_usage(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.end()


async def usage_below_chunks(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.chunk(x.usage(x.tokens - 2))
    await x.end()


async def usage_above_limit(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.chunk(x.usage(x.tokens + 1))
    await x.end()


async def usage_without_numbers(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(x.tokens)
    await x.chunk(data({"choices": [], "usage": {"prompt_tokens": "many"}}))
    await x.end()


async def short(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(3)
    await x.chunk(x.event(None, finish="stop"))
    await x.chunk(x.usage(3))
    await x.end()


async def no_tokens(x: Exchange) -> None:
    await x.head()
    await x.chunk(x.event("", role="assistant"))
    await x.chunk(x.event(None, finish="stop"))
    await x.chunk(x.usage(0))
    await x.end()


async def not_streamed(x: Exchange) -> None:
    text = json.dumps({"choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}]}).encode()
    await x.head("200 OK", "application/json", content_length=str(len(text)))
    await x.raw(text)


async def bad_json(x: Exchange) -> None:
    await x.head()
    await x.tokens_out(2)
    await x.chunk(b"data: {oops\n\n")
    await x.end()


async def bad_http(x: Exchange) -> None:
    await x.raw(b"220 ready for mail\r\n\r\n")


async def wrong_chunk_size(x: Exchange) -> None:
    await x.head()
    await x.raw(b"5\r\n" + x.event(" t", finish=None) + b"\r\n")


async def late_after_role(x: Exchange) -> None:
    await x.head()
    await x.chunk(x.event("", role="assistant"))
    await asyncio.sleep(0.3)
    for index in range(x.tokens):
        await x.chunk(x.event(f" t{index}", finish="length" if index == x.tokens - 1 else None))
    await x.chunk(x.usage(x.tokens))
    await x.end()


async def half_characters(x: Exchange) -> None:
    """A character of four bytes comes in two reads; a token that is half a character has no text."""
    await x.head()
    await x.chunk(x.event("", role="assistant") if x.chat else x.event(""))
    whole = x.event(" \U0001f600")
    middle = whole.index("\U0001f600".encode()) + 2
    await x.raw(b"%x\r\n%s" % (len(whole), whole[:middle]))
    await asyncio.sleep(0.02)
    await x.raw(whole[middle:] + b"\r\n")
    await x.chunk(x.event(""))
    await x.chunk(x.event("\U0001f601", finish="length"))
    await x.chunk(x.usage(x.tokens))
    await x.end()


async def two_tokens_in_a_chunk(x: Exchange) -> None:
    await x.head()
    for index in range(x.tokens // 2):
        await x.chunk(x.event(f" a{index} b{index}", finish="length" if index == x.tokens // 2 - 1 else None))
    await x.chunk(x.usage(x.tokens))
    await x.end()


async def two_events_in_a_read(x: Exchange) -> None:
    await x.head()
    for index in range(x.tokens // 2):
        last = index == x.tokens // 2 - 1
        await x.chunk(x.event(" a") + x.event(" b", finish="length" if last else None))
    await x.chunk(x.usage(x.tokens) + b"data: [DONE]\n\n")
    await x.raw(b"0\r\n\r\n")


def whole_body(x: Exchange, newline: bytes = b"\n") -> bytes:
    events = [x.event(f" t{i}", finish="length" if i == x.tokens - 1 else None) for i in range(x.tokens)]
    body = b": a comment\n\n" + b"".join(events) + x.usage(x.tokens) + b"data: [DONE]\n\n"
    return body.replace(b"\n", newline)


async def odd_chunks(x: Exchange) -> None:
    """Chunks of 7 bytes that know nothing of events, with extensions, and a trailer; reads that cut anywhere."""
    body = whole_body(x)
    chunks = b"".join(b"7;x=y\r\n%s\r\n" % body[i : i + 7] for i in range(0, len(body) - 7, 7))
    rest = body[(len(body) - 1) // 7 * 7 :]
    stream = chunks + b"%X\r\n%s\r\n0\r\nX-Trailer: yes\r\n\r\n" % (len(rest), rest)
    await x.head()
    for start in range(0, len(stream), 97):
        await x.raw(stream[start : start + 97])
        await asyncio.sleep(0.001)


async def byte_by_byte(x: Exchange) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    body = whole_body(x)
    stream = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for start in range(len(stream)):
        await x.raw(stream[start : start + 1])
        await asyncio.sleep(0)


async def crlf(x: Exchange) -> None:
    await x.head()
    body = whole_body(x, b"\r\n")
    for start in range(0, len(body), 50):
        await x.chunk(body[start : start + 50])
    await x.raw(b"0\r\n\r\n")


async def cr(x: Exchange) -> None:
    await x.head()
    await x.chunk(whole_body(x, b"\r"))
    await x.raw(b"0\r\n\r\n")


async def content_length(x: Exchange) -> None:
    body = whole_body(x)
    await x.head(content_length=str(len(body)))
    await x.raw(body)


async def until_close(x: Exchange) -> None:
    await x.head(connection="close")
    await x.raw(whole_body(x))
    raise Cut


async def close_when_idle(x: Exchange) -> None:
    await clean(x)
    x.writer.close()


FAULTS = {name: value for name, value in list(globals().items()) if asyncio.iscoroutinefunction(value)}


class Server:
    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.connections = self.open_now = self.open_most = 0
        self.keys: set[str] = set()

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
            figures = {"seen": self.seen, "connections": self.connections, "open_most": self.open_most}
            told = json.dumps({**figures, "keys": sorted(self.keys)})
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(told), told.encode()))
            return True
        key = re.search(r"authorization: (.+)\r\n", head, re.IGNORECASE)
        if key:
            self.keys.add(key[1])
        exchange = Exchange(writer, path, json.loads(body))
        self.seen[exchange.fault] = self.seen.get(exchange.fault, 0) + 1
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            await FAULTS[exchange.fault](exchange)
        finally:
            self.open_now -= 1
        return not writer.is_closing()


async def main() -> None:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends when the test closes the pipe
    os._exit(0)  # with answers under way there is nothing to end in order


if __name__ == "__main__":
    asyncio.run(main())
