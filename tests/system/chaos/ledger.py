"""The ledger: what really ran, from the clusters' own books and the tasks' marks, compared with the database."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString, NamedTuple, Protocol

from sqlalchemy import Engine

from cigri.core.shell import job_key
from cigri.db import check
from cigri.db.engine import transaction

FINAL = ("Terminated", "Error")


class Books(Protocol):
    """Where the ledger reads."""

    clusters: dict[str, int]
    hidden: set[tuple[str, int]]
    engine: Engine

    def rows(self, query: LiteralString, *values: object) -> list[Any]: ...

    def remote(self, cluster: str) -> list[sqlite3.Row]: ...


class Run(NamedTuple):
    """A job that a cluster had: one start of a task's command, or a prologue's."""

    cluster: str
    id: int
    name: str
    key: int | None
    state: str
    exit_code: int | None
    array: int
    replaces: int
    submitted: float

    @property
    def succeeded(self) -> bool:
        return self.state in FINAL and self.exit_code == 0


class Job(NamedTuple):
    """A row of jobs, with its submission and cluster."""

    id: int
    kind: str
    task: int | None
    state: str
    cluster: str
    remote: int | None
    outcome: str | None
    exit_code: int | None
    event: int | None
    name: str | None
    created: float
    ended: float | None


JOBS = """
    SELECT j.id, j.kind::text, j.task_id, j.state::text, c.name, j.remote_id, j.outcome, j.exit_code, j.event_id,
           s.name, extract(epoch FROM j.created_at)::float8, extract(epoch FROM j.ended_at)::float8
    FROM jobs j JOIN clusters c ON c.id = j.cluster_id LEFT JOIN submissions s ON s.id = j.submission_id
    WHERE j.campaign_id = ANY(%s) ORDER BY j.id
