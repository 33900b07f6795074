"""gridadmin import-cigri3, on a database in the layout of CiGri 3 that each test fills."""

from __future__ import annotations

import itertools
import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import jwt
import psycopg
import pytest
from click.testing import CliRunner

from cigri.admin.cigri3.source import TABLES
from cigri.admin.gridadmin import gridadmin
from cigri.core import vault
from cigri.db import mappings

_names = itertools.count()
JWT = jwt.encode({"user": "alice_g", "exp": 4102444800}, "k" * 32, algorithm="HS256")
CLUSTER = {"type": "best-effort", "exec_directory": "$HOME", "test_mode": "false", "temporal_grouping": "false",
           "dimensional_grouping": "false", "checkpointing_type": "None", "output_gathering_method": "None",
           "properties": "", "project": "", "cluster_job_type": "", "walltime": "00:30:00",
           "resources": "/resource_id=1", "exec_file": "$HOME/run.sh \\$CIGRI_CAMPAIGN_ID"}  # fmt: skip


class Old:
    """The old database, with short words to fill it."""

    def __init__(self, conninfo, url):
        self.url = url
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._numbers = itertools.count(1000)

    def close(self):
        self._connection.close()

    def insert(self, table, **values):
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        key = "RETURNING id" if table != "queue_counts" else ""
        query = f"INSERT INTO {table} ({names}) VALUES ({marks}) {key}"  # noqa: S608 - our own words
        return self._connection.execute(query, list(values.values())).fetchone()[0]

    def sql(self, statement, *values):
        self._connection.execute(statement, values)

    def cluster(self, name, **values):
        known = {"api_url": f"https://{name}/oarapi/", "api_auth_type": "none", "api_auth_header": "X_REMOTE_IDENT"}
        return self.insert("clusters", name=name, **{**known, "batch": "oar3", "power": 7, **values})

    def campaign(self, user="alice", state="in_treatment", name="sim", clusters=("tiger",), jdl=None, **settings):
        text = {"name": name, "jobs_type": "normal", "params": ["p"] * 3,
                "clusters": {one: {**CLUSTER, **settings} for one in clusters}}  # fmt: skip
        return self.insert(
            "campaigns", grid_user=user, state=state, type="normal", name=name, nb_jobs=3,
            submission_time=datetime(2026, 1, 2, tzinfo=UTC), jdl=json.dumps(text) if jdl is None else jdl,
        )  # fmt: skip

    def task(self, campaign, line, *jobs, bag=None):
        """A task with its tries: (state, cluster, code of an open event or None)."""
        key = self.insert("parameters", campaign_id=campaign, name=line.split()[0], param=line)
        for state, cluster, *code in jobs:
            times = {
                "start_time": datetime(2026, 1, 3, 10, tzinfo=UTC),
                "stop_time": datetime(2026, 1, 3, 11, tzinfo=UTC),
            }
            ended = state in ("terminated", "event")
            job = self.insert(
                "jobs", campaign_id=campaign, param_id=key, cluster_id=cluster, state=state,
                return_code=(0 if state == "terminated" else 256) if ended else None, **(times if ended else {}),
                remote_id=next(self._numbers), submission_time=datetime(2026, 1, 3, tzinfo=UTC),
            )  # fmt: skip
            if code:
                self.insert(
                    "events", **{"class": "job"}, code=code[0], state=("open", *code[1:])[-1], job_id=job,
                    cluster_id=cluster, campaign_id=campaign, message=f"job {job} failed", date_open=datetime.now(UTC),
                )  # fmt: skip
        if bag is not None:
            self.insert("bag_of_tasks", campaign_id=campaign, param_id=key, priority=bag)
        return key


