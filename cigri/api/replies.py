"""Answers: JSON on one line, or indented with `?pretty`; long lists as a stream; links."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

PREFIX_HEADER = "X-Cigri-Api-Path-Prefix"
BLOCK = 4000  # items of a stream that leave together

Json = dict[str, Any]


def pretty(request: Request) -> bool:
    """Whether `?pretty` was asked for; `pretty=false` is the one way to give it and not mean it."""
    return request.query_params.get("pretty", "false") != "false"


def dump(content: Any, *, indented: bool) -> str:
    """JSON with an end of line."""
    if indented:
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def reply(request: Request, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer. Characters that UTF-8 cannot carry are shown as question marks."""
    body = dump(content, indented=pretty(request)).encode("utf-8", "replace")
    return Response(body, status, headers, media_type="application/json")


def stream(request: Request, head: Json, key: str, items: Iterable[Any]) -> StreamingResponse:
    """An answer with a list of any length under `key`, after what is in `head`."""
    write = _indented if pretty(request) else _compact
    return StreamingResponse(write(head, key, items), media_type="application/json")


def _compact(head: Json, key: str, items: Iterable[Any]) -> Iterator[bytes]:
    start = dump(head, indented=False).removesuffix("}\n") if head else "{"
    yield f"{start}{',' if head else ''}{json.dumps(key)}:[".encode()
    for first, block in _blocks(items):
        text = dump(block, indented=False).removeprefix("[").removesuffix("]\n")
        yield ("" if first else ",").encode() + text.encode("utf-8", "replace")
    yield b"]}\n"


def _indented(head: Json, key: str, items: Iterable[Any]) -> Iterator[bytes]:
    start = dump(head, indented=True).removesuffix("\n}\n") + ",\n" if head else "{\n"
    yield f"{start}  {json.dumps(key)}: [".encode()
    empty = True
    for first, block in _blocks(items):
        empty = False
        text = dump({"": block}, indented=True).removeprefix('{\n  "": [').removesuffix("\n  ]\n}\n")
        yield ("" if first else ",").encode() + text.encode("utf-8", "replace")
    yield b"]\n}\n" if empty else b"\n  ]\n}\n"


def _blocks(items: Iterable[Any]) -> Iterator[tuple[bool, list[Any]]]:
    """Lists of at most BLOCK items, each with whether it is the first."""
    first, block = True, []
    for item in items:
        block.append(item)
        if len(block) == BLOCK:
            yield first, block
            first, block = False, []
    if block:
        yield first, block


class Urls:
    """Links, under the prefix that a front in front of the API asked for."""

    def __init__(self, request: Request) -> None:
        prefix = request.headers.get(PREFIX_HEADER, "").strip("/")
        self._prefix = f"/{prefix}" if prefix else ""

    def __call__(self, path: str) -> str:
        """`path` (without a slash before it) as it is reached."""
        return f"{self._prefix}/{path}"

    def link(self, rel: str, path: str, title: str = "") -> Json:
        """One element of `links`."""
        link = {"rel": rel, "href": self(path)}
        return link | {"title": title} if title else link
