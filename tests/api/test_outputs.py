"""Outputs of jobs: read from the cluster under its lock, for owner and administrators."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from sqlalchemy import insert, select, text, update

from cigri.api import reaching
from cigri.db.engine import transaction
from cigri.db.locks import ClusterLock
from cigri.db.tables import Cluster, Job, Submission, Task

FILES = {"/home/alice/OAR.100.stdout": b"one\ntwo\n\xff\n", "/recorded.stderr": b"recorded\n"}


class Oar(BaseHTTPRequestHandler):
    """The two routes that outputs need."""

    seen: list[tuple[str, str]] = []

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.seen.append((parts.path, self.headers["X-Remote-Ident"]))
        if parts.path.endswith("/media"):
            data = FILES.get(query["path_filename"])
            if data and "tail" in query:
                data = b"".join(data.splitlines(keepends=True)[-int(query["tail"]) :])
        else:
            data = (
                b'{"id": 100, "state": "Running", "owner": "alice", "launching_directory": "/home/alice",'
                b' "stdout_file": "OAR.%jobid%.stdout", "stderr_file": "OAR.%jobid%.stderr"}'
            )
        self.send_response(200 if data else 404)
        self.end_headers()
        self.wfile.write(data or b'{"detail": "no such file"}')

    def log_message(self, *words):
        pass


@pytest.fixture
def job(api, clusters, engine):
    """A job of alice on a cluster that answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Oar)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    campaign = api.submit("a")
    with transaction(engine) as session:
        url = f"http://127.0.0.1:{server.server_port}/"
        session.execute(update(Cluster).where(Cluster.name == "tiger").values(api_url=url))
        values = {"campaign_id": campaign, "cluster_id": clusters["tiger"]}
        more = {"name": "s", "login": "alice", "url_generation": 1, "size": 1, "remote_clock": 0, "state": "settled"}
        submission = session.scalar(
            insert(Submission).values(**values, **more, settled_at=text("now()")).returning(Submission.id)
        )
        task = session.scalar(select(Task.id))
        more = {"task_id": task, "state": "running", "submission_id": submission, "remote_id": 100}
        job_id = session.scalar(insert(Job).values(**values, **more, stderr_path="/recorded.stderr").returning(Job.id))
    Oar.seen.clear()
    yield job_id
    server.shutdown()
    thread.join()
    server.server_close()


def test_outputs(api, job):
    """R19."""
    assert api.get(f"/jobs/{job}/stdout") == {"output": "one\ntwo\n\N{REPLACEMENT CHARACTER}\n"}
    assert api.get(f"/jobs/{job}/stdout?tail=1")["output"] == "\N{REPLACEMENT CHARACTER}\n"
    assert api.get(f"/jobs/{job}/stderr", user="boss")["output"] == "recorded\n"
    assert ("/media", "alice") in Oar.seen


def test_a_file_that_is_not_there(api, job, engine):
    """R19."""
    with transaction(engine) as session:
        session.execute(update(Job).values(stdout_path="/nowhere"))
    answer = api.ask("GET", f"/jobs/{job}/stdout")
    assert answer.status == 404 and "stdout of job" in answer.json()["message"]


def test_a_job_that_was_not_submitted_yet_has_none(api, job, engine):
    with transaction(engine) as session:
        session.execute(update(Job).values(state="launching", remote_id=None))
    answer = api.ask("GET", f"/jobs/{job}/stdout")
    assert answer.status == 404 and "no output yet" in answer.json()["message"]


def test_a_cluster_that_does_not_answer(api, job, engine):
    with transaction(engine) as session:
        session.execute(update(Cluster).values(api_url="http://127.0.0.1:1/"))
    answer = api.ask("GET", f"/jobs/{job}/stdout")
    assert answer.status == 503 and "tiger" in answer.json()["message"]


def test_a_busy_cluster_is_not_waited_for_long(api, job, engine, clusters, monkeypatch):
    monkeypatch.setattr(reaching, "PATIENCE", 0.2)
    lock = ClusterLock(engine, clusters["tiger"])
    with lock():
        answer = api.ask("GET", f"/jobs/{job}/stdout")
        assert answer.status == 503 and "busy" in answer.json()["message"]
        assert api.get("/campaigns")["total"] == 1
    lock.close()
    assert api.ask("GET", f"/jobs/{job}/stdout").status == 200


def test_no_transaction_is_open_while_the_cluster_is_asked(api, job, engine, postgres):
    busy = []

    def look():
        with psycopg.connect(postgres.conninfo) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = 'test_api'"
            busy.extend(connection.execute(query).fetchone() or ())

    original = Oar.do_GET
    Oar.do_GET = lambda self: (look(), original(self))[1]
    try:
        assert api.ask("GET", f"/jobs/{job}/stdout").status == 200
    finally:
        Oar.do_GET = original
    assert busy and set(busy) == {0}