@pytest.fixture(scope="session")
def layout(postgres, template, repository):
    """A database in the old layout: its address for psycopg, and as a URL."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE DATABASE cigri3_cli")
    conninfo = psycopg.conninfo.make_conninfo(postgres.conninfo, dbname="cigri3_cli")
    with psycopg.connect(conninfo, autocommit=True) as made:
        made.execute((repository / "tests/cigri3_layout.sql").read_text())
    return conninfo, f"postgresql://postgres@/cigri3_cli?host={template.host}&port={template.port}"


@pytest.fixture
def old(layout):
    """The old database, with nothing in it."""
    old = Old(*layout)
    old.sql(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
    yield old
    old.close()


@pytest.fixture(scope="session")
def target(postgres, template):
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE imported TEMPLATE {template.name}")
    return replace(template, name="imported")


@pytest.fixture
def database(target):
    """A new grid, with nothing in it."""
    with psycopg.connect(target.conninfo, autocommit=True) as connection:
        connection.execute("TRUNCATE clusters, campaigns, tasks, events, subscriptions RESTART IDENTITY CASCADE")
        connection.execute("ALTER SEQUENCE tasks_id_seq RESTART; ALTER SEQUENCE jobs_id_seq RESTART")
    return target


@pytest.fixture
def bring(tmp_path, database, old):
    """The command, into a new grid."""
    key = tmp_path / "token.key"
    vault.create_key_file(str(key))
    config = tmp_path / "cigri.conf"
    config.write_text(
        f'DATABASE_HOST = "{database.host}"\nDATABASE_PORT = "{database.port}"\nDATABASE_NAME = "{database.name}"\n'
        f'DATABASE_USER_NAME = "postgres"\nTOKEN_KEY_FILE = "{key}"\n'
    )

    def gridadmin_(*arguments, status=0):
        done = CliRunner().invoke(gridadmin, ["--config", str(config), *arguments])
        assert done.exit_code == status, (done.output, done.exception)
        return done

    def bring(*options, status=0, url=old.url):
        return gridadmin_("import-cigri3", url, *options, status=status)

    bring.vault = vault.load(str(key))
    yield bring
    assert "balance" in gridadmin_("db", "check").stdout


@pytest.fixture
def new(database):
    """The new grid's database."""
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        yield lambda query, *values: connection.execute(query, values).fetchall()


def test_clusters(old, bring, new):
    old.sql("SELECT setval('clusters_id_seq', 4)")
    old.cluster("tiger", api_chunk_size=50, properties="gpu=1", ssh_host="tiger.site")
    old.cluster("rennes", batch="g5k")
    old.cluster("older", batch="oar2_5")
    old.cluster("lion", api_auth_type="password", api_username="cigri", api_password="hush", enabled=False)
    told = bring()
    assert new("SELECT id, name, api_url, batch, power, properties, api_chunk_size FROM clusters ORDER BY id") == [
        (5, "tiger", "https://tiger/oarapi", "oar3", 7, "gpu=1", 50),
        (7, "older", "https://older/oarapi", "oar2_5", 7, "", 100),
        (8, "lion", "https://lion/oarapi", "oar3", 7, "", 100),
    ]
    assert new("SELECT name FROM clusters WHERE enabled AND id <> 7") == [("tiger",)]
    assert "left out: cluster rennes (number 6): batch g5k is gone" in told.stderr
    sealed = new("SELECT api_password FROM clusters WHERE name = 'lion'")[0][0]
    assert "hush" not in sealed and bring.vault.open(sealed, "password of cluster lion") == "hush"
    assert new("SELECT nextval('clusters_id_seq')") == [(9,)]
    assert "hush" not in told.output


