"""What people may give as the place where they are told. Only what passes here reaches a header or a socket."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from urllib.parse import urlsplit

from cigri.core.telling import Channel

LONGEST_ADDRESS = 254
LONGEST_URL = 2000
# The address that a mail server takes as it is: no quoting, no comments, nothing beyond ASCII.
_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
_MAIL = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.-]{{0,63}}@{_HOST}")
_JID = re.compile(rf"[^\s@/<>'\"&:\x00-\x20\x7f]{{1,255}}@{_HOST}(/[^\s\x00-\x20\x7f]{{1,255}})?")
_SHOWN = re.compile(r"https?://[^/]+/\.\.\.[0-9a-f]{12}")  # see `shown`


def checked(channel: Channel, identity: str) -> str:
    """The identity without blanks around it. Raises ValueError with what was expected."""
    return _CHECKS[channel](identity.strip())


def _mail(address: str) -> str:
    if len(address) > LONGEST_ADDRESS or not _MAIL.fullmatch(address) or ".." in address:
        raise ValueError(f"a mail address like name@example.org is expected, not {address[:80]!r}")
    return address


def _jabber(identity: str) -> str:
    if len(identity) > LONGEST_ADDRESS or not identity.isprintable() or not _JID.fullmatch(identity):
        raise ValueError(f"an XMPP identity like name@jabber.example.org is expected, not {identity[:80]!r}")
    return identity


def _webhook(url: str) -> str:
    if _SHOWN.fullmatch(url):
        raise ValueError("the whole web address is expected, not the short one that lists show")
    expected = "a web address like https://chat.example.org/hooks/... is expected"
    if len(url) > LONGEST_URL or not url.isascii() or not re.fullmatch(r"[!-~]+", url):
        raise ValueError(f"{expected}, of at most {LONGEST_URL} plain characters")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(expected)
    if "@" in parts.netloc:
        raise ValueError("a web address without name and password in it is expected")
    if not re.fullmatch(_HOST, parts.hostname or "") and not _address(parts.hostname or ""):
        raise ValueError(expected)
    return url


_CHECKS: Mapping[Channel, Callable[[str], str]] = {
    Channel.MAIL: _mail,
    Channel.JABBER: _jabber,
    Channel.WEBHOOK: _webhook,
}


def shown(channel: Channel, identity: str) -> str:
    """The name under which a subscription is kept and listed. Whoever has the URL of a webhook may write there: its
    name has the host and a mark that tells it from others."""
    if channel is not Channel.WEBHOOK or _SHOWN.fullmatch(identity):
        return identity
    parts = urlsplit(identity)
    return f"{parts.scheme}://{parts.netloc}/...{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def purpose(user: str) -> str:
    """What the URL of a user's webhook is sealed for."""
    return f"webhook of {user}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def host_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Whether a webhook may name this host; without a list every name may be tried (see `address_allowed`)."""
    if allowed:
        return any(fnmatch(host.lower(), pattern.lower()) for pattern in allowed)
    return _address(host) is None or address_allowed(host)


def address_allowed(address: str) -> bool:
    """Whether a webhook may reach this address where no list of hosts is given: users must not send the grid to
    what listens on its own host only, or to a cloud's metadata server."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    return not (found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast)


def host_of(url: str) -> str:
    """The host that the URL of a webhook names."""
    return urlsplit(url).hostname or ""
