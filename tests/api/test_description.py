"""The OpenAPI description is true: it has every route, and no answer of the server is missing in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from cigri.api.app import ROUTERS
from cigri.api.description import OPERATIONS
from cigri.db.engine import transaction
from cigri.db.tables import Job, Submission
from cigri.local.minioar.launch import Minioar

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
CONFIGURATION = """
[phases.coverage]
unexpected-methods = ["PATCH"]
generation.mode = "positive"
"""
LINES = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return str(value).encode("utf-8", "replace")
"""


def test_every_route_is_described_and_nothing_else(api):
    described = api.get("/openapi.json")["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    assert routes == OPERATIONS.keys()
    assert len(routes) == sum(len(route.methods) for router in ROUTERS for route in router.routes)


def test_every_answer_has_an_example_and_every_refusal_the_same_form(api):
    for path, methods in api.get("/openapi.json")["paths"].items():
        for method, operation in methods.items():
            assert operation["tags"] and operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                content = answer["content"]["application/json"]
                assert content["example"] is not None, (method, path, status)
                assert int(status) < 400 or content["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.fixture
def lively(api, clusters, engine, tmp_path, request) -> Any:
    """A grid with something of everything, and clusters that answer."""
    server = Minioar(tmp_path / "oar", 2, round=0.05, die_with_parent=True)
    server.start()
    request.addfinalizer(server.stop)
    for _ in range(3):
        campaign = api.submit("one 1", "two 2", "three 3", user="root")
    with transaction(engine) as session:
        session.execute(text("UPDATE clusters SET api_url = :url"), {"url": server.url})
        values = {"campaign_id": campaign, "cluster_id": clusters["tiger"]}
        more = {"name": "s", "login": "root", "url_generation": 1, "size": 1, "remote_clock": 0, "state": "settled"}
        submission = session.scalar(
            insert(Submission).values(**values, **more, settled_at=text("now()")).returning(Submission.id)
        )
        tasks = session.scalars(text("SELECT id FROM tasks ORDER BY id LIMIT 2")).all()
        for task, state in zip(tasks, ("event", "running"), strict=True):
            ended = text("now()") if state == "event" else None
            session.execute(
                insert(Job).values(
                    **values, task_id=task, state=state, submission_id=submission, remote_id=task, ended_at=ended,
                    stdout_path=str(tmp_path / "out"), stderr_path=str(tmp_path / "err"),
                )
            )  # fmt: skip
        session.execute(
            text(
                "INSERT INTO events (class, code, campaign_id, cluster_id, job_id) VALUES"
                " ('job', 'EXIT_ERROR', :campaign, 1, 1), ('cluster', 'TIMEOUT', NULL, 2, NULL)"
            ),
            {"campaign": campaign},
        )
        session.execute(text("INSERT INTO grid_usage VALUES (now(), 1, 10, 5, 2, 1)"))
    (tmp_path / "out").write_text("output\n")
    return api


@pytest.mark.timeout(400)
def test_whatever_is_asked_the_answer_is_one_that_is_described(lively, tmp_path):
    """R27."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"http://127.0.0.1:{lively.port}/openapi.json",
        "--header", "X-Cigri-User: root", "--phases", "examples,coverage,fuzzing", "--max-examples", "5",
        "--generation-with-security-parameters", "false",
        "--checks", ",".join(CHECKS), "--seed", "1", "--generation-database", "none", "--no-color",
        "--request-timeout", "20", "--workers", "2",
    ]  # fmt: skip
    (tmp_path / "lines.py").write_text(LINES)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    environ = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    environ |= {"SCHEMATHESIS_HOOKS": "lines", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-3000:]
