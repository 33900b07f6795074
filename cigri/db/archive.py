"""Old campaigns in tables of their own, so that those that the daemons work on stay small.

Rows are moved in batches, each a transaction under the lock of its campaign; whoever reads uses the views all_* and
sees each row once, wherever it is. What has to change again (a failed task to be run again) is brought back first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from cigri.core.states import UNFINISHED, EventState, SubmissionState
from cigri.db import stages
from cigri.db.arrays import among
from cigri.db.tables import (
    LIVING,
    ArchivedJob,
    ArchivedTask,
    Campaign,
    CampaignCount,
    Event,
    Job,
    Submission,
)

_NO_SYNC = {"synchronize_session": False}

# The sweep asks whether it has told these; the others are dropped when they are old (see upkeep).
KEPT_CODES = ("DUPLICATE_RUN", "STRAY_JOB", "LATE_SUCCESS")
PASSED_CODES = ("RESUBMIT", "RESUBMIT_END", "OAR_AUTO_RESUBMIT", "UNKNOWN_STATE")

# In the order of their ids from where the last batch ended: what was deleted before it is not walked over again.
_MOVE_TASKS = text("""
    WITH batch AS MATERIALIZED (
        SELECT id FROM tasks WHERE (campaign_id, id) > (:campaign, :after) AND campaign_id <= :campaign
        ORDER BY campaign_id, id LIMIT :most
    ), old_jobs AS (
        DELETE FROM jobs AS j USING batch WHERE j.task_id = batch.id RETURNING j.*
    ), kept_jobs AS (
        INSERT INTO archived_jobs (id, task_id, submission_id, remote_id, created_at, start_time, stop_time, ended_at,
                                   event_id, campaign_id, cluster_id, state, array_index, walltime, exit_code,
                                   resources_used, chain, outcome, kill_reason, node_name, stdout_path, stderr_path)
        SELECT id, task_id, submission_id, remote_id, created_at, start_time, stop_time, ended_at, event_id,
               campaign_id, cluster_id, state, array_index, walltime, exit_code, resources_used, nullif(chain, '{}'),
               outcome, kill_reason, node_name, stdout_path, stderr_path
        FROM old_jobs ORDER BY id RETURNING id
    ), old_tasks AS (
        DELETE FROM tasks AS t USING batch WHERE t.id = batch.id RETURNING t.*
    ), kept_tasks AS (
        INSERT INTO archived_tasks (id, campaign_id, state, priority, line)
        SELECT id, campaign_id, state, priority, line FROM old_tasks ORDER BY id RETURNING id
    )
    SELECT (SELECT count(*) FROM kept_tasks) AS tasks, (SELECT count(*) FROM kept_jobs) AS jobs,
           (SELECT max(id) FROM batch) AS last
""")

_MOVE_SUBMISSIONS = text("""
    WITH batch AS MATERIALIZED (
        SELECT id FROM submissions AS s
        WHERE campaign_id = :campaign AND NOT EXISTS (SELECT FROM jobs WHERE submission_id = s.id)
        ORDER BY id LIMIT :most
    ), old AS (
        DELETE FROM submissions AS s USING batch WHERE s.id = batch.id RETURNING s.*
    )
    INSERT INTO archived_submissions (id, name, campaign_id, cluster_id, login, state, size, sent_at, settled_at,
                                      array_id, message, void_jobs, void_tasks)
    SELECT id, name, campaign_id, cluster_id, login, state, size, sent_at, settled_at, array_id, message, void_jobs,
           void_tasks
    FROM old ORDER BY id RETURNING id
