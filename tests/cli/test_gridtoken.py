"""gridtoken, and what gridadmin does with keys, users and passwords."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cigri.admin.gridadmin import gridadmin
from cigri.local.minioar.tokens import issue

LOGIN = "oar" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # root lists as the cluster's oar
SECRET = "the secret of a small cluster, for its tests only"


@pytest.fixture
def grid(grid: Any) -> Any:
    grid.sql("UPDATE clusters SET api_auth_type = 'jwt' WHERE name = 'tiger'")
    grid.sql("DELETE FROM api_tokens")
    return grid


def admin(grid: Any, *arguments: str, status: int = 0, stdin: str = "", **environ: str) -> str:
    done = CliRunner().invoke(gridadmin, arguments, input=stdin, env={**grid.environ, **environ})
    assert done.exit_code == status, done.output
    return done.output


def test_a_token_is_stored_listed_and_removed(grid):
    """C7."""
    done = grid.run("gridtoken", "-l")
    assert (done.stdout, done.stderr) == ("", "No tokens: gridtoken -i N -t TOKEN adds one.\n")
    token = issue(SECRET, LOGIN, 3600)
    done = grid.run("gridtoken", "-i", "1", "-t", "-", stdin=token + "\n")
    assert (done.returncode, token in done.stdout + done.stderr) == (0, False)
    assert "stored for cluster tiger, valid until" in done.stdout
    listed = grid.run("gridtoken", "-l").stdout
    head, line = listed.splitlines()
    assert head == "You have the following tokens:" and token[-20:] not in listed
    assert line.startswith(f" - Cluster #1 : ******** on tiger of {LOGIN}, expires 2")
    shown, code = grid.on_terminal("gridtoken", "-l", until="never")
    assert code == 0 and shown.startswith(f"1 tiger: Bearer ******** of {LOGIN}, expires 2")
    out, err = grid.start("gridtoken", "-v", "-i", "1", "-t", token).communicate(timeout=20)
    assert "stored for cluster tiger" in out and err.startswith("POST /tokens: 201 after ") and token not in err
    assert '"cluster_login":"Bearer ********"' in grid.run("gridtoken", "-d").stdout
    assert "removed" in grid.run("gridtoken", "-i", "1", "-r").stdout
    done = grid.run("gridtoken", "-i", "1", "-r")
    assert done.returncode == 1 and "gridtoken -l" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-i", "1"),
        ("-t", "x"),
        ("-r",),
        ("-i", "1", "-t", "x", "-r"),
        ("--days", "3"),
        ("--api", "-r"),
        ("--api", "5"),
        ("--api", "-i", "1"),
        ("-l", "-i", "1"),
        ("5",),
        ("--api", "--days", "0"),
        ("-i", "tiger", "-t", "x"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(grid, arguments):
    done = grid.run("gridtoken", *arguments)
    assert done.returncode == 2 and done.stderr


def test_a_token_in_the_arguments_is_taken_out_of_ps(grid, tmp_path):
    token = issue(SECRET, LOGIN, 3600)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        client = tmp_path / "client.conf"
        client.write_text(f'API_SOCKET = "{tmp_path}/silent"\n')
        command = grid.start("gridtoken", "-i", "1", "-t", token, CIGRICLIENTCONFFILE=str(client))
        connection, _ = silent.accept()
        with connection:
            shown = Path(f"/proc/{command.pid}/cmdline").read_bytes()
        assert token.encode() not in shown and b"gridtoken" in shown
    out, err = command.communicate(timeout=20)
    assert command.returncode == 1 and token not in out + err


@contextlib.contextmanager
def tcp_server(grid: Any, folder: Path) -> Iterator[int]:
    """Another API server on the same grid, on TCP alone, that trusts no front."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "tcp.conf"
    content = Path(grid.environ["CIGRICONFFILE"]).read_text()
    lines = [line for line in content.splitlines() if not line.startswith("API_SOCKET")]
    config.write_text("\n".join([*lines, 'API_SOCKET = "none"', f'API_LISTEN = "127.0.0.1:{port}"', ""]))
    environ = grid.environ | {"CIGRICONFFILE": str(config)}
    server = subprocess.Popen([sys.executable, "-m", "cigri.api.server"], env=environ, cwd=grid.environ["PYTHONPATH"])
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        assert server.wait(20) == 0


