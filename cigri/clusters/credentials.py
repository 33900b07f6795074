"""How a request to a cluster says who asks. Secrets stay out of logs, messages and reprs."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cigri.core.tokens import LISTING_LOGIN
from cigri.errors import TokenRefused

Headers = dict[str, str]
Ask = Callable[[str | None], str]

IDENTITY_HEADER = "X-Remote-Ident"
TOKEN_SIZE = 16 << 10


class Credentials(Protocol):
    """What is put into the headers of a request."""

    def headers(self, login: str | None, *, listing: bool = False) -> Iterator[Headers]:
        """Headers of a request by `login` (None: by nobody in particular), the best first.

        There is one at least, and more only where a list may be asked for in more than one name (`listing`):
        then the next is for when the cluster refuses who asked. May raise TokenRefused, Unreachable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity header alone: the cluster's front trusts this host."""

    header: str = IDENTITY_HEADER

    def headers(self, login: str | None, *, listing: bool = False) -> Iterator[Headers]:
        yield self.named(login)

    def named(self, login: str | None) -> Headers:
        """The header with the name."""
        if login is None:
            return {}
        if not re.fullmatch(r"[!-~]+", login):
            raise TokenRefused(f"the login {login!r} cannot be sent in a header")
        return {self.header: login}


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A bearer token from a file that only its owner can read, and the identity header.

    The file is read at each use, so that it can be replaced at any time.
    """

    path: Path
    header: str = IDENTITY_HEADER

    def headers(self, login: str | None, *, listing: bool = False) -> Iterator[Headers]:
        yield _bearing(Identity(self.header).named(login), read_token(self.path))


@dataclass(frozen=True, slots=True)
class OwnTokens:
    """Each user's own token, and the identity header.

    Lists are asked for with the lister's token where there is one, then with the user's, then with none:
    OAR3 itself shows them to everybody, fronts of sites may not.
    """

    ask: Ask = field(repr=False)
    header: str = IDENTITY_HEADER

    def headers(self, login: str | None, *, listing: bool = False) -> Iterator[Headers]:
        named = Identity(self.header).named(login)
        if login is not None and not listing:
            yield _bearing(named, self.ask(login))
            return
        if lister := self.ask(None):
            yield _bearing(Identity(self.header).named(LISTING_LOGIN), lister)
        if own := self._own(login or ""):
            yield _bearing(named, own)
        elif not lister:
            yield named

    def _own(self, login: str) -> str:
        try:
            return self.ask(login)
        except TokenRefused:
            return ""


@dataclass(frozen=True, slots=True)
class Password:
    """HTTP basic authentication of the grid, and the identity header: the cluster's front lets it name its users."""

    username: str
    password: str = field(repr=False)
    header: str = IDENTITY_HEADER

    def headers(self, login: str | None, *, listing: bool = False) -> Iterator[Headers]:
        word = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        yield {**Identity(self.header).named(login), "Authorization": f"Basic {word}"}


def _bearing(named: Headers, token: str) -> Headers:
    if not re.fullmatch(r"[!-~]+", token):
        raise TokenRefused("the token cannot be sent in a header")
    return {**named, "Authorization": f"Bearer {token}"}


def read_token(path: Path) -> str:
    """The token in a file. Raises TokenRefused when the file may not be used."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode) or stat.S_IMODE(state.st_mode) & 0o077:
                raise TokenRefused(f"the token file {path} must be a plain file of mode 0600")
            content = file.read(TOKEN_SIZE)
    except OSError as error:
        raise TokenRefused(f"the token file {path} cannot be read: {error.strerror}") from None
    token = content.strip()
    if not re.fullmatch(rb"[!-~]+", token):
        raise TokenRefused(f"the token file {path} does not hold one token")
    return token.decode()
