"""A real API server on a Unix socket and on TCP, in the tests' own process, on a database of the test's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from sqlalchemy import Engine, insert, text

from cigri.api.app import create_app
from cigri.api.server import server_config, tcp_socket, unix_socket
from cigri.client import UnixConnection
from cigri.config import Address, Settings
from cigri.db.engine import create_engine, transaction
from cigri.db.tables import Cluster
from cigri.local.postgres import EmbeddedPostgres


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
    """A running server. Over the socket the tests are whoever runs them, and may be anybody."""

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


@pytest.fixture(scope="session")
def engine(postgres: EmbeddedPostgres, template: Any) -> Iterator[Engine]:
    """One database for all tests here: each finds it empty (see `clusters`)."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE test_api TEMPLATE {template.name}")
    engine = create_engine(replace(template, name="test_api").url)
    yield engine
    engine.dispose()


@pytest.fixture
def clusters(engine: Engine) -> dict[str, int]:
    """An empty grid but for two clusters that nothing asks."""
    names = ("tiger", "lion")
    rows = [{"name": name, "api_url": f"http://{name}", "api_auth_type": "none", "batch": "oar3"} for name in names]
    with transaction(engine) as session:
        session.execute(
            text(
                "TRUNCATE clusters, campaigns, tasks, events, archived_tasks, archived_jobs, archived_submissions,"
                " archived_events RESTART IDENTITY CASCADE"
            )
        )
        ids = session.scalars(insert(Cluster).returning(Cluster.id, sort_by_parameter_order=True), rows).all()
    return dict(zip(names, ids, strict=True))


# The tests act for others over the socket: root may anyway.
TRUSTED = () if os.geteuid() == 0 else (pwd.getpwuid(os.geteuid()).pw_name,)
SETTINGS = Settings(
    api_trusted_addresses=("127.0.0.1",), api_trusted_users=TRUSTED, api_administrators=("root", "boss"),
    admission_rules_directory="",
)  # fmt: skip


@contextmanager
def running(settings: Settings, engine: Engine, folder: Path) -> Iterator[Api]:
    """A server for the time of the block."""
    path = str(folder / "api.sock")
    with unix_socket(path) as local, tcp_socket(Address("127.0.0.1", 0)) as remote:
        server = uvicorn.Server(server_config(create_app(settings, engine)))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[local, remote])), daemon=True)
        thread.start()
        try:
            yield Api(path, remote.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def start(engine: Engine, clusters: dict[str, int], tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Start a server with other settings; it is stopped at the end of the test."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running(replace(SETTINGS, **changes), engine, tmp_path))


@pytest.fixture
def running_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Engine], Any]:
    """A server on another database, for the time of a block."""
    return lambda engine: running(SETTINGS, engine, tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="session")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running(SETTINGS, engine, tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(server: Api, clusters: dict[str, int]) -> Api:
    """A server on an empty grid."""
    return server
