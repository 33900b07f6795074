"""The JSON document in the body of a reply, whoever sent it."""

from __future__ import annotations

import contextlib
import json
from typing import Any, NoReturn

import msgspec


def decode(body: bytes) -> Any:
    """The document. Raises ValueError, for NaN and bottomless nesting too."""
    with contextlib.suppress(ValueError, RecursionError):  # quick, but it knows no half of a surrogate pair
        return msgspec.json.decode(body)
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("the reply is no JSON") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
