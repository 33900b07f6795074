"""Bringing databases to the schema: once, whole, in order, by one at a time."""

from __future__ import annotations

import json
import shutil
import threading

import psycopg
import pytest

from cigri.db.migrate import migrate, require_current, sql_folder, steps
from cigri.errors import DatabaseError, SchemaMismatch


@pytest.fixture
def folder(tmp_path):
    """A small schema of its own, to be added to."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "schema.sql").write_text(
        "CREATE TABLE grid (id text, system_identifier bigint, timeline integer);\n"
        "CREATE SEQUENCE campaigns_id_seq; CREATE TABLE first (word text);"
    )
    return tmp_path


def add(folder, name, sql):
    (folder / "migrations" / name).write_text(sql)


def tables(address):
    with psycopg.connect(address) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in found}


def ledger(address):
    with psycopg.connect(address) as connection:
        return connection.execute("SELECT version, name FROM schema_migrations ORDER BY version").fetchall()


def test_the_shipped_schema_is_applied_once(empty):
    applied = migrate(empty)
    assert applied[0] == "schema.sql" and migrate(empty) == []
    assert [name for _, name in ledger(empty)] == applied
    require_current(empty)


def test_the_grid_gets_a_name_that_stays(empty):
    migrate(empty)
    with psycopg.connect(empty) as connection:
        before = connection.execute("SELECT * FROM grid").fetchall()
    migrate(empty)
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT * FROM grid").fetchall() == before and len(before) == 1


def test_the_first_campaign_may_be_numbered(empty):
    migrate(empty, first_campaign=5000)
    with psycopg.connect(empty) as connection:
        made = connection.execute(
            "INSERT INTO campaigns (grid_user, name, jdl, total_tasks) VALUES ('alice', '', '{}', 0) RETURNING id"
        ).fetchone()
    assert made == (5000,)


def test_steps_are_applied_in_order_and_later_ones_when_they_come(empty, folder):
    add(folder, "002_second.sql", "CREATE TABLE second (word text); INSERT INTO first VALUES ('%s $$');")
    assert migrate(empty, folder) == ["schema.sql", "002_second.sql"]
    add(folder, "003_third.sql", "ALTER TABLE second RENAME TO third;")
    with pytest.raises(SchemaMismatch, match=r"003_third\.sql.*gridadmin db migrate"):
        require_current(empty, folder)
    assert migrate(empty, folder) == ["003_third.sql"]
    assert tables(empty) == {"grid", "first", "third", "schema_migrations"}
    require_current(empty, folder)


def test_two_at_once_apply_each_step_once(empty, folder):
    add(folder, "002_slow.sql", "SELECT pg_sleep(0.3); CREATE TABLE slow (word text);")
    start, applied = threading.Barrier(3), []

    def run():
        start.wait()
        applied.append(migrate(empty, folder))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [[], [], ["schema.sql", "002_slow.sql"]]


def test_a_step_that_fails_leaves_nothing_behind(empty, folder):
    add(folder, "002_good.sql", "CREATE TABLE good (word text);")
    add(folder, "003_bad.sql", "CREATE TABLE half (word text); SELECT 1 / 0;")
    add(folder, "004_never.sql", "CREATE TABLE never (word text);")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty, folder)
    assert tables(empty) == {"grid", "first", "good", "schema_migrations"}
    assert [version for version, _ in ledger(empty)] == [1, 2]
    add(folder, "003_bad.sql", "CREATE TABLE half (word text);")
    assert migrate(empty, folder) == ["003_bad.sql", "004_never.sql"], "it never was applied: it may be mended"


@pytest.mark.parametrize("name", ["schema.sql", "migrations/002_second.sql"])
def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty, folder, name):
    add(folder, "002_second.sql", "CREATE TABLE second (word text);")
    migrate(empty, folder)
    with (folder / name).open("a") as file:
        file.write("\n-- a harmless remark\n")
    for look in (migrate, require_current):
        with pytest.raises(DatabaseError, match="was changed after it was applied"):
            look(empty, folder)


@pytest.mark.parametrize(
    "names",
    [["003_gap.sql"], ["002_a.sql", "004_gap.sql"], ["002_a.sql", "002_b.sql"], ["2_short.sql"], ["remark.sql"],
     ["001_again.sql"]],
)  # fmt: skip
def test_numbers_have_no_gaps(folder, names):
    for name in names:
        add(folder, name, "SELECT 1;")
    with pytest.raises(DatabaseError, match="numbered 002_what.sql"):
        steps(folder)


def test_nothing_is_applied_where_a_number_is_missing(empty, folder):
    add(folder, "003_gap.sql", "SELECT 1;")
    with pytest.raises(DatabaseError, match="without gaps"):
        migrate(empty, folder)
    assert "first" not in tables(empty)


def test_the_shipped_files_are_numbered(repository):
    assert [step.version for step in steps(repository / "sql")] == list(range(1, len(steps(repository / "sql")) + 1))


def test_a_database_that_is_newer_than_the_program_is_left_alone(empty, folder, tmp_path_factory):
    old = shutil.copytree(folder, tmp_path_factory.mktemp("old") / "sql")
    add(folder, "002_second.sql", "CREATE TABLE second (word text);")
    migrate(empty, folder)
    for look in (migrate, require_current):
        with pytest.raises(DatabaseError, match="newer than this program"):
            look(empty, old)


def test_an_empty_database_is_told_from_one_that_is_behind(empty):
    with pytest.raises(SchemaMismatch, match="gridadmin db init"):
        require_current(empty)
    assert tables(empty) == set(), "looking changes nothing"


def test_an_address_may_be_a_url(database):
    assert migrate(database.url) == []
    require_current(database.url)


def test_what_was_released_stays_as_it_was() -> None:
    """Grids have applied this very file, and refuse another one: changes are migrations."""
    assert steps(sql_folder())[0].sha256 == "d8285fce030e70bad361c71029d4c3f6828100512cb7d34c585c10ca5380c314"


def old_campaign(connection, job):
    """A campaign of before the sizes of jobs were known, on a cluster of its own; its id."""
    number = connection.execute("SELECT count(*) FROM clusters").fetchone()[0]
    (cluster,) = connection.execute(
        "INSERT INTO clusters (name, api_url, api_auth_type, batch) SELECT %s, 'http://c', 'none', 'oar3' RETURNING id",
        (f"c{number}",),
    ).fetchone()
    jdl = json.dumps({"clusters": {f"c{number}": job}})
    (campaign,) = connection.execute(
        "INSERT INTO campaigns (grid_user, name, jdl, total_tasks) VALUES ('alice', 'old', %s, 1) RETURNING id", (jdl,)
    ).fetchone()
    longest = 3600.0 * 16 if "=16" in job.get("resources", "") else 3600.0
    pair = "INSERT INTO campaign_clusters (campaign_id, cluster_id, longest) VALUES (%s, %s, %s)"
    connection.execute(pair, (campaign, cluster, longest))
    return campaign


def test_the_jobs_of_older_campaigns_get_their_sizes(empty, tmp_path):
    shutil.copytree(sql_folder(), tmp_path / "old")
    for file in (tmp_path / "old/migrations").glob("*.sql"):
        if int(file.name[:3]) >= 8:
            file.unlink()
    migrate(empty, tmp_path / "old")
    hour, walltime = {"walltime": "1:00:00"}, "walltime"
    jobs = {
        (1, False): {"resources": "/resource_id=1", **hour},
        (16, False): {"resources": "/nodes=1/core=16", **hour},
        (1, True): {"resources": "/nodes=1", "properties": "", **hour},
        (16, True): {"resources": "/core=16", "properties": "gpu='YES'", **hour},
    }
    odd = [{"resources": "{mem>1}/core=1", walltime: "0:90:00"}, {walltime: "x"}, {}]
    with psycopg.connect(empty) as connection:
        known = {old_campaign(connection, job): expected for expected, job in jobs.items()}
        others = [old_campaign(connection, job) for job in odd]
    migrate(empty)
    with psycopg.connect(empty) as connection:
        rows = connection.execute("SELECT campaign_id, cores, choosy FROM campaign_clusters").fetchall()
    found = {campaign: (cores, choosy) for campaign, cores, choosy in rows}
    assert {campaign: found[campaign] for campaign in known} == known
    assert [found[campaign] for campaign in others] == [(1, True), (1, False), (1, False)]
