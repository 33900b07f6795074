"""A real API server on a Unix socket and on TCP, in the tests' own process, on a database of the test's own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from sqlalchemy import Engine, insert

from cigri.api.app import create_app
from cigri.api.server import server_config, tcp_socket, unix_socket
from cigri.config import Address, Settings
from cigri.db.engine import transaction
from cigri.db.tables import Cluster
from cigri.unix_adapter import UnixAdapter


@dataclass
class Api:
    """A running server. Over the socket the tests are whoever runs them (root may be anybody)."""

    socket: str
    port: int
    session: requests.Session

    def ask(
        self, method: str, path: str, body: object = None, *, user: str | None = "alice", **headers: str
    ) -> requests.Response:
        """Over the Unix socket; `user` in the header."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            sent["X-Cigri-User"] = user
        data = body if isinstance(body, bytes | str | None) else json.dumps(body)
        return self.session.request(method, f"http+unix://api{path}", data=data, headers=sent, timeout=30)

    def get(self, path: str, **options: Any) -> Any:
        answer = self.ask("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, *params: str, user: str = "alice", **jdl: object) -> int:
        """A campaign of these tasks on cluster tiger; its id."""
        whole = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}, "params": list(params)} | jdl
        answer = self.ask("POST", "/campaigns", whole, user=user)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])


@pytest.fixture
def clusters(engine: Engine) -> dict[str, int]:
    """Two clusters that nothing asks."""
    names = ("tiger", "lion")
    with transaction(engine) as session:
        rows = [{"name": name, "api_url": f"http://{name}", "api_auth_type": "none", "batch": "oar3"} for name in names]
        ids = session.scalars(insert(Cluster).returning(Cluster.id, sort_by_parameter_order=True), rows).all()
    return dict(zip(names, ids, strict=True))


@pytest.fixture
def settings() -> Settings:
    return Settings(api_trusted_addresses=("127.0.0.1",), api_administrators=("root", "boss"))


Start = Callable[..., Api]


@pytest.fixture
def start(engine: Engine, tmp_path: Path, settings: Settings) -> Iterator[Start]:
    """Start servers, with other settings where the test wants them; all are stopped at its end."""
    running: list[tuple[uvicorn.Server, threading.Thread, requests.Session, list[Any]]] = []

    def begin(**changes: Any) -> Api:
        path = str(tmp_path / f"api{len(running)}.sock")
        places = [unix_socket(path), tcp_socket(Address("127.0.0.1", 0))]
        sockets = [place.__enter__() for place in places]
        server = uvicorn.Server(server_config(create_app(replace(settings, **changes), engine)))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=sockets)))
        thread.start()
        session = requests.Session()
        session.trust_env = False
        session.mount("http+unix://", UnixAdapter(path))
        running.append((server, thread, session, places))
        return Api(path, sockets[1].getsockname()[1], session)

    yield begin
    for server, thread, session, places in running:
        session.close()
        server.should_exit = True
        thread.join(20)
        for place in places:
            place.__exit__(None, None, None)
        assert not thread.is_alive()


@pytest.fixture
def api(start: Start, clusters: dict[str, int]) -> Api:
    return start()
