"""HTTP/1.1 on asyncio's streams: small, and close enough to the socket for the faults of faults.py."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http
import logging
import socket
import struct

from cigri.local.minioar.faults import Fault, Faults
from cigri.local.minioar.routes import DATABASE_ROUTES, Reply, Request, Routes, failure, parse, unauthorized

HEAD_LIMIT = 1 << 20
BODY_LIMIT = 1 << 29

log = logging.getLogger(__name__)


class Malformed(Exception):
    """The bytes are no HTTP request."""


async def _receive(reader: asyncio.StreamReader) -> Request | None:
    """The next request of the connection, None when the client has left."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise Malformed(first)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > BODY_LIMIT:
        raise Malformed("a request must say its length")
    body = await reader.readexactly(int(length))
    return parse(words[0], words[1], headers, body)


def _packed(reply: Reply) -> bytes:
    phrase = http.HTTPStatus(reply.status).phrase
    lines = [f"HTTP/1.1 {reply.status} {phrase}", f"content-length: {len(reply.body)}"]
    if reply.body:
        lines.append(f"content-type: {reply.kind}")
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body


class Web:
    """Serves the routes, with the faults that are asked for."""

    def __init__(self, routes: Routes, faults: Faults) -> None:
        self.routes = routes
        self.faults = faults
        self.connections: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Begin to take requests."""
        return await asyncio.start_server(self._connected, host, port, limit=HEAD_LIMIT, backlog=256)

    async def hang_up(self) -> None:
        """Close all connections."""
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while (asked := await _receive(reader)) is not None:
                if not await self._serve(asked, reader, writer):
                    break
        except (Malformed, asyncio.LimitOverrunError):
            writer.write(_packed(Reply(400, b"Invalid HTTP request received.", "text/plain")))
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, asked: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection may be used again."""
        fault = None if asked.path.startswith("/minioar/") else self.faults.draw(asked.method, asked.path)
        if fault is not None:
            log.info("%s %s: %s %s", asked.method, asked.path, fault.kind, fault.when)
        if fault is None or fault.kind in ("delay", "slow_reply"):
            reply = self._answer(asked) if fault is None or fault.kind == "slow_reply" else None
            if fault is not None:
                await asyncio.sleep(1 if fault.seconds is None else fault.seconds)
            writer.write(_packed(reply or self._answer(asked)))
            await writer.drain()
            return asked.headers.get("connection", "").lower() != "close"
        return await self._spoil(fault, asked, reader, writer)

    def _answer(self, asked: Request) -> Reply:
        try:
            reply = self.routes.answer(asked)
        except Exception:
            log.exception("%s %s", asked.method, asked.path)
            return failure()
        log.debug("%s %s: %d", asked.method, asked.path, reply.status)
        return reply

    async def _spoil(
        self, fault: Fault, asked: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if fault.kind in ("close", "reset", "no_answer", "late"):
            if fault.kind == "late":
                # Not a part of this connection's work: it goes on when the client has left.
                asyncio.get_running_loop().call_later(fault.seconds or 60, self._answer, asked)
            elif fault.when == "after":
                self._answer(asked)
            if fault.kind in ("no_answer", "late"):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), fault.seconds or 3600)
            if fault.kind == "reset":
                _reset(writer)
            return False
        data = _packed(self._spoilt(fault, asked))
        if fault.kind == "truncate":
            head, _, body = data.partition(b"\r\n\r\n")
            data = head + b"\r\n\r\n" + body[: len(body) // 2]
        writer.write(data)
        await writer.drain()
        return fault.kind != "truncate"

    def _spoilt(self, fault: Fault, asked: Request) -> Reply:
        if fault.kind == "error_before":
            return failure()
        if fault.kind == "unauthorized":
            return unauthorized()
        if fault.kind == "wedged":
            return self._wedged(asked)
        if fault.kind in ("half_array", "hold_corpse"):
            half, corpse = fault.kind == "half_array", fault.kind == "hold_corpse"
            self._answer(dataclasses.replace(asked, half=half, corpse=corpse))
            return failure()
        reply = self._answer(asked)
        if fault.kind == "twice":
            self._answer(asked)
        match fault.kind:
            case "error_after" | "twice":
                return failure()
            case "garbage":
                return Reply(200, b"<html>\x00\xff{[not json")
            case "empty":
                return Reply(200, b"{}")
            case _:
                return reply

    def _wedged(self, asked: Request) -> Reply:
        """As OAR3 with a broken database session: 500 where it needs it, and a lie about a job to be deleted."""
        if asked.method == "DELETE" and "array" not in asked.query:
            return self.routes.deny_job(asked) or self._answer(asked)
        return failure() if asked.path.startswith(DATABASE_ROUTES) else self._answer(asked)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