""")

# An event goes after those that it caused: with it they would be deleted.
_MOVE_EVENTS = text("""
    WITH batch AS MATERIALIZED (
        SELECT e.id FROM events AS e LEFT JOIN campaigns AS c ON c.id = e.campaign_id
        WHERE e.id > :first AND e.id <= :last AND e.state = 'closed' AND e.notified_at IS NOT NULL
            AND e.date_closed < now() - CAST(:age AS interval) AND e.code <> ALL(:kept)
            AND (e.campaign_id IS NULL OR c.archived_at IS NOT NULL OR c.purged_at IS NOT NULL)
            AND NOT EXISTS (SELECT FROM events AS caused WHERE caused.parent = e.id)
            AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.event_id = e.id)
    ), old AS (
        DELETE FROM events AS e USING batch WHERE e.id = batch.id RETURNING e.*
    )
    INSERT INTO archived_events (id, class, code, campaign_id, cluster_id, job_id, last_job_id, count, alike, parent,
                                 message, date_open, date_last, date_closed, grid_user)
    SELECT id, class, code, campaign_id, cluster_id, job_id, last_job_id, count, alike, parent, message, date_open,
           date_last, date_closed, grid_user
    FROM old ORDER BY id RETURNING id
""")

# What the trigger on tasks counts as new was counted before.
_BRING_BACK = text("""
    WITH old AS (
        DELETE FROM archived_tasks WHERE campaign_id = :campaign AND id = ANY(:ids) AND state <> 'done' RETURNING *
    ), back AS (
        INSERT INTO tasks (id, campaign_id, state, priority, line)
        SELECT id, campaign_id, state, priority, line FROM old RETURNING id
    ), counted AS (
        INSERT INTO campaign_counts AS c (campaign_id, writer, failed, cancelled)
        SELECT campaign_id, 0, -count(*) FILTER (WHERE state = 'failed'), -count(*) FILTER (WHERE state = 'cancelled')
        FROM old GROUP BY campaign_id
        ON CONFLICT (campaign_id, writer) DO UPDATE
            SET failed = c.failed + excluded.failed, cancelled = c.cancelled + excluded.cancelled
    )
    SELECT id FROM back
