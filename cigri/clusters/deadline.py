"""HTTP connections that keep one deadline for a whole exchange and know whether anything was sent.

requests and urllib3 bound each single read; a server that sends a byte now and then would hold its reader
for ever.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

CONNECT_TIMEOUT = 10.0
PIECE = 64 << 10


class Exchange:
    """One request and its reply: when they must be over, and whether any of the request has left."""

    def __init__(self, timeout: float) -> None:
        self.ends = time.monotonic() + timeout
        self.sent = False

    def remaining(self) -> float:
        """Seconds to the end. Raises TimeoutError after it."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._sock, self._exchange = sock, exchange
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.remaining())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """A connected socket (plain or TLS) whose every wait ends with the exchange."""

    def __init__(self, sock: Any, exchange: Exchange) -> None:
        self._sock, self._exchange = sock, exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, timeout: float | None) -> None:
        """Nothing: the exchange's end rules."""

    def sendall(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            self._sock.settimeout(self._exchange.remaining())
            self._exchange.sent = True
            self._sock.sendall(view[start : start + PIECE])

    def makefile(self, *_mode: Any, **_options: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._exchange))


def _bounded(base: type[HTTPConnection], exchange: Exchange) -> type[HTTPConnection]:
    class Bounded(base):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            self.sock: Any = _BoundedSocket(self.sock, exchange)

    return Bounded


class BoundedAdapter(HTTPAdapter):
    """For one exchange: nothing is tried again, nothing waits longer than it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        super().__init__(max_retries=0, pool_connections=1, pool_maxsize=1)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _bounded(pool.ConnectionCls, self.exchange)
        return pool
