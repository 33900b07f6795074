"""Books with a cluster and campaigns in them, whose balance is checked at the end of each test."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.orm import Session

from cigri.core.outcome import Ended, Outcome, Sign, Verdict, decide
from cigri.core.scheduling import Grant
from cigri.core.states import CampaignState, JobState, TaskState
from cigri.db import allowances, campaigns, check, clusters, jobs, submissions
from cigri.db.engine import create_engine, transaction
from cigri.db.jobs import End, Followed
from cigri.db.submissions import Adopted, Claimed
from cigri.db.tables import Allowance, Campaign, CampaignProgress, Event, Job, Submission, Task

_names = itertools.count()
_remote_ids = itertools.count(1000)


def ending(exit_code: int | None = 0, *signs: Sign, **known: Any) -> Verdict:
    """What core says of such an end."""
    verdict = decide(Ended(exit_code, signs, started=True, looked_before=True, **known))
    assert isinstance(verdict, Verdict)
    return verdict


class Books:
    """A database with short words for what tests do to it; each call is a transaction of its own."""

    success = Verdict(Outcome.SUCCESS, JobState.TERMINATED, TaskState.DONE)
    failed = ending(256)
    preempted = ending(None, Sign("BESTEFFORT_KILL"))
    cancelled = ending(None, kill_reason="cancelled")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def transaction(self, writer: int = 0) -> Any:
        return transaction(self.engine, writer)

    def cluster(self, name: str = "mini", **fields: Any) -> int:
        with self.transaction() as session:
            known = {"api_url": "http://127.0.0.1:1", "api_auth_type": "none", "batch": "oar3", **fields}
            return clusters.declare(session, name, **known).id

    def campaign(
        self,
        cluster_ids: Sequence[int],
        tasks: int = 3,
        *,
        user: str = "alice",
        max_jobs: int | None = None,
        **place: Any,
    ) -> int:
        with self.transaction() as session:
            lines = [f"name{number} {number}" for number in range(tasks)]
            wanted = dict.fromkeys(cluster_ids, campaigns.Place(max_jobs, **place))
            return campaigns.create(session, user, "sample", {"name": "sample"}, wanted, lines, tasks)

    def allow(self, cluster_id: int, campaign_id: int, tasks: int) -> None:
        with self.transaction() as session:
            allowances.write(session, {cluster_id: [Grant(campaign_id, tasks)]})

    def claim(self, cluster_id: int, campaign_id: int, limit: int = 100) -> Claimed | None:
        with self.transaction(cluster_id) as session:
            return self.claim_in(session, cluster_id, campaign_id, limit)

    @staticmethod
    def claim_in(session: Session, cluster_id: int, campaign_id: int, limit: int = 100) -> Claimed | None:
        """A claim as part of somebody's transaction."""
        return submissions.claim(
            session,
            cluster_id=cluster_id,
            url_generation=1,
            campaign_id=campaign_id,
            name=f"cigri.00000000.{campaign_id}.{next(_names)}",
            remote_clock=0.0,
            limit=limit,
        )

    @staticmethod
    def adopted(claimed: Claimed) -> list[Adopted]:
        """Every job of a submission, as found on its cluster."""
        return [Adopted(job_id, next(_remote_ids), index) for index, (job_id, _) in enumerate(claimed.lines, 1)]

    def submit(self, cluster_id: int, campaign_id: int, tasks: int) -> list[int]:
        """Tasks on their way to success: the ids of their jobs, which the cluster has."""
        self.allow(cluster_id, campaign_id, tasks)
        claimed = self.claim(cluster_id, campaign_id, tasks)
        assert claimed is not None and len(claimed.lines) == tasks
        with self.transaction(cluster_id) as session:
            assert submissions.settle(session, claimed.submission_id, self.adopted(claimed), 1) == []
        return [job_id for job_id, _ in claimed.lines]

    def finish(self, cluster_id: int, verdicts: dict[int, Verdict], **known: Any) -> set[int]:
        with self.transaction(cluster_id) as session:
            return jobs.finish(session, cluster_id, [End(job_id, said, **known) for job_id, said in verdicts.items()])

    def followed(self, cluster_id: int) -> list[Followed]:
        with self.transaction() as session:
            return jobs.followed(session, cluster_id)

    def job(self, job_id: int) -> Job:
        with self.transaction() as session:
            return session.get_one(Job, job_id)

    def task_of(self, job_id: int) -> Task:
        with self.transaction() as session:
            return session.scalars(select(Task).join(Job, Job.task_id == Task.id).where(Job.id == job_id)).one()

    def state(self, campaign_id: int) -> CampaignState:
        with self.transaction() as session:
            return session.get_one(Campaign, campaign_id).state

    def submission(self, submission_id: int) -> Submission:
        with self.transaction() as session:
            return session.get_one(Submission, submission_id)

    def allowance(self, cluster_id: int, campaign_id: int) -> Allowance:
        with self.transaction() as session:
            return session.get_one(Allowance, (cluster_id, campaign_id))

    def events(self, code: str) -> list[Event]:
        with self.transaction() as session:
            return list(session.scalars(select(Event).where(Event.code == code).order_by(Event.id)))

    def tasks(self, campaign_id: int) -> Counter[TaskState]:
        """The tasks of a campaign by state, counted one by one."""
        with self.transaction() as session:
            return Counter(session.scalars(select(Task.state).where(Task.campaign_id == campaign_id)))

    def progress(self, campaign_id: int) -> Counter[TaskState]:
        """The same by the counters."""
        with self.transaction() as session:
            row = session.get_one(CampaignProgress, campaign_id)
            return Counter({state: getattr(row, state.value) for state in TaskState if getattr(row, state.value)})

    def insert(self, table: Any, **values: Any) -> int:
        with self.transaction() as session:
            return session.execute(insert(table).values(values).returning(table.id)).scalar_one()

    def update(self, table: Any, key: int, **values: Any) -> None:
        with self.transaction() as session:
            change = update(table).where(table.id == key).values(values)
            session.execute(change.execution_options(synchronize_session=False))

    def faults(self) -> list[str]:
        with self.transaction() as session:
            return check.faults(session)


