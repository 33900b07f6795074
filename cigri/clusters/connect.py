"""From what is known about a cluster to a client of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

from cigri.clusters.base import Cluster
from cigri.clusters.credentials import IDENTITY_HEADER, Ask, Credentials, Identity, OwnTokens, Password, TokenFile
from cigri.clusters.http import Lock, Transport
from cigri.clusters.oar import CHUNK, FIRST_LIMIT
from cigri.clusters.oar2_5 import Oar25
from cigri.clusters.oar3 import Oar3
from cigri.config import Settings
from cigri.core import vault
from cigri.errors import ConfigError, TokenRefused

CLIENTS: Mapping[str, type[Oar3] | type[Oar25]] = MappingProxyType({"oar3": Oar3, "oar2_5": Oar25})
DEFAULT_HEADERS = frozenset({"", "authorization", "x-remote-ident"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """How a cluster is reached; the names are those of the clusters table and of the configuration file.

    `api_chunk_size` is the most job ids in one request, `api_limit` what is asked for first of a long list.
    """

    name: str
    batch: str
    api_url: str
    api_auth_type: str = "none"
    api_auth_header: str = IDENTITY_HEADER
    api_username: str = ""
    api_password: str = field(default="", repr=False)  # sealed
    token_file: str = ""
    token_key_file: str = ""
    api_chunk_size: int = CHUNK
    api_limit: int = FIRST_LIMIT
    resource_unit: str = "resource_id"
    verify_ssl: bool = True
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class Declared(Protocol):
    """A cluster as the database has it."""

    name: str
    batch: str
    api_url: str
    api_auth_type: str
    api_auth_header: str
    api_username: str | None
    api_password: str | None
    token_file: str | None
    api_chunk_size: int
    api_limit: int
    resource_unit: str


def described(cluster: Declared, settings: Settings) -> ClusterSettings:
    """How to reach a declared cluster, under this configuration."""
    return ClusterSettings(
        name=cluster.name,
        batch=cluster.batch,
        api_url=cluster.api_url,
        api_auth_type=cluster.api_auth_type,
        api_auth_header=cluster.api_auth_header,
        api_username=cluster.api_username or "",
        api_password=cluster.api_password or "",
        token_file=cluster.token_file or "",
        token_key_file=settings.token_key_file,
        api_chunk_size=cluster.api_chunk_size,
        api_limit=cluster.api_limit,
        resource_unit=cluster.resource_unit,
        verify_ssl=settings.rest_client_verify_ssl,
        ca_file=settings.rest_client_ca_file,
        certificate_file=settings.rest_client_certificate_file if cluster.api_auth_type == "cert" else "",
        key_file=settings.rest_client_key_file if cluster.api_auth_type == "cert" else "",
    )


def connect(
    settings: ClusterSettings,
    *,
    timeout: float = 25.0,
    lock: Lock = nullcontext,
    guard: Callable[[], None] | None = None,
    ask: Ask | None = None,
) -> Cluster:
    """A client of the cluster; nothing is sent yet.

    Each request is made inside `lock()`; `guard()` is called before each submission and deletion and stops
    it by raising. Where each user has a token of their own (jwt without a token file), `ask(login)` gives that of
    the user for whom this client works, and `ask(None)` the one that only lists, "" for none. Raises ConfigError
    when the settings cannot be used.
    """
    check(settings)
    verify: bool | str = (settings.ca_file or True) if settings.verify_ssl else False
    cert = (settings.certificate_file, settings.key_file) if settings.key_file else settings.certificate_file
    transport = Transport(
        settings.name,
        settings.api_url,
        _credentials(settings, ask or _nobody),
        timeout=timeout,
        verify=verify,
        cert=cert or None,
        lock=lock,
        guard=guard or _allowed,
    )
    return CLIENTS[settings.batch](
        transport,
        resource_unit=settings.resource_unit,
        chunk=settings.api_chunk_size,
        first_limit=settings.api_limit,
    )


def check(settings: ClusterSettings) -> None:
    """Raise ConfigError, with a sentence for the administrator, unless `connect` takes these settings."""
    where = f"cluster {settings.name}: "
    if settings.batch not in CLIENTS:
        raise ConfigError(f"{where}batch {settings.batch} is not in this release: only {' and '.join(CLIENTS)} are")
    if settings.api_auth_type not in ("none", "jwt", "password", "cert"):
        raise ConfigError(
            f"{where}authentication {settings.api_auth_type}: only none, jwt, password and cert are known"
        )
    if settings.api_auth_type == "jwt" and settings.batch == "oar2_5":
        raise ConfigError(f"{where}OAR 2.5 knows no tokens: authentication is none, password or cert there")
    if settings.token_file and settings.api_auth_type != "jwt":
        raise ConfigError(f"{where}a token file is for authentication jwt only")
    if settings.token_file and not settings.token_file.startswith("/"):
        raise ConfigError(f"{where}the token file must be an absolute path")
    if settings.api_auth_type == "password" and not (settings.api_username and settings.api_password):
        raise ConfigError(f"{where}authentication password needs a user name and a password")
    if settings.api_auth_type == "password" and ":" in settings.api_username:
        raise ConfigError(f"{where}a user name with a colon cannot be sent")
    if settings.api_auth_type == "cert" and not settings.certificate_file:
        raise ConfigError(f"{where}authentication cert needs REST_CLIENT_CERTIFICATE_FILE in the configuration")
    if settings.api_auth_type == "cert" and not settings.api_url.startswith("https:"):
        raise ConfigError(f"{where}authentication cert needs a URL that begins with https")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", settings.api_auth_header):
        raise ConfigError(f"{where}{settings.api_auth_header!r} is not the name of an HTTP header")
    _check_url(where, settings.api_url)


def _check_url(where: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[^!-~]", url):
        raise ConfigError(f"{where}{url!r} is not a URL like https://host:port/path")
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"{where}the URL may have no query, no fragment and no user name in it")


def password_purpose(name: str) -> str:
    """What a cluster's password is sealed for."""
    return f"password of cluster {name}"


def _credentials(settings: ClusterSettings, ask: Ask) -> Credentials:
    # X_REMOTE_IDENT is the original's default; Apache and nginx drop names with underscores.
    name = settings.api_auth_header.replace("_", "-")
    header = IDENTITY_HEADER if name.lower() in DEFAULT_HEADERS else name
    if settings.api_auth_type == "jwt" and settings.token_file:
        return TokenFile(Path(settings.token_file), header)
    if settings.api_auth_type == "jwt":
        return OwnTokens(ask, header)
    if settings.api_auth_type == "password":
        opened = vault.load(settings.token_key_file).open(settings.api_password, password_purpose(settings.name))
        return Password(settings.api_username, opened, header)
    return Identity(header)


def _nobody(login: str | None) -> str:
    if login is None:
        return ""
    raise TokenRefused("no user's token is at hand")


def _allowed() -> None:
    pass