def test_users(old, bring, new):
    tiger, lion = old.cluster("tiger", api_auth_type="jwt"), old.cluster("lion")
    old.insert("users_mapping", grid_login="alice", cluster_login=f"Bearer {JWT}", cluster_id=tiger)
    old.insert("users_mapping", grid_login="bob", cluster_login="Bearer nonsense", cluster_id=tiger)
    old.insert("users_mapping", grid_login="bob", cluster_login="bobby", cluster_id=lion)
    for user, cluster, priority in (("alice", tiger, 2), ("bob", lion, 50)):
        old.insert("users_priority", grid_user=user, cluster_id=cluster, priority=priority)
    for user, kind, identity, severity in (
        ("%%admin%%", "mail", "root@x.org", "high"),
        ("alice", "xmpp", "alice@x.org", None),
        ("bob", "irc", "bob", "low"),
    ):  # fmt: skip
        old.insert("user_notifications", grid_user=user, type=kind, identity=identity, severity=severity)
    told = bring()
    assert new("SELECT grid_login, cluster_id, cluster_login, token_login FROM users_mapping ORDER BY 1") == [
        ("alice", tiger, None, "alice_g"), ("bob", lion, "bobby", None),
    ]  # fmt: skip
    sealed = new("SELECT token FROM users_mapping WHERE grid_login = 'alice'")[0][0]
    assert bring.vault.open(sealed, mappings.purpose("alice", tiger)) == JWT
    assert "left out: token of bob for tiger: this is no token" in told.stderr
    assert JWT not in told.output and "nonsense" not in told.output and JWT not in sealed
    assert new("SELECT grid_user, cluster_id, priority FROM users_priority ORDER BY 1") == [
        ("alice", tiger, 2),
        ("bob", lion, 4),
    ]
    assert "priority 50 of bob on lion becomes 4" in told.stderr
    assert new("SELECT grid_user, type::text, identity, severity::text FROM subscriptions ORDER BY 1") == [
        ("alice", "jabber", "alice@x.org", "low"), ("root", "mail", "root@x.org", "high"),
    ]  # fmt: skip
    assert "subscription of bob by irc" in told.stderr


def test_an_unfinished_campaign(old, bring, new):
    """K8."""
    tiger, lion = old.cluster("tiger"), old.cluster("lion")
    old.sql("SELECT setval('campaigns_id_seq', 70)")
    old.sql("SELECT setval('parameters_id_seq', 500)")
    ended = old.campaign(state="terminated")
    old.task(ended, "long-ago")
    key = old.campaign(
        clusters=("tiger", "lion", "gone"),
        max_jobs="5",
        prologue=["mkdir \\$HOME/\\$CIGRI_CAMPAIGN_ID"],
        epilogue=["true"],
    )
    tasks = {
        "pending": [old.task(key, "a 1", bag=10), old.task(key, "b", ("event", tiger, "RESUBMIT", "closed"), bag=20)],
        "done": [
            old.task(key, "c", ("terminated", tiger)),
            old.task(key, "d", ("terminated", lion), ("terminated", lion), bag=10),
        ],
        "failed": [old.task(key, f"e{n}", ("event", tiger, "EXIT_ERROR")) for n in range(3)]
        + [old.task(key, "f", ("event", lion, "EXIT_ERROR", "closed"))],
        "cancelled": [old.task(key, "g")],
    }  # fmt: skip
    old.insert("jobs", campaign_id=key, param_id=0, cluster_id=tiger, state="terminated", tag="prologue")
    old.task(key, "h", ("to_launch", tiger))
    tasks["pending"].append(old.insert("parameters", campaign_id=key, name="i", param="i"))
    old.insert("bag_of_tasks", campaign_id=key, param_id=tasks["pending"][-1], priority=0)
    paused = old.campaign(user="bob", state="paused")
    told = bring()
    assert new("SELECT id, grid_user, state::text, total_tasks FROM campaigns ORDER BY 1") == [
        (key, "alice", "in_treatment", 11), (paused, "bob", "paused", 0),
    ]  # fmt: skip
    assert key == 72 and new("SELECT submission_time FROM campaigns WHERE id = 72") == [
        (datetime(2026, 1, 2, tzinfo=UTC),)
    ]
    for state, ids in tasks.items():
        found = {row[0] for row in new("SELECT id FROM tasks WHERE state = %s::task_state", state)}
        assert found >= set(ids) and len(found) == len(ids) + (state == "pending")
    assert new("SELECT line, priority FROM tasks WHERE state = 'pending' ORDER BY id") == [
        ("a 1", 10), ("b", 20), ("h", 10), ("i", 0),
    ]  # fmt: skip
    assert new("SELECT code, count, cluster_id, campaign_id FROM events WHERE state = 'open'") == [
        ("EXIT_ERROR", 3, tiger, key)
    ]
    assert new("SELECT count(*) FROM jobs WHERE event_id IS NOT NULL") == [(3,)]
    assert new(
        "SELECT state::text, prologue, cluster_id FROM stages JOIN campaign_clusters USING (campaign_id, cluster_id)"
    ) == [("done", True, tiger)]
    places = "SELECT cluster_id, owes_epilogue, done, max_jobs FROM campaign_clusters WHERE campaign_id = 72 ORDER BY 1"
    assert new(places) == [(tiger, True, 1, 5), (lion, True, 1, 5)]
    jdl = new("SELECT jdl FROM campaigns WHERE id = 72")[0][0]
    assert jdl["clusters"]["tiger"]["exec_file"] == "$HOME/run.sh {CAMPAIGN_ID}" and set(jdl["clusters"]) == {
        "tiger",
        "lion",
    }
    assert jdl["clusters"]["tiger"]["prologue"] == ["mkdir {HOME}/{CAMPAIGN_ID}"]
    assert "gone" in told.stderr and "2 campaigns" in told.stdout
    assert new("SELECT sum(jobs), sum(seconds) FROM campaign_ends WHERE outcome = 'success'") == [(2, 7200)]
    assert new("SELECT nextval('campaigns_id_seq'), nextval('tasks_id_seq') > 512") == [(74, True)]