CLEAN = """
    SET lock_timeout = '10s';
    DELETE FROM grid_usage; DELETE FROM idempotency_keys; DELETE FROM allowances; DELETE FROM jobs; DELETE FROM events;
    DELETE FROM submissions; DELETE FROM tasks; DELETE FROM campaigns; DELETE FROM clusters; DELETE FROM duties;
    DELETE FROM archived_jobs; DELETE FROM archived_tasks; DELETE FROM archived_submissions;
    DELETE FROM archived_events;
"""


@pytest.fixture(scope="session")
def shared(postgres: Any, template: Any) -> Any:
    """One database for all tests here: making one takes longer than most of them."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE shared TEMPLATE {template.name}")
    return dataclasses.replace(template, name="shared")


@pytest.fixture
def database(shared: Any) -> Any:
    """The database, with nothing in it but the grid's name."""
    with psycopg.connect(shared.conninfo, autocommit=True) as connection:
        connection.execute(CLEAN)
    return shared


@pytest.fixture(scope="session")
def shared_engine(shared: Any) -> Iterator[Engine]:
    engine = create_engine(shared.url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database: Any, shared_engine: Engine) -> Engine:
    return shared_engine


@pytest.fixture
def unchecked(engine: Engine) -> Books:
    """Books that the test means to break."""
    return Books(engine)


@pytest.fixture
def books(unchecked: Books) -> Iterator[Books]:
    """Books that must balance when the test is over."""
    yield unchecked
    assert unchecked.faults() == []


@pytest.fixture
def cluster(books: Books) -> int:
    return books.cluster()


@pytest.fixture
def campaign(books: Books, cluster: int) -> int:
    """A campaign of four tasks there."""
    return books.campaign([cluster], 4)


@pytest.fixture
def other_engine(database: Any) -> Iterator[Engine]:
    """The connections of another process."""
    engine = create_engine(database.url, application="other")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def bare(postgres: Any) -> str:
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
    return psycopg.conninfo.make_conninfo(postgres.conninfo, dbname="bare")


@pytest.fixture
def empty(bare: str) -> str:
    """The address of a database with nothing in it."""
    with psycopg.connect(bare, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return bare