"""


@dataclass
class Judgement:
    """What is wrong, in sentences, and what was counted."""

    problems: list[str] = field(default_factory=list)
    tasks: Counter[str] = field(default_factory=Counter)
    successes: int = 0
    duplicates: int = 0
    losses: int = 0


class Ledger:
    """Judges some campaigns. `patience`: seconds after which a request arrives outside of the assumptions."""

    def __init__(self, books: Books, campaigns: Collection[int], marks: Path, patience: float) -> None:
        self.books = books
        self.campaigns = sorted(campaigns)
        self.patience = patience
        self.marks = [line.split() for line in marks.read_text().splitlines()] if marks.exists() else []
        ids = self.campaigns
        self.tasks: dict[int, tuple[int, str, str]] = {
            row[0]: (row[1], row[2], row[3].split()[0])
            for row in books.rows(
                "SELECT id, campaign_id, state::text, line FROM tasks WHERE campaign_id = ANY(%s)", ids
            )
        }
        self.jobs = [Job(*row) for row in books.rows(JOBS, ids)]
        submissions = books.rows(
            """SELECT s.name, s.state::text, c.name, extract(epoch FROM s.sent_at)::float8, s.void_jobs, s.void_tasks
               FROM submissions s JOIN clusters c ON c.id = s.cluster_id WHERE s.campaign_id = ANY(%s)""",
            ids,
        )
        self.sent = {row[0]: row[3] for row in submissions}
        self.unsettled = [row[0] for row in submissions if row[1] == "sending"]
        self.void = {key: task for row in submissions for key, task in zip(row[4], row[5], strict=True)}
        self.task_of = self.void | {job.id: job.task for job in self.jobs if job.kind == "task"}
        self.runs = [run for cluster in books.clusters for run in self._runs(cluster)]
        self.named: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in self.runs:
            self.named[run.cluster, run.name].append(run)
        self.said = Judgement()

    def _runs(self, cluster: str) -> Iterator[Run]:
        for row in self.books.remote(cluster):
            if row["name"] in self.sent:
                yield Run(
                    *(cluster, row["id"], row["name"], job_key(row["command"]), row["state"], row["exit_code"]),
                    *(row["array_id"], row["resubmit_job_id"], row["submission_time"]),
                )

    def judge(self) -> Judgement:
        """Everything that is promised, looked at in turn."""
        self._balanced()
        self._nothing_passing()
        self._nothing_left()
        self._job_by_job()
        self._counted_once()
        self._never_again()
        self._told()
        self._marks()
        return self.said

    def _wrong(self, sentence: str) -> None:
        self.said.problems.append(sentence)

    def _balanced(self) -> None:
        with transaction(self.books.engine) as session:
            self.said.problems += check.faults(session)
        totals = self.books.rows(
            """SELECT c.id, c.state::text, c.total_tasks, p.pending, p.active, p.done, p.failed, p.cancelled
               FROM campaigns c JOIN campaign_progress p ON p.campaign_id = c.id WHERE c.id = ANY(%s)""",
            self.campaigns,
        )
        for campaign, state, total, pending, active, done, failed, cancelled in totals:
            if pending or active or done + failed + cancelled != total:
                self._wrong(f"campaign {campaign} ({state}): {total} tasks, {pending} pending, {active} active")
            self.said.losses += abs(total - (pending + active + done + failed + cancelled))
            self.said.tasks.update(total=total, done=done, failed=failed, cancelled=cancelled)

    def _nothing_passing(self) -> None:
        for name in self.unsettled:
            self._wrong(f"submission {name} is not settled")
        for job in self.jobs:
            if job.state not in ("terminated", "event"):
                self._wrong(f"job {job.id} is {job.state} at the end")
        query = "SELECT id, state::text FROM campaigns WHERE id = ANY(%s) AND (clearing OR ended_at IS NULL)"
        for campaign, state in self.books.rows(query, self.campaigns):
            self._wrong(f"campaign {campaign} is {state} at the end")

    def _nothing_left(self) -> None:
        for run in self.runs:
            if run.state not in FINAL:
                self._wrong(f"job {run.id} of {run.name} is {run.state} on {run.cluster}")

    def _job_by_job(self) -> None:
        """What the database says of each job is what its cluster says."""
        there = {(run.cluster, run.id): run for run in self.runs}
        for job in self.jobs:
            if job.remote is None:
                continue
            run = there.get((job.cluster, job.remote))
            if run is None or (run.name, run.key) != (job.name, job.id):
                self._wrong(f"job {job.id} is job {job.remote} of {job.cluster}, where it is {run}")
            elif job.state == "terminated" and not run.succeeded:
                self._wrong(f"job {job.id} is terminated, its cluster has {run}")
            elif job.outcome == "exit" and job.exit_code != run.exit_code:
                self._wrong(f"job {job.id} ended with {job.exit_code}, its cluster has {run}")
            elif job.outcome not in ("success", "lost") and run.succeeded and job.kind == "task":
                self._wrong(f"job {job.id} ended as {job.outcome}, its cluster has {run}")

    def _counted_once(self) -> None:
        """A task is done if, and only if, a run of it succeeded; a second success is excused, told and not counted."""
        good: dict[int, list[Run]] = defaultdict(list)
        for run in self.runs:
            task = self.task_of.get(run.key or 0)
            if run.succeeded and task is not None:
                good[task].append(run)
        told = {row[0] for row in self.books.rows("SELECT alike FROM events WHERE code = 'DUPLICATE_RUN'")}
        told |= {row[0] for row in self.books.rows("SELECT job_id FROM events WHERE code = 'DUPLICATE_RUN'")}
        for task, (campaign, state, name) in self.tasks.items():
            runs = good.get(task, [])
            self.said.successes += bool(runs)
            if (state == "done") != bool(runs):
                self._wrong(f"task {task} ({name}) of campaign {campaign} is {state}, its successes: {runs}")
            if len(runs) < 2:
                continue
            self.said.duplicates += len(runs) - 1
            if not any(self._excused(run) for run in runs):
                self._wrong(f"task {task} ({name}) succeeded {len(runs)} times, inside the assumptions: {runs}")
            untold = [run for run in runs if not told & {f"{run.name}/{run.id}", run.key}]
            if len(untold) > 1:
                self._wrong(f"task {task} ({name}) succeeded {len(runs)} times, and not all but one are told: {untold}")
        counted = Counter(job.task for job in self.jobs if job.state == "terminated" and job.kind == "task")
        for task_id, count in counted.items():
            if count > 1:
                self._wrong(f"task {task_id} has {count} jobs that count")

    def _excused(self, run: Run) -> bool:
        """Whether this run is outside of what is assumed of clusters and networks (docs/reliability.md)."""
        same = self.named[run.cluster, run.name]
        late = run.key in self.void and run.submitted - self.sent[run.name] > self.patience
        restarted = any(other.id == run.replaces and other.exit_code == 0 for other in same)
        doubled = len({other.array for other in same}) > 1
        hidden = any((run.cluster, other.id) in self.books.hidden for other in same)
        return late or restarted or doubled or hidden

    def _never_again(self) -> None:
        """Once the database has recorded a success, the task is not started by us again."""
        ended = {job.task: job.ended for job in self.jobs if job.state == "terminated" and job.kind == "task"}
        for job in self.jobs:
            done = ended.get(job.task)
            if done is not None and job.created > done:
                self._wrong(f"job {job.id} was made after its task {job.task} was done")

    def _told(self) -> None:
        """Each failed task has a job with an event that says why."""
        events = {
            row[0] for row in self.books.rows("SELECT id FROM events WHERE campaign_id = ANY(%s)", self.campaigns)
        }
        told = {job.task for job in self.jobs if job.event in events}
        for task, (campaign, state, name) in self.tasks.items():
            if state == "failed" and task not in told:
                self._wrong(f"task {task} ({name}) of campaign {campaign} failed, and nobody is told why")

    def _marks(self) -> None:
        """What the tasks themselves wrote: a mark of success for each success, and no mark of nobody's."""
        marks: Mapping[str, Counter[tuple[str, int]]] = {"S": Counter(), "E": Counter()}
        known = {(run.cluster, run.id) for run in self.runs}
        for kind, _, _, cluster, job in self.marks:
            marks[kind][cluster, int(job)] += 1
        for mark, count in (marks["S"] + marks["E"]).items():
            if mark not in known:
                self._wrong(f"a job {mark} has left {count} marks and is of nobody")
        if not self.marks:
            return
        for run in self.runs:
            if run.succeeded and run.key in self.task_of and marks["E"][run.cluster, run.id] != 1:
                self._wrong(f"{run} has left {marks['E'][run.cluster, run.id]} marks of success")