def test_numbers_go_on_above_those_of_what_is_not_brought(old, bring, new):
    old.cluster("tiger")
    for table in ("campaigns", "jobs", "events", "parameters"):
        old.sql(f"SELECT setval('{table}_id_seq', 123456)")
    bring()
    for name in ("campaigns", "jobs", "events", "tasks"):
        assert new(f"SELECT nextval('{name}_id_seq')") == [(123457,)], name  # noqa: S608 - our own words


def test_what_this_version_cannot_run_is_left_out_with_the_reason(old, bring, new):
    old.cluster("tiger")
    bad = {
        old.campaign(temporal_grouping="true"): "temporal_grouping",
        old.campaign(cluster_job_type="idempotent"): "idempotent is refused",
        old.campaign(clusters=("elsewhere",)): "elsewhere",
        old.campaign(jdl="{"): "line 1",
        old.campaign(jdl="[]"): "is no JDL",
    }
    quotes = old.campaign()
    old.task(quotes, "it's", bag=10)
    good = old.campaign(strange="thing")
    told = bring()
    assert new("SELECT id FROM campaigns") == [(good,)]
    for key, why in (*bad.items(), (quotes, "1 of its parameters cannot be sent")):
        line = next(line for line in told.stderr.splitlines() if line.startswith(f"left out: campaign {key} "))
        assert why in line
    assert f'note: campaign {good} of alice: "strange" meant nothing' in told.stderr


def test_blacklists_and_usage(old, bring, new):
    tiger, lion = old.cluster("tiger"), old.cluster("lion")
    since = datetime(2025, 5, 5, tzinfo=UTC)
    for code, cluster, state in (
        ("CLUSTER_MANUALLY_DISABLED", tiger, "open"), ("CLUSTER_MANUALLY_DISABLED", tiger, "open"),
        ("CLUSTER_MANUALLY_DISABLED", lion, "closed"), ("TIMEOUT", lion, "open"), ("BLACKLIST", lion, "open"),
    ):  # fmt: skip
        old.insert(
            "events", **{"class": "cluster"}, code=code, state=state, cluster_id=cluster, date_open=since, message="m"
        )
    for minute in (1, 2, 2):
        counted = {"max_resources": 10, "used_resources": 5, "unavailable_resources": 1, "used_by_cigri": 3}
        old.insert("grid_usage", date=since.replace(minute=minute), cluster_id=tiger, **counted)
    bring()
    assert new("SELECT code, cluster_id, state::text, date_open FROM events ORDER BY id") == [
        ("CLUSTER_MANUALLY_DISABLED", tiger, "open", since), ("BLACKLIST", tiger, "open", since),
    ]  # fmt: skip
    assert new("SELECT count(*), sum(used_by_cigri), sum(unavailable_resources) FROM grid_usage") == [(2, 6, 2)]


