"""Ways to print that several commands have."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from cigri.client import Client

PAGE = 100


def write(lines: Iterable[str]) -> None:
    """Each on a line of its own."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def copy(pieces: Iterable[bytes]) -> None:
    """JSON as the API gave it."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def as_json(content: object, *, pretty: bool) -> str:
    """JSON in the API's own form."""
    if pretty:
        return json.dumps(content, ensure_ascii=False, indent=2)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def all_events(client: Client, path: str, **query: object) -> Iterator[Any]:
    """The events of all pages."""
    offset, total = 0, 1
    while offset < total:
        page = client.get(path, limit=PAGE, offset=offset, **query)
        yield from page["items"]
        offset, total = offset + PAGE, page["total"]
