"""How a request to a cluster says who asks. Secrets stay out of logs, messages and reprs."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cigri.errors import TokenRefused

IDENTITY_HEADER = "X-Remote-Ident"
TOKEN_SIZE = 16 << 10


class Credentials(Protocol):
    """What is put into the headers of a request."""

    def headers(self, login: str | None) -> dict[str, str]:
        """Headers of a request by `login` (None: by nobody in particular). May raise TokenRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity header alone: the cluster's front trusts this host."""

    header: str = IDENTITY_HEADER

    def headers(self, login: str | None) -> dict[str, str]:
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

    def headers(self, login: str | None) -> dict[str, str]:
        return {**Identity(self.header).headers(login), "Authorization": f"Bearer {read_token(self.path)}"}


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
