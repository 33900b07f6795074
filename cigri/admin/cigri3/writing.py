"""What was planned goes into the grid's database, in one transaction; numbers are kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from cigri.admin.cigri3 import translate
from cigri.admin.cigri3.plan import DISABLED, Job, Plan
from cigri.admin.cigri3.source import Row, Source
from cigri.clusters.connect import password_purpose
from cigri.core import adopted, jdl
from cigri.core.jdl import Campaign
from cigri.core.outcome import Outcome
from cigri.core.states import JobKind, JobState, StageState, SubmissionState, TaskState
from cigri.core.vault import Vault
from cigri.db import clusters, events, mappings, tables
from cigri.db.campaigns import Place
from cigri.db.copying import copy
from cigri.errors import DatabaseError

ROWS = 5000
JOBS = 20_000  # at a time: their events are recorded before
HELD = "it was being sent when CiGri 3 was stopped: whether it ran is not known; look, then resubmit it or not"
# Old tables, and the sequences that go on above their numbers.
SEQUENCES = {
    "clusters": "clusters_id_seq",
    "campaigns": "campaigns_id_seq",
    "parameters": "tasks_id_seq",
    "jobs": "jobs_id_seq",
    "events": "events_id_seq",
}


def write(session: Session, source: Source, plan: Plan, vault: Vault | None) -> Counter[str]:
    """Write everything; how much of each. Raises DatabaseError unless the grid is a new one."""
    _require_empty(session)
    done: Counter[str] = Counter()
    _go_on_above(session, source)
    _write_clusters(session, plan, vault)
    _write_users(session, plan, vault)
    for row, campaign in plan.campaigns:
        done += _CampaignWriter(session, source, plan, row, campaign).write()
    done["lines of grid usage"] = _write_usage(session, source, plan)
    for cluster_id, message, since in plan.blacklists:
        event_id = events.record(session, events.News(DISABLED, message, cluster_id=cluster_id))
        session.execute(
            text("UPDATE events SET date_open = :since WHERE id = :id OR parent = :id"),
            {"since": since, "id": event_id},
        )
    done["clusters"] = len(plan.clusters)
    done["logins"], done["tokens"] = len(plan.logins), len(plan.tokens)
    done["priorities"], done["subscriptions"] = len(plan.priorities), len(plan.subscriptions)
    done["manual blacklists"] = len(plan.blacklists)
    return done


def _require_empty(session: Session) -> None:
    for table in (tables.Cluster, tables.Campaign):
        if session.scalar(select(func.count()).select_from(table)):
            raise DatabaseError(
                f"the grid has {table.__tablename__} already: numbers would clash. Import into a new database "
                "(createdb, gridadmin db init)"
            )


def _go_on_above(session: Session, source: Source) -> None:
    for table, sequence in SEQUENCES.items():
        highest = source.maximum(table)
        if highest:
            above = text(
                "SELECT setval(CAST(:name AS regclass), greatest(:highest, nextval(CAST(:name AS regclass)) - 1))"
            )
            session.execute(above, {"name": sequence, "highest": highest})


def _write_clusters(session: Session, plan: Plan, vault: Vault | None) -> None:
    for known in plan.clusters:
        secret = plan.passwords.get(known["id"])
        sealed = vault.seal(secret, password_purpose(known["name"])) if secret and vault else None
        clusters.declare(session, **known, api_password=sealed)


def _write_users(session: Session, plan: Plan, vault: Vault | None) -> None:
    for user, cluster_id, login in plan.logins:
        mappings.map_login(session, user, cluster_id, login)
    for token in plan.tokens:
        assert vault is not None
        sealed = vault.seal(token.text, mappings.purpose(token.user, token.cluster_id))
        mappings.store(session, token.user, token.cluster_id, sealed, token.said)
    names = ("grid_user", "cluster_id", "priority")
    _insert(session, tables.UserPriority, [dict(zip(names, row, strict=True)) for row in plan.priorities])
    columns = ("grid_user", "type", "identity", "severity")
    _insert(session, tables.Subscription, [dict(zip(columns, row, strict=True)) for row in plan.subscriptions])


def _insert(session: Session, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    for first in range(0, len(rows), ROWS):
        session.execute(insert(table), rows[first : first + ROWS])


def _write_usage(session: Session, source: Source, plan: Plan) -> int:
    names, seen = plan.names, set()

    def lines() -> Iterable[Sequence[Any]]:
        for row in source.stream("grid_usage"):
            place = (row["date"], row["cluster_id"])
            if row["cluster_id"] in names and place not in seen:
                seen.add(place)
                used = [row[name] or 0 for name in ("max_resources", "used_resources", "used_by_cigri")]
                yield (*place, *used, row["unavailable_resources"] or 0)

    columns = "date, cluster_id, max_resources, used_resources, used_by_cigri, unavailable_resources"
    return copy(session, f"COPY grid_usage ({columns}) FROM STDIN", lines())


class _CampaignWriter:
    """One unfinished campaign with all its tasks, and the tries that they had."""

    def __init__(self, session: Session, source: Source, plan: Plan, row: Row, campaign: Campaign) -> None:
        self._session, self._source, self._plan = session, source, plan
        self._row, self._campaign, self._id = row, campaign, int(row["id"])
        self._places = {number: name for number, name in plan.names.items() if name in campaign.clusters}
        self._adopted = [job for job in plan.adopted if job.row["campaign_id"] == self._id]
        self._held = [job for job in plan.held if job["campaign_id"] == self._id]
        self._now = datetime.now(UTC)  # of things without a date
        self._done: set[int] = set()
        self._failed: set[int] = set()
        self._submissions: dict[int, int] = {}
        self._opened: dict[tuple[int, str], int] = {}

    def write(self) -> Counter[str]:
        self._write_campaign()
        counted = self._write_tasks()
        self._write_ended()
        for job in self._adopted:
            self._adopt(job)
        for held in self._held:
            self._hold(held)
        self._settle_places()
        return Counter({"campaigns": 1, **{f"tasks {state}": number for state, number in counted.items()}})

    def _write_campaign(self) -> None:
        row = self._row
        values = {
            "id": self._id,
            "grid_user": row["grid_user"],
            "name": self._campaign.name,
            "state": row["state"],
            "jdl": jdl.expanded(self._campaign),
            "total_tasks": 0,
            "submission_time": row["submission_time"] or func.now(),
        }
        self._session.execute(insert(tables.Campaign).values(values))
        places = [
            {"campaign_id": self._id, "cluster_id": number, **asdict(Place.of(self._campaign.clusters[name]))}
            for number, name in self._places.items()
        ]
        self._session.execute(insert(tables.CampaignCluster), places)

    def _write_tasks(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        on_clusters = {job.row["param_id"] for job in self._adopted}
        held = {job["param_id"] for job in self._held}

        def lines() -> Iterable[Sequence[Any]]:
            for task in self._source.tasks(self._id):
                state = translate.task_state(task, on_clusters, held)
                counted[state] += 1
                if state is TaskState.DONE:
                    self._done.add(task.id)
                elif state is TaskState.FAILED:
                    self._failed.add(task.id)
                yield (task.id, self._id, state.value, translate.priority(task), task.line)

        total = copy(self._session, "COPY tasks (id, campaign_id, state, priority, line) FROM STDIN", lines())
        change = text("UPDATE campaigns SET total_tasks = :total WHERE id = :id")
        self._session.execute(change, {"total": total, "id": self._id})
        return counted

    def _write_ended(self) -> None:
        """The tries that ended: for the statistics, and for the events of tasks that are set aside."""
        rows, left = [], set(self._done)
        for job in self._source.ended_jobs(self._id):
            if not job["of_task"] or job["cluster_id"] not in self._places:
                continue  # a prologue, an epilogue
            if job["state"] == "terminated":
                if job["param_id"] not in left:
                    continue  # a second success of one task is none here
                left.discard(job["param_id"])
            rows.append(self._ended(job))
            if len(rows) == JOBS:
                self._copy_jobs(rows)
                rows = []
        self._copy_jobs(rows)

    def _copy_jobs(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            columns = ", ".join(rows[0])
            copy(self._session, f"COPY jobs ({columns}) FROM STDIN", (tuple(row.values()) for row in rows))

    def _ended(self, job: Row) -> dict[str, Any]:
        good = job["state"] == "terminated"
        waits = job["open"] and job["param_id"] in self._failed
        return {
            "id": job["id"],
            "task_id": job["param_id"],
            "campaign_id": self._id,
            "cluster_id": job["cluster_id"],
            "submission_id": self._submission(job["cluster_id"]),
            "state": (JobState.TERMINATED if good else JobState.EVENT).value,
            "remote_id": job["remote_id"],
            "created_at": job["submission_time"] or self._row["submission_time"] or self._now,
            "start_time": job["start_time"],
            "stop_time": job["stop_time"],
            "exit_code": job["return_code"],
            "outcome": translate.outcome(job).value,
            "node_name": job["node_name"],
            "resources_used": job["resources_used"],
            "event_id": self._event(job["cluster_id"], translate.code(job), job["message"], job["id"])
            if waits
            else None,
            "ended_at": job["stop_time"] or job["submission_time"] or self._row["submission_time"] or self._now,
        }

    def _submission(self, cluster_id: int) -> int:
        """What the tries that ended on a cluster are said to have been sent with."""
        if cluster_id not in self._submissions:
            name = f"cigri3.{self._id}.{cluster_id}"
            self._submissions[cluster_id] = self._open_submission(name, cluster_id, self._row["grid_user"], None)
        return self._submissions[cluster_id]

    def _open_submission(self, name: str, cluster_id: int, login: str, array_id: int | None) -> int:
        values = {
            "name": name,
            "campaign_id": self._id,
            "cluster_id": cluster_id,
            "login": login,
            "url_generation": 1,
            "state": SubmissionState.SETTLED,
            "settled_at": func.now(),
            "size": 1,
            "remote_clock": 0.0,
            "array_id": array_id,
        }
        return self._session.execute(
            insert(tables.Submission).values(values).returning(tables.Submission.id)
        ).scalar_one()

    def _event(self, cluster_id: int, code: str, message: str | None, job_id: int) -> int:
        news = events.News(code, message or "", self._id, cluster_id, job_id, alike="cigri3")
        return events.record(self._session, news)

    def _adopt(self, job: Job) -> None:
        row = job.row
        name = adopted.name(self._id, row["id"], job.command)
        submission = self._open_submission(name, row["cluster_id"], job.login, job.array_id)
        values = {
            "id": row["id"],
            "task_id": row["param_id"],
            "campaign_id": self._id,
            "cluster_id": row["cluster_id"],
            "submission_id": submission,
            "state": JobState.RUNNING if job.running else JobState.REMOTE_WAITING,
            "remote_id": row["remote_id"],
            "created_at": row["submission_time"] or func.now(),
            "start_time": func.to_timestamp(job.started) if job.started else None,
        }
        self._session.execute(insert(tables.Job).values(values))

    def _hold(self, row: Row) -> None:
        """A job of which nothing is known: its task waits for its owner."""
        values = {
            "id": row["id"],
            "task_id": row["param_id"],
            "campaign_id": self._id,
            "cluster_id": row["cluster_id"],
            "submission_id": self._submission(row["cluster_id"]),
            "state": JobState.EVENT,
            "outcome": Outcome.LOST.value,
            "event_id": self._event(row["cluster_id"], "JOB_LOST", HELD, row["id"]),
            "ended_at": func.now(),
        }
        self._session.execute(insert(tables.Job).values(values))

    def _settle_places(self) -> None:
        """Prologues that ended well are not run again; what was begun wants its epilogue."""
        begun: defaultdict[int, bool] = defaultdict(bool)
        for ended in self._source.ended_jobs(self._id):
            begun[ended["cluster_id"]] = True
            if ended["tag"] == "prologue" and ended["state"] == "terminated":
                self._stage(ended["cluster_id"])
        for job in self._adopted:
            begun[job.row["cluster_id"]] = True
        change = text("""
            UPDATE campaign_clusters AS c SET owes_epilogue = c.epilogue AND c.cluster_id = ANY(:begun), done =
                (SELECT count(*) FROM jobs j WHERE j.campaign_id = c.campaign_id AND j.cluster_id = c.cluster_id
                                             AND j.kind = 'task' AND j.state = 'terminated')
            WHERE c.campaign_id = :id""")
        self._session.execute(change, {"begun": [number for number in begun if number in self._places], "id": self._id})

    def _stage(self, cluster_id: int) -> None:
        name = self._places.get(cluster_id)
        if name is None or not self._campaign.clusters[name].prologue:
            return
        values = {"campaign_id": self._id, "cluster_id": cluster_id, "kind": JobKind.PROLOGUE, "round": 1}
        known = select(tables.Stage.state).filter_by(**values)
        if self._session.scalar(known) is None:
            self._session.execute(insert(tables.Stage).values(**values, state=StageState.DONE))
