"""gridclean: the files of a campaign's jobs, deleted on a real cluster as their owner."""

from __future__ import annotations

import http.client
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from cigri.client import UnixConnection
from cigri.core.tokens import digest, make_api_token
from cigri.local.minioar.launch import Minioar


class Front(BaseHTTPRequestHandler):
    """Hands requests on to the API with the personal token of somebody else."""

    api = ""
    token = ""

    def do_GET(self) -> None:
        with closing(UnixConnection(self.api, 30)) as connection:
            connection.request(self.command, self.path, headers={"Authorization": f"Bearer {self.token}"})
            answer: http.client.HTTPResponse = connection.getresponse()
            body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET

    def log_message(self, *words: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


@contextmanager
def acting_as(user, grid, folder) -> Iterator[dict[str, str]]:
    """The environment in which the commands are this user's."""
    token = make_api_token()
    grid.sql(
        "INSERT INTO api_tokens (grid_user, digest, expires_at) VALUES (%s, %s, now() + interval '1 hour')",
        user, digest(token),
    )  # fmt: skip
    path, config = str(folder / f"{user}.sock"), folder / f"{user}.conf"
    front = type("FrontOfUser", (Front,), {"api": grid.client.place, "token": token})
    with socketserver.ThreadingUnixStreamServer(path, front) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        config.write_text(f'API_SOCKET = "{path}"\n')
        yield {"CIGRICLIENTCONFFILE": str(config)}
        server.shutdown()
        thread.join()


@pytest.fixture
def alice(grid, tmp_path) -> Iterator[dict[str, str]]:
    with acting_as("alice", grid, tmp_path) as environ:
        yield environ


@pytest.fixture
def written(grid, tmp_path, request) -> Iterator[tuple[str, list]]:
    """A campaign of alice, and the files that its jobs wrote on tiger (one is gone) and on lion, which is down."""
    files = [tmp_path / name for name in ("OAR.41.stdout", "OAR.41.stderr", "OAR 42.stdout", "gone", "shared")]
    for file in files:
        if file.name != "gone":
            file.write_text("output\n")
    key = grid.submit("a", "b", "c")
    grid.sql("UPDATE campaigns SET grid_user = 'alice'")
    rows = [("a", 41, 1, tmp_path / "OAR.%jobid%.stdout", tmp_path / "OAR.%jobid%.stderr"),
            ("b", 42, 1, files[3], files[4]), ("c", 43, 2, files[0], files[4])]  # fmt: skip
    for line, remote, cluster, *paths in rows:
        grid.sql(
            "INSERT INTO jobs (task_id, campaign_id, cluster_id, state, ended_at, remote_id, stdout_path, stderr_path)"
            " SELECT id, campaign_id, %s, 'event', now(), %s, %s, %s FROM tasks WHERE line = %s",
            cluster, remote, *map(str, paths), line,
        )  # fmt: skip
    with Minioar(tmp_path / "oar", 1, round=0.05, die_with_parent=True) as server:
        grid.sql("UPDATE clusters SET api_url = %s WHERE id = 1", server.url)
        grid.sql("UPDATE clusters SET api_url = 'http://127.0.0.1:9/' WHERE id = 2")
        yield key, files


def test_files_are_listed_then_deleted_as_their_owner(grid, alice, written):
    """C8, R6."""
    key, files = written
    listed = [f"tiger: {files[0]}", f"tiger: {files[1]}", f"tiger: {files[3]}", f"tiger: {files[4]}"]
    done = grid.run("gridclean", "-n", key, **alice)
    assert done.stdout.splitlines()[:4] == listed and "6 files would be deleted" in done.stdout
    assert json.loads(grid.run("gridclean", "-n", "-d", key, **alice).stdout)["items"][0]["path"] == str(files[0])
    done = grid.run("gridclean", key, **alice)
    assert done.returncode == 2 and "--yes" in done.stderr and files[0].exists()
    out, err = grid.start("gridclean", "-v", "--yes", key, **alice).communicate(timeout=20)
    assert f"DELETE /clusters/1{files[0]}: 202 after " in err
    assert not any(file.exists() for file in (files[0], files[1], files[4])) and files[2].exists()
    assert out.splitlines()[-1] == f"Campaign {key}: 3 files deleted, 1 was gone already, 2 could not be deleted."
    assert "lion" in err
    grid.sql("DELETE FROM jobs")
    assert grid.run("gridclean", key, **alice).stdout == f"Campaign {key}: no files are known.\n"


def test_files_of_more_jobs_than_are_asked_for_at_once(grid, alice, written):
    key, _ = written
    grid.sql(
        "INSERT INTO jobs (task_id, campaign_id, cluster_id, state, ended_at, remote_id, stdout_path)"
        " SELECT t.id, t.campaign_id, 2, 'event', now(), 1000 + n, '/out/' || n"
        " FROM generate_series(1, 5001) AS n CROSS JOIN (SELECT * FROM tasks ORDER BY id LIMIT 1) AS t"
    )
    listed = grid.run("gridclean", "-n", key, **alice).stdout.splitlines()
    assert listed[-1] == f"Campaign {key}: 5007 files would be deleted." and "lion: /out/5001" in listed


def test_nobody_deletes_for_others(grid, alice, written, tmp_path):
    """R6: nor does root, who could delete anything there."""
    key, files = written
    with acting_as("root", grid, tmp_path) as root:
        done = grid.run("gridclean", "--yes", key, **root)
    assert done.returncode == 1 and "root deletes no files" in done.stderr and files[0].exists()
    grid.sql("UPDATE campaigns SET grid_user = 'bob'")
    done = grid.run("gridclean", "--yes", key, **alice)
    assert (done.returncode, done.stdout) == (1, "") and "belongs to bob" in done.stderr


def test_a_directory_is_no_file(grid, alice, written, tmp_path):
    """R6: a cluster would delete it with all that is in it."""
    grid.sql("UPDATE jobs SET stdout_path = %s, stderr_path = NULL", str(tmp_path))
    done = grid.run("gridclean", "--yes", written[0], **alice)
    assert "gone already" in done.stdout and tmp_path.exists()
    assert grid.run("gridclean").returncode == grid.run("gridclean", "-d", "1").returncode == 2