""")


@dataclass(frozen=True, slots=True)
class Moved:
    """What one batch moved; `last` is the last of its tasks, None when none was left."""

    tasks: int = 0
    jobs: int = 0
    last: int | None = None


def settled(session: Session, age: timedelta, window: timedelta, *, archived_too: bool = False) -> Sequence[int]:
    """The campaigns that ended longer ago than `age` and of which nothing is under way any more, the oldest first.

    Nothing: no live job, no stage, no submission that is not settled or whose jobs were given up less than `window`
    ago, no event that is to be told. Campaigns whose books do not balance are left as they are.
    """
    live = select(Job.id).where(Job.campaign_id == Campaign.id, LIVING)
    lately = Submission.settled_at > func.now() - window
    given_up = or_(Submission.state == SubmissionState.VOID, func.cardinality(Submission.void_jobs) > 0)
    unsure = or_(Submission.state == SubmissionState.SENDING, given_up & lately)
    submission = select(Submission.id).where(Submission.campaign_id == Campaign.id, unsure)
    more = and_(Event.state == EventState.OPEN, Event.count > Event.notified_count)
    untold = select(Event.id).where(Event.campaign_id == Campaign.id, or_(Event.notified_at.is_(None), more))
    open_tasks = select(func.coalesce(func.sum(CampaignCount.pending + CampaignCount.active), 0)).where(
        CampaignCount.campaign_id == Campaign.id
    )
    query = (
        select(Campaign.id)
        .where(*_old(age), ~live.exists(), ~submission.exists(), ~untold.exists(), ~stages.unfinished())
        .where(open_tasks.scalar_subquery() == 0)
    )
    if not archived_too:
        query = query.where(Campaign.archived_at.is_(None))
    return session.scalars(query.order_by(Campaign.ended_at, Campaign.id)).all()


def _old(age: timedelta) -> tuple[ColumnElement[bool], ...]:
    return (
        Campaign.ended_at < func.now() - age,
        Campaign.state.not_in(UNFINISHED),
        Campaign.purged_at.is_(None),
        ~Campaign.clearing,
    )


def lock(session: Session, campaign_id: int, age: timedelta) -> bool:
    """Lock the campaign; whether it still is an old one, not reopened nor purged since it was looked for."""
    query = select(Campaign.id).where(Campaign.id == campaign_id, *_old(age)).with_for_update(key_share=True)
    return session.scalar(query) is not None


def move_tasks(session: Session, campaign_id: int, age: timedelta, *, after: int, most: int) -> Moved:
    """Archive some tasks of a campaign that follow the task `after`, with all their jobs."""
    if not lock(session, campaign_id, age):
        return Moved()
    row = session.execute(_MOVE_TASKS, {"campaign": campaign_id, "after": after, "most": most}).one()
    session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(archived_tasks=Campaign.archived_tasks + row.tasks)
        .execution_options(**_NO_SYNC)
    )
    return Moved(row.tasks, row.jobs, row.last)


def move_submissions(session: Session, campaign_id: int, age: timedelta, *, most: int) -> int:
    """Archive some submissions of a campaign that no job refers to any more; how many."""
    if not lock(session, campaign_id, age):
        return 0
    return len(session.execute(_MOVE_SUBMISSIONS, {"campaign": campaign_id, "most": most}).all())


def complete(session: Session, campaign_id: int, age: timedelta) -> bool:
    """All of the campaign was moved: it is looked at again only when something has changed. Whether that is so."""
    change = update(Campaign).where(Campaign.id == campaign_id, *_old(age)).values(archived_at=func.now())
    return session.scalar(change.returning(Campaign.id).execution_options(**_NO_SYNC)) is not None


def slice_of_events(session: Session, after: int, most: int) -> int | None:
    """The last of the `most` events that follow the event `after`, or the very last; None when none follows."""
    following = select(Event.id).where(Event.id > after).order_by(Event.id).limit(most).subquery()
    last: int | None = session.scalar(select(func.max(following.c.id)))
    return last


def move_events(session: Session, first: int, last: int, age: timedelta) -> int:
    """Archive those events after `first` and up to `last` that were closed longer ago than `age`; how many.

    They are those of archived and purged campaigns and those of nobody that were told.
    """
    values = {"first": first, "last": last, "age": age, "kept": [*KEPT_CODES, *PASSED_CODES]}
    return len(session.execute(_MOVE_EVENTS, values).all())


def bring_back(session: Session, campaign_id: int, task_ids: Sequence[int]) -> list[int]:
    """Those of these archived tasks that are not done are tasks as before; their ids. Their tries stay archived."""
    # Whoever archives the campaign just now is waited for: what it moved is seen below.
    session.execute(select(Campaign.id).where(Campaign.id == campaign_id).with_for_update(key_share=True))
    back = session.scalars(_BRING_BACK, {"campaign": campaign_id, "ids": list(task_ids)}).all()
    if back:
        session.execute(
            update(Campaign)
            .where(Campaign.id == campaign_id)
            .values(archived_tasks=Campaign.archived_tasks - len(back), archived_at=None)
            .execution_options(**_NO_SYNC)
        )
    return list(back)


def told_of(session: Session, campaign_id: int, event_ids: Sequence[int]) -> Sequence[int]:
    """The tasks of the campaign whose archived tries these events tell of."""
    query = select(ArchivedJob.task_id).where(
        ArchivedJob.campaign_id == campaign_id, among(ArchivedJob.event_id, event_ids)
    )
    return session.scalars(query.distinct()).all()


def drop(session: Session, campaign_id: int, most: int) -> int:
    """Delete some archived tasks of a campaign with their jobs; how many."""
    some = select(ArchivedTask.id).where(ArchivedTask.campaign_id == campaign_id).order_by(ArchivedTask.id).limit(most)
    ids = session.scalars(some).all()
    session.execute(delete(ArchivedJob).where(among(ArchivedJob.task_id, ids)).execution_options(**_NO_SYNC))
    mine = (ArchivedTask.campaign_id == campaign_id, among(ArchivedTask.id, ids))
    session.execute(delete(ArchivedTask).where(*mine).execution_options(**_NO_SYNC))
    if len(ids) < most:  # tries of tasks that were brought back
        rest = delete(ArchivedJob).where(ArchivedJob.campaign_id == campaign_id)
        session.execute(rest.execution_options(**_NO_SYNC))
    return len(ids)