def test_priorities_may_be_changed(database, tmp_path, new):
    config = tmp_path / "cigri.conf"
    config.write_text(
        f'DATABASE_HOST = "{database.host}"\nDATABASE_PORT = "{database.port}"\nDATABASE_NAME = "{database.name}"\n'
        'DATABASE_USER_NAME = "postgres"\n'
    )

    def priority(*words, status=0):
        done = CliRunner().invoke(gridadmin, ["--config", str(config), "user", "priority", *words])
        assert done.exit_code == status, done.output
        return done.output

    columns = "name, api_url, api_auth_type, batch"
    new(f"INSERT INTO clusters ({columns}) VALUES ('tiger', 'http://x', 'none', 'oar3') RETURNING 1")  # noqa: S608
    assert priority() == "all users have priority 0 on all clusters\n"
    assert priority("alice", "tiger", "-2") == "alice has priority -2 on tiger\n"
    assert priority() == "alice on tiger: -2\n"
    priority("alice", "tiger", "0")
    assert priority() == "all users have priority 0 on all clusters\n"
    assert "-4<=x<=4" in priority("alice", "tiger", "5", status=2)
    assert "did you mean tiger" in priority("alice", "tigre", "1", status=1)


def test_admission_rules_are_listed(old, bring):
    old.insert("admission_rules", code="# shipped\nuser_lists = JSON...\nuser_lists['normal_authorized']")
    old.insert("admission_rules", code="\n# Title: only on Sundays\nraise 'no'")
    told = bring("--dry-run").stderr
    assert "rule 1 is here already as 10-user-lists.py" in told
    assert "to be rewritten: admission rule 2: # Title: only on Sundays (docs/admission.md)" in told


def test_jobs_on_clusters_are_refused(old, bring, new):
    tiger = old.cluster("tiger")
    key = old.campaign()
    for state in ("submitted", "running", "running", "to_launch"):
        old.task(key, f"t{state}{next(_names)}", (state, tiger))
    told = bring(status=1).stderr
    assert "jobs are still on the clusters: 3 on tiger" in told and "--wait-drained" in told and "--adopt" in told
    assert new("SELECT count(*) FROM clusters") == [(0,)]


def test_waiting_for_them(old, bring, new):
    tiger = old.cluster("tiger")
    task = old.task(old.campaign(), "x", ("running", tiger))

    def end():
        time.sleep(0.5)
        old.sql("UPDATE jobs SET state = 'terminated', start_time = now(), stop_time = now()")

    thread = threading.Thread(target=end)
    thread.start()
    told = bring("--wait-drained", "--look-every", "0.1")
    thread.join()
    assert told.stdout.startswith("waiting for the jobs on the clusters: 1 on tiger\nbrought: ")
    assert new("SELECT id, state::text FROM tasks") == [(task, "done")]


def test_only_into_a_new_grid_and_whole_or_not_at_all(old, bring, new):
    old.cluster("tiger")
    old.campaign()
    bring("--dry-run")
    assert new("SELECT count(*) FROM clusters") == [(0,)]
    bring()
    assert "numbers would clash" in bring(status=1).stderr
    assert new("SELECT count(*) FROM clusters") == [(1,)]


def test_other_databases_are_refused(bring, database):
    told = bring(url=f"postgresql://postgres@/{database.name}?host={database.host}&port={database.port}", status=1)
    assert "this is no database of a CiGri 3: it has no table parameters, bag_of_tasks" in told.stderr
    told = bring(url="postgresql://postgres:hush@127.0.0.1:1/none", status=1)
    assert "the database of CiGri 3: " in told.stderr and "hush" not in told.output
