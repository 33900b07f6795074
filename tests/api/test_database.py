"""What callers are told when the database takes nothing now, and what is carried out again by itself."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

import psycopg
import pytest

from cigri.db.engine import create_engine


@pytest.fixture
def address(engine):
    return engine.url.set(drivername="postgresql").render_as_string()


@contextmanager
def setting(address, engine, statement, undo):
    """The database with this setting, for new connections; there are no others."""
    name = engine.url.database
    for words in (statement, undo):
        with psycopg.connect(address, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            connection.execute(words)
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )
        engine.dispose()
        if words is statement:
            yield


def test_a_database_that_is_read_only_takes_no_campaign_and_is_read_as_ever(api, engine, address):
    key = api.submit("a")
    name = engine.url.database
    with setting(
        address, engine, f"ALTER DATABASE {name} SET default_transaction_read_only = on",
        f"ALTER DATABASE {name} RESET default_transaction_read_only",
    ):  # fmt: skip
        answer = api.ask("POST", "/campaigns", {"name": "x", "clusters": {"tiger": {"exec_file": "x"}}, "params": []})
        assert answer.status == 503 and answer.headers["retry-after"]
        assert "read-only" in answer.json()["message"] and "Nothing was done" in answer.json()["message"]
        assert api.ask("DELETE", f"/campaigns/{key}").status == 503
        assert api.get(f"/campaigns/{key}")["total_jobs"] == 1
    assert api.ask("DELETE", f"/campaigns/{key}").status == 202


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=777", "small", tmp_path]
    if os.geteuid() != 0 or subprocess.run(mount).returncode:
        pytest.skip("only root can mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_refuses_new_campaigns_and_breaks_nothing_else(running_on, template, postgres, small_disk, engine):
    space = small_disk / "space"
    space.mkdir(mode=0o777)
    space.chmod(0o777)
    tmp = small_disk
    while tmp != tmp.parent:  # the server is nobody
        os.chmod(tmp, os.stat(tmp).st_mode | 0o011)
        tmp = tmp.parent
    if postgres.user is not None:
        subprocess.run(["chown", postgres.user, space], check=True)
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        connection.execute(f"CREATE DATABASE full_disk TEMPLATE {template.name} TABLESPACE small")
    other = create_engine(engine.url.set(database="full_disk"))
    try:
        with psycopg.connect(other.url.set(drivername="postgresql").render_as_string(), autocommit=True) as connection:
            connection.execute(
                "INSERT INTO clusters (name, api_url, api_auth_type, batch)"
                " VALUES ('tiger', 'http://x', 'none', 'oar3')"
            )
        with running_on(other) as api:
            key = api.submit("a", "b")
            filler = small_disk / "filler"
            with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
                while True:
                    os.write(file.fileno(), b"x" * 65536)
            lines = [f"task {number} {'x' * 200}" for number in range(20_000)]
            jdl = {"name": "x", "clusters": {"tiger": {"exec_file": "x"}}, "params": lines}
            answer = api.ask("POST", "/campaigns", jdl)
            assert answer.status == 503 and "no room left on its disk" in answer.json()["message"]
            assert api.get(f"/campaigns/{key}")["total_jobs"] == 2 and api.get("/campaigns")["total"] == 1
            filler.unlink()
            assert api.ask("POST", "/campaigns", jdl).status == 201
    finally:
        other.dispose()
        with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
            connection.execute("DROP DATABASE full_disk WITH (FORCE)")
            connection.execute("DROP TABLESPACE small")


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_what_was_undone_for_others_sake_is_carried_out_again(api, address, code):
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE tries")
        connection.execute(
            "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF nextval('tries') < 3 THEN RAISE EXCEPTION 'undone' USING ERRCODE = '{code}'; END IF;"
            " RETURN NEW; END $$; CREATE TRIGGER undo BEFORE INSERT ON campaigns FOR EACH ROW EXECUTE FUNCTION undo()"
        )
        try:
            key = api.submit("a", "b", "c")
            assert api.get(f"/campaigns/{key}")["total_jobs"] == 3 and api.get("/campaigns")["total"] == 1
            connection.execute("ALTER SEQUENCE tries RESTART WITH 1 MINVALUE -1000; SELECT setval('tries', -100)")
            answer = api.ask(
                "POST", "/campaigns", {"name": "x", "nb_jobs": 1, "clusters": {"tiger": {"exec_file": "x"}}}
            )
            assert answer.status == 503 and "busy" in answer.json()["message"]
        finally:
            connection.execute("DROP TRIGGER undo ON campaigns; DROP FUNCTION undo; DROP SEQUENCE tries")
