"""Who calls: over the Unix socket the kernel says so; over TCP a personal token or a trusted front does.

A trusted front gives the name in a header (X-Cigri-User by default). Root and API_TRUSTED_USERS may give it over
the socket, API_TRUSTED_ADDRESSES over TCP. Whoever is not known is nobody: nobody may read, and not write.
"""

from __future__ import annotations

import ipaddress
import pwd
import re
import socket
import struct
from asyncio import BaseTransport
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from cigri.api.errors import ApiError, forbidden
from cigri.config import Settings

ROOT = 0
OVERFLOW = 65534  # what a user namespace makes of everybody whom it does not know
NOBODY = re.compile(r"(unknown|null)?", re.IGNORECASE)
LONGEST = 64
PERSONAL = re.compile(r"bearer\s+(cigri_\S*)\s*", re.IGNORECASE)


class Peer(NamedTuple):
    """The process at the other end of a Unix socket, when it connected."""

    pid: int
    uid: int
    gid: int


class PeerProtocol(H11Protocol):
    """HTTP that keeps who is at the other end of the socket; each request finds it as `request.state.peer`.

    Should uvicorn stop handing `app_state` on, nobody is known any more: no caller is ever taken for another.
    """

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        peer, sock = None, transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            peer = Peer(*struct.unpack("3i", data))
        self.app_state = {**self.app_state, "peer": peer}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `name` is None for nobody, and then `why` says what to do about it."""

    name: str | None
    administrator: bool = False
    why: str = ""
    by_token: bool = False

    def named(self) -> str:
        """The name; refuses nobody."""
        if self.name is None:
            raise forbidden(f"Access denied: not authenticated ({self.why})")
        return self.name

    def owns(self, user: str) -> bool:
        """Whether the caller may do what `user` may."""
        return self.administrator or (self.name is not None and self.name == user)

    def must_own(self, campaign_id: int, user: str) -> None:
        """Refuse all but the owner of the campaign and administrators."""
        self.named()
        if not self.owns(user):
            raise forbidden(f"Campaign {campaign_id} does not belong to you: it belongs to {user}")


def caller_of(request: Request, settings: Settings, token_user: Callable[[str], str | None]) -> Caller:
    """Who sent the request. Refuses whoever gives another's name without being trusted to.

    `token_user` says whose a personal token is, None for one that is not valid.
    """
    if personal := PERSONAL.fullmatch(request.headers.get("authorization", "")):
        return _by_token(request, settings, token_user(personal[1]))
    given = request.headers.get(settings.api_header_username)
    peer = cast("Peer | None", getattr(request.state, "peer", None))
    own, why = (None, "this address has no user") if peer is None else _account(peer)
    trusted = _trusted_address(request, settings) if peer is None else _trusted_peer(peer, own, settings)
    if given is None:
        if own is not None and own not in settings.api_trusted_users:
            return _known(own, settings)
        return Caller(None, why=why or f"no header {settings.api_header_username} came")
    given = _readable(given).strip()
    if trusted:
        if NOBODY.fullmatch(given) or not _possible(given):
            return Caller(None, why=f"the header {settings.api_header_username} names nobody")
        return _known(given, settings)
    if own is not None and own == given:
        return _known(own, settings)
    if own is None:
        return Caller(None, why=f"{why}; it is not in API_TRUSTED_ADDRESSES" if peer is None else why)
    raise forbidden(f"You are {own}: the header {settings.api_header_username} is for root and API_TRUSTED_USERS")


def _by_token(request: Request, settings: Settings, user: str | None) -> Caller:
    """The token decides, whatever else came: a name beside it must be the same."""
    if user is None:
        message = "This personal token is unknown, revoked or expired: `gridtoken --api` makes another"
        raise ApiError(401, message, headers={"WWW-Authenticate": "Bearer"})
    given = _readable(request.headers.get(settings.api_header_username, "")).strip()
    if not NOBODY.fullmatch(given) and given != user:
        raise forbidden(f"The token is one of {user}: {settings.api_header_username} may name nobody else")
    return Caller(user, user in settings.api_administrators, by_token=True)


def _known(name: str, settings: Settings) -> Caller:
    return Caller(name, name in settings.api_administrators)


def _account(peer: Peer) -> tuple[str | None, str]:
    """The account's name, or None and why there is none."""
    if peer.uid == OVERFLOW:
        return None, "uid 65534 may be anybody outside of this container"
    try:
        return pwd.getpwuid(peer.uid).pw_name, ""
    except KeyError:
        return None, f"uid {peer.uid} has no account on the API server's machine"


def _trusted_peer(peer: Peer, name: str | None, settings: Settings) -> bool:
    return peer.uid == ROOT or (name is not None and name in settings.api_trusted_users)


def _trusted_address(request: Request, settings: Settings) -> bool:
    if request.client is None:
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    networks = [ipaddress.ip_network(word, strict=False) for word in settings.api_trusted_addresses]
    return any((mapped or address) in network for network in networks)


def _readable(header: str) -> str:
    """Headers arrive as latin-1; names are UTF-8 where they are that."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _possible(name: str) -> bool:
    return len(name) <= LONGEST and name.isprintable() and not re.search(r"[\s/:]", name)
