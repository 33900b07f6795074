"""Asking the grid's API server over its Unix socket: the little that local mode needs."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT = 10.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        try:
            self.sock.connect(str(self.path))
        except OSError:
            self.sock.close()
            raise


def get(path: Path, resource: str) -> Any:
    """What GET answers, None when the server does not answer well."""
    connection = _Connection(path)
    try:
        connection.request("GET", resource)
        reply = connection.getresponse()
        body = reply.read()
        return json.loads(body) if reply.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
