"""What a load sensor may be, and the number in what it says."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w)")


class NotASensor(ValueError):
    """The text names neither a command nor a URL; the message says what is wrong."""


class NoLoad(ValueError):
    """There is no load in what a sensor said."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, run as it is: no shell reads them."""

    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Url:
    """An address that is asked with GET."""

    address: str


def parse(text: str) -> Command | Url:
    """What the text names. Raises NotASensor."""
    if not text.isprintable():
        raise NotASensor("a load sensor is one line of printable characters")
    if "://" in text.partition(" ")[0]:
        return _url(text)
    try:
        words = shlex.split(text)
    except ValueError as fault:
        raise NotASensor(f"the command {text!r} cannot be split into words: {str(fault).lower()}") from None
    if not words or not words[0].startswith("/"):
        raise NotASensor("a load sensor is a command with an absolute path, or an http:// or https:// URL")
    return Command(tuple(words))


def _url(text: str) -> Url:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError as fault:
        raise NotASensor(f"{text} is no URL: {fault}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in text:
        raise NotASensor("the URL of a load sensor is http://HOST/... or https://HOST/..., without blanks")
    if parts.username is not None or parts.password is not None:
        raise NotASensor("the URL of a load sensor has no user and no password: everybody who may see it sees them")
    return Url(text)


def load(said: str) -> float:
    """The first number in what a sensor said. Raises NoLoad."""
    found = _NUMBER.search(said)
    if found is None:
        raise NoLoad("it says no number")
    value = float(found[0])
    if not math.isfinite(value) or value < 0:
        raise NoLoad(f"it says {found[0]}: a load is 0 or more")
    return value