def test_a_personal_token_opens_the_api_over_tcp(grid, tmp_path):
    made = grid.run("gridtoken", "--api", "--days", "3")
    token = made.stdout.strip()
    assert made.returncode == 0 and token.startswith("cigri_") and token not in made.stderr
    file, client = tmp_path / "token", tmp_path / "client.conf"
    file.write_text(token + "\n")
    file.chmod(0o600)
    with tcp_server(grid, tmp_path) as port:
        client.write_text(f'API_HOST = "127.0.0.1"\nAPI_PORT = "{port}"\nAPI_TOKEN_FILE = "{file}"\n')
        environ = {"CIGRICLIENTCONFFILE": str(client)}
        listed = grid.run("gridtoken", "--api", "-l", **environ)
        number = listed.stdout.partition(":")[0]
        assert listed.returncode == 0 and number.isdigit() and token not in listed.stdout
        file.chmod(0o644)
        assert "chmod 600" in grid.run("gridstat", **environ).stderr
        file.chmod(0o600)
        assert grid.run("gridtoken", "--api", "-r", number).stdout == f"Personal token {number} revoked.\n"
        done = grid.run("gridstat", **environ)
        assert done.returncode == 1 and "revoked or expired" in done.stderr
        client.write_text(f'API_HOST = "grid.example.org"\nAPI_PORT = "1"\nAPI_TOKEN_FILE = "{file}"\n')
        assert grid.run("gridstat", **environ).returncode == 1


def test_the_administrator_makes_a_key_once(grid, tmp_path):
    config = tmp_path / "cigri.conf"
    config.write_text(f'TOKEN_KEY_FILE = "{tmp_path}/key"\n')
    assert f"{tmp_path}/key created" in admin(grid, "key", "create", CIGRICONFFILE=str(config))
    assert stat.S_IMODE(os.stat(tmp_path / "key").st_mode) == 0o600
    key = (tmp_path / "key").read_text()
    said = admin(grid, "key", "create", status=1, CIGRICONFFILE=str(config))
    assert "already" in said and key.strip() not in said and (tmp_path / "key").read_text() == key


def test_the_administrator_maps_users(grid):
    """K5."""
    assert "no mapping yet" in admin(grid, "user", "list")
    assert "alice is amiller on lion" in admin(grid, "user", "map", "alice", "lion", "amiller")
    grid.run("gridtoken", "-i", "1", "-t", "-", stdin=issue(SECRET, LOGIN, 3600))
    listed = admin(grid, "user", "list")
    assert "alice on lion: amiller" in listed and f"token of {LOGIN}, valid until" in listed and "eyJ" not in listed
    assert "alice is alice on lion again" in admin(grid, "user", "map", "alice", "lion", "--remove")
    assert "no other name" in admin(grid, "user", "map", "alice", "lion", "--remove", status=1)
    assert "did you mean lion" in admin(grid, "user", "map", "alice", "lyon", "al", status=1)
    for wrong in (
        ("alice", "lion"),
        ("alice", "lion", "al", "--remove"),
        ("alice", "lion", "a\nb"),
        (" ", "lion", "a"),
    ):
        admin(grid, "user", "map", *wrong, status=2)


def test_a_clusters_password_is_kept_sealed(grid, tmp_path):
    file = tmp_path / "password"
    file.write_text("very secret\n")
    place = ("--batch", "oar3", "--api-url", "https://puma", "--auth", "password")
    assert "a user name and a password" in admin(grid, "cluster", "add", "puma", *place, status=1)
    said = admin(grid, "cluster", "add", "puma", *place, "--username", "cigri", "--password-file", str(file))
    said += (
        admin(grid, "cluster", "show", "puma")
        + admin(grid, "cluster", "list")
        + admin(grid, "cluster", "show", "puma", "-d")
    )
    said += admin(grid, "cluster", "set", "puma", "--password-file", "-", stdin="very secret")
    (row,) = grid.sql("SELECT clusters::text, api_username, api_password FROM clusters WHERE name = 'puma'")
    assert row[1] == "cigri" and row[2] and "very secret" not in said + row[0] and row[2] not in said
    assert "cigri" in admin(grid, "cluster", "show", "puma")
    admin(grid, "cluster", "set", "puma", "--auth", "none")
    assert grid.sql("SELECT api_username, api_password FROM clusters WHERE name = 'puma'") == [(None, None)]
    assert "one line" in admin(grid, "cluster", "set", "puma", "--password-file", "-", status=1, stdin="\n")
