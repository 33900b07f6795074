"""A real API server on a Unix socket and on TCP, in the tests' own process, on a database of the test's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import Engine, insert

from cigri.api.app import create_app
from cigri.api.server import server_config, tcp_socket, unix_socket
from cigri.client import UnixConnection
from cigri.config import Address, Settings
from cigri.db.engine import transaction
from cigri.db.tables import Cluster


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    """A running server. Over the socket the tests are whoever runs them (root may be anybody)."""

    socket: str
    port: int

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        user: str | None = "alice",
        tcp: bool = False,
        **headers: str,
    ) -> Answer:
        """Over the Unix socket or TCP; `user` in the header."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            sent["X-Cigri-User"] = user
        data = json.dumps(body) if isinstance(body, dict | list) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.port) if tcp else UnixConnection(self.socket, 30)
        with closing(connection):
            connection.request(method, path, data, sent)  # type: ignore[arg-type]
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())

    def get(self, path: str, **options: Any) -> Any:
        """What is there."""
        answer = self.ask("GET", path, **options)
        assert answer.status == 200, answer.text
        return answer.json()

    def submit(self, *params: str, user: str = "alice", **jdl: object) -> int:
        """A campaign of these tasks on cluster tiger; its id."""
        whole = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}, "params": list(params)} | jdl
        answer = self.ask("POST", "/campaigns", whole, user=user)
        assert answer.status == 201, answer.text
        return int(answer.json()["id"])


@pytest.fixture
def clusters(engine: Engine) -> dict[str, int]:
    """Two clusters that nothing asks."""
    names = ("tiger", "lion")
    rows = [{"name": name, "api_url": f"http://{name}", "api_auth_type": "none", "batch": "oar3"} for name in names]
    with transaction(engine) as session:
        ids = session.scalars(insert(Cluster).returning(Cluster.id, sort_by_parameter_order=True), rows).all()
    return dict(zip(names, ids, strict=True))


@pytest.fixture
def settings() -> Settings:
    return Settings(api_trusted_addresses=("127.0.0.1",), api_administrators=("root", "boss"))


Start = Callable[..., Api]


@pytest.fixture
def start(engine: Engine, tmp_path: Path, settings: Settings) -> Iterator[Start]:
    """Start servers, with other settings where the test wants them; all are stopped at its end."""
    running: list[tuple[uvicorn.Server, threading.Thread, list[Any]]] = []

    def begin(**changes: Any) -> Api:
        path = str(tmp_path / f"api{len(running)}.sock")
        places = [unix_socket(path), tcp_socket(Address("127.0.0.1", 0))]
        sockets = [place.__enter__() for place in places]
        server = uvicorn.Server(server_config(create_app(replace(settings, **changes), engine)))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=sockets)))
        thread.start()
        running.append((server, thread, places))
        return Api(path, sockets[1].getsockname()[1])

    yield begin
    for server, thread, places in running:
        server.should_exit = True
        thread.join(20)
        for place in places:
            place.__exit__(None, None, None)
        assert not thread.is_alive()


@pytest.fixture
def api(start: Start, clusters: dict[str, int]) -> Api:
    return start()
