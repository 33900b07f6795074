"""Bodies of requests, kept on disk while they arrive.

Whoever sends slowly, or stops in the middle, holds a file and nothing else: no thread, no transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Annotated

from fastapi import Depends, Request

from cigri.api.context import Here
from cigri.api.errors import ApiError

NDJSON = "application/x-ndjson"
IN_MEMORY = 1 << 20
BLOCK = 1 << 18
JSON_MOST = 64 << 20  # read as a whole, it takes ten times as much memory
LINE_MOST = 1 << 20
SILENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Body:
    """A body that has arrived whole. `digest` tells it from every other."""

    file: IO[bytes]
    size: int
    digest: str
    is_lines: bool  # application/x-ndjson

    def text(self) -> str:
        """The whole body. Refuses what is too large to be read as one piece, or is not UTF-8."""
        if self.size > JSON_MOST:
            raise too_large(JSON_MOST, f"send it as {NDJSON}, as gridsub does: one line per task")
        self.file.seek(0)
        try:
            return self.file.read().decode()
        except UnicodeDecodeError as error:
            raise ApiError(400, f"The body is not UTF-8 text: see byte {error.start}", title="Error") from None

    def blocks(self) -> Iterator[bytes]:
        """Lines with their ends, many at a time; a line that is longer than a command can be comes unfinished."""
        self.file.seek(0)
        rest = b""
        # readline of a spooled file costs more than all that is done with a line here.
        while block := self.file.read(BLOCK):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if end:
                yield whole + end
            if len(rest) > LINE_MOST:
                break
        if rest:
            yield rest

    def lines(self) -> Iterator[bytes]:
        """The lines without their ends. Refuses one that is longer than a command can be."""
        number = 0
        for block in self.blocks():
            for line in block.removesuffix(b"\n").split(b"\n"):
                number += 1
                _short_enough(line, number)
                yield line.rstrip(b"\r")


def _short_enough(line: bytes, number: int) -> None:
    if len(line) > LINE_MOST:
        raise too_large(LINE_MOST, f"line {number} of the body is longer than that")


def too_large(most: int, advice: str) -> ApiError:
    return ApiError(413, f"The body may have {most} bytes here: {advice}", title="Content Too Large")


async def arrived(request: Request, here: Here) -> AsyncIterator[Body]:
    """The dependency that gives a writing endpoint the body; only who has a name may send one."""
    here.caller.named()
    most = here.settings.api_max_body
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise too_large(most, "the administrator may raise API_MAX_BODY")
    with closing(tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="cigri-body-")) as file:
        digest, size = hashlib.sha256(), 0
        digest.update(f"{request.method} {request.url.path} {_kind(request)}\n".encode())
        async for chunk in _chunks(request):
            size += len(chunk)
            if size > most:
                raise too_large(most, "the administrator may raise API_MAX_BODY")
            digest.update(chunk)
            file.write(chunk)
        yield Body(file, size, digest.hexdigest(), _kind(request) == NDJSON)


def _kind(request: Request) -> str:
    """Bodies are JSON whatever they say they are, unless they say that they are lines."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return NDJSON if kind == NDJSON else "application/json"


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(408, f"Nothing came for {SILENCE:.0f} s: nothing was done, send it again") from None
        yield chunk


ArrivedBody = Annotated[Body, Depends(arrived)]
