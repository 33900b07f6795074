"""The users' commands on a real API server in a process of its own; the grid is empty for each test."""

from __future__ import annotations

import importlib
import os
import pty
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from cigri.client import Client
from cigri.config import ClientSettings
from cigri.core import vault
from cigri.local.postgres import EmbeddedPostgres


@dataclass
class Grid:
    """A grid whose clusters do nothing: what they would do is written into its database."""

    conninfo: str
    environ: dict[str, str]
    client: Client

    def run(
        self, command: str, *arguments: str, stdin: str | bytes = b"", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, which is quick: piped output, errors, exit code."""
        function = getattr(importlib.import_module(f"cigri.cli.{command}"), command)
        done = CliRunner().invoke(function, arguments, input=stdin, env=self.environ | environ)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def start(self, command: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        line = [sys.executable, "-m", f"cigri.cli.{command}", *arguments]
        return subprocess.Popen(
            line, env=self.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def on_terminal(self, *arguments: str, until: str, keys: bytes = b"") -> tuple[str, int]:
        """What a command writes to a terminal until these words, then Ctrl-C unless it ends; its exit code."""
        front, back = pty.openpty()
        line = [sys.executable, "-m", f"cigri.cli.{arguments[0]}", *arguments[1:]]
        process = subprocess.Popen(
            line, env=self.environ | {"TERM": "xterm", "COLUMNS": "100"}, stdin=back, stdout=back, stderr=back
        )
        os.close(back)
        shown, deadline = "", time.monotonic() + 30
        os.write(front, keys)
        try:
            while until not in shown and time.monotonic() < deadline:
                shown += os.read(front, 65536).decode()
        except OSError:
            pass
        if process.poll() is None and not keys:
            process.send_signal(signal.SIGINT)
        code = process.wait(20)
        os.close(front)
        return shown, code

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Do what a daemon would."""
        with psycopg.connect(self.conninfo) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []

    def submit(self, *params: str) -> str:
        """A campaign on cluster tiger; its id."""
        jdl = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}}
        return str(self.client.submit(jdl, lambda: params)["id"])


@pytest.fixture(scope="session")
def served(postgres: EmbeddedPostgres, template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE test_cli TEMPLATE {template.name}")
    database, folder = replace(template, name="test_cli"), tmp_path_factory.mktemp("cli")
    config, path = folder / "cigri.conf", folder / "api.sock"
    config.write_text(
        f'DATABASE_HOST = "{database.host}"\nDATABASE_PORT = "{database.port}"\nDATABASE_NAME = "{database.name}"\n'
        f'DATABASE_USER_NAME = "postgres"\nDATABASE_SSL_MODE = "disable"\n'
        f'API_SOCKET = "{path}"\nLOG_FILE = "{folder}/log"\nAPI_MAX_BODY = "20M"\n'
        'ADMISSION_RULES_DIRECTORY = "none"\n'
        f'API_ADMINISTRATORS = "root, {pwd.getpwuid(os.geteuid()).pw_name}"\n'
        f'TOKEN_KEY_FILE = "{folder}/token.key"\n'
    )
    vault.create_key_file(f"{folder}/token.key")
    environ = {"PATH": os.environ["PATH"], "CIGRICONFFILE": str(config), "LC_ALL": "C.UTF-8"}
    top = str(Path(__file__).resolve().parents[2])
    environ["PYTHONPATH"] = top
    server = subprocess.Popen([sys.executable, "-m", "cigri.api.server"], env=environ, cwd=top)
    while not path.exists() and server.poll() is None:
        time.sleep(0.05)
    yield Grid(database.conninfo, environ, Client(ClientSettings(api_socket=str(path))))
    server.terminate()
    assert server.wait(20) == 0


@pytest.fixture
def grid(served: Grid, monkeypatch: pytest.MonkeyPatch) -> Iterator[Grid]:
    """The grid, empty but for two clusters; it is noon in Greenwich when it is noon here."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    served.sql(
        "TRUNCATE clusters, campaigns, tasks, events, grid_usage, archived_tasks, archived_jobs, archived_submissions,"
        " archived_events RESTART IDENTITY CASCADE"
    )
    served.sql(
        "INSERT INTO clusters (name, api_url, api_auth_type, batch, ssh_host) VALUES"
        " ('tiger', 'http://tiger', 'none', 'oar3', 'tiger.site'), ('lion', 'http://lion', 'none', 'oar3', NULL)"
    )
    yield served
    monkeypatch.undo()
    time.tzset()
