"""A real mail server process, a real HTTP receiver, and a judas whose rounds the test drives."""

from __future__ import annotations

import dataclasses
import email
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, select

from cigri.config import Settings
from cigri.core import vault
from cigri.core.events import Severity
from cigri.core.telling import Channel
from cigri.daemons.judas import Judas
from cigri.db import campaigns, clusters, events, subscriptions
from cigri.db.engine import create_engine, transaction
from cigri.db.tables import Notification
from cigri.notify import identities

HERE = Path(__file__).parent
PEM = HERE.parent / "clusters" / "tls" / "localhost.pem"


class MailServer:
    """aiosmtpd in a process that can be killed, and started again on the same port."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder = folder
        self.port = 0
        self._tls = [str(PEM)] if tls else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> MailServer:
        (self.folder / "port").unlink(missing_ok=True)
        program = [sys.executable, str(HERE / "smtp_server.py"), str(self.folder), str(self.port), *self._tls]
        self._process = subprocess.Popen(program)
        wait(lambda: (self.folder / "port").exists())
        self.port = int((self.folder / "port").read_text())
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def set(self, knob: str, *, on: bool = True) -> None:
        if on:
            (self.folder / knob).touch()
        else:
            (self.folder / knob).unlink()

    def clear(self) -> MailServer:
        """As good as new."""
        for file in self.folder.iterdir():
            if file.name != "port":
                file.unlink()
        return self if self._process else self.start()

    @property
    def mails(self) -> list[EmailMessage]:
        files = sorted(self.folder.glob("*.eml"))
        return [email.message_from_bytes(file.read_bytes(), policy=default) for file in files]  # type: ignore[misc]


class Receiver:
    """An HTTP server that keeps what is posted to it. `answer`: the status it gives, with `headers`."""

    def __init__(self, pem: Path | None = None) -> None:
        self.posts: list[tuple[str, Any]] = []
        self.answer = 200
        self.headers: dict[str, str] = {}
        self.drip = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append((self.path, json.loads(body)))
                if receiver.drip:
                    self._drip()
                    return
                self.send_response(receiver.answer)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def _drip(self) -> None:
                try:
                    while receiver.drip:
                        self.wfile.write(b"H")
                        time.sleep(0.05)
                except OSError:
                    return

            def log_message(self, *_arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if pem:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(pem)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if pem else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.drip = False
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def wait(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="session")
def shared_mail_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    server = MailServer(tmp_path_factory.mktemp("mails")).start()
    yield server
    server.stop()


@pytest.fixture
def mail_server(shared_mail_server: MailServer) -> MailServer:
    return shared_mail_server.clear()


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    """It takes mail over STARTTLS only, from `grid` with password `s3cret`."""
    server = MailServer(tmp_path_factory.mktemp("secure"), tls=True).start()
    yield server
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def secure_receiver() -> Iterator[Receiver]:
    server = Receiver(PEM)
    yield server
    server.close()


class Town:
    """A grid in which things happen, and judas tells them."""

    def __init__(self, url: str, conninfo: str, engine: Engine, settings: Settings) -> None:
        self.url, self.conninfo, self.engine, self.settings = url, conninfo, engine, settings
        self._judas: Judas | None = None
        with transaction(engine) as session:
            for name in ("tiger", "lion"):
                clusters.declare(session, name, api_url=f"http://{name}", api_auth_type="none", batch="oar3")

    @property
    def judas(self) -> Judas:
        if self._judas is None:
            self._judas = Judas(self.settings, create_engine(self.url, application="judas"))
            assert self._judas.duty.acquire()
        return self._judas

    def forget(self) -> None:
        """judas dies; the next one remembers nothing."""
        if self._judas is not None:
            self._judas.close()
            self._judas.engine.dispose()
            self._judas = None

    def set(self, **changes: Any) -> None:
        self.forget()
        self.settings = dataclasses.replace(self.settings, **changes)

    def subscribe(self, user: str, identity: str, severity: str = "low", channel: str = "mail") -> None:
        kind, sealed = Channel(channel), None
        if kind is Channel.WEBHOOK:
            sealed = vault.load(self.settings.token_key_file).seal(identity, identities.purpose(user))
        with transaction(self.engine) as session:
            name = identities.shown(kind, identity)
            subscriptions.subscribe(session, user, kind, name, Severity(severity), sealed)

    def campaign(self, user: str = "alice", name: str = "sample", tasks: int = 3) -> int:
        """A campaign whose beginning nobody is told of."""
        with transaction(self.engine) as session:
            lines = [str(number) for number in range(tasks)]
            campaign_id = campaigns.create(session, user, name, {}, {1: campaigns.Place()}, lines, tasks)
        self.sql("UPDATE events SET notified_at = now() WHERE code = 'NEW_CAMPAIGN'")
        return campaign_id

    def happens(self, code: str, message: str = "", **more: Any) -> int:
        with transaction(self.engine) as session:
            return events.record(session, events.News(code, message, **more))

    def fails(self, campaign_id: int, times: int = 1, words: str = "exit code 3", job: int = 7) -> int:
        """Alike failures of a campaign."""
        return self.happens(
            "EXIT_ERROR",
            f"{words}\nno such sample",
            campaign_id=campaign_id,
            cluster_id=1,
            job_id=job,
            last_job_id=job + times - 1,
            count=times,
            alike=words,
        )

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.conninfo) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []

    def later(self, seconds: float) -> None:
        """Time goes by: what was told and put off is so much older."""
        self.sql("UPDATE told_kinds SET told_at = told_at - make_interval(secs => %s)", seconds)
        self.sql(
            "UPDATE notifications SET next_try = next_try - make_interval(secs => %s),"
            " created_at = created_at - make_interval(secs => %s)",
            seconds,
            seconds,
        )

    @property
    def waiting(self) -> list[Notification]:
        with transaction(self.engine) as session:
            return list(session.scalars(select(Notification).order_by(Notification.id)))

    def process(self, folder: Path, **environ: str) -> subprocess.Popen[bytes]:
        """judas as almighty starts it, with these settings."""
        file = folder / "cigri.conf"
        parts = psycopg.conninfo.conninfo_to_dict(self.conninfo)
        lines = [
            f'DATABASE_HOST = "{parts["host"]}"',
            f'DATABASE_PORT = "{parts["port"]}"',
            f'DATABASE_NAME = "{parts["dbname"]}"',
            f'DATABASE_USER_NAME = "{parts["user"]}"',
            'DATABASE_SSL_MODE = "disable"',
            'DAEMON_PERIOD = "0.05"',
            f'LOG_FILE = "{folder}/judas.log"',
        ]
        for field in dataclasses.fields(self.settings):
            value = getattr(self.settings, field.name)
            if field.name.startswith("notifications_") and value != field.default:
                shown = ", ".join(value) if isinstance(value, tuple) else value
                lines.append(f'{field.name.upper()} = "{shown}"')
        file.write_text("\n".join(lines) + "\n")
        top = str(HERE.parents[1])
        whole = os.environ | {"CIGRICONFFILE": str(file), "PYTHONPATH": top, "CIGRI_UNSAFE_DATABASE": "yes"} | environ
        return subprocess.Popen([sys.executable, "-m", "cigri.daemons.judas"], env=whole, cwd=top)


@pytest.fixture
def town(database: Any, engine: Engine, mail_server: MailServer, tmp_path: Path) -> Iterator[Town]:
    vault.create_key_file(str(tmp_path / "token.key"))
    settings = dataclasses.replace(
        Settings(),
        notifications_smtp_server="127.0.0.1",
        notifications_smtp_port=mail_server.port,
        notifications_smtp_from="cigri@grid.example.org",
        notifications_gathering_delay=0.0,
        notifications_webhook_hosts=("127.0.0.1",),
        token_key_file=str(tmp_path / "token.key"),
    )
    town = Town(database.url, database.conninfo, engine, settings)
    yield town
    town.forget()
