"""The tables as SQLAlchemy sees them. sql/ is their only source; a test compares the two."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Enum, Identity, Integer, Interval, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import FetchedValue

from cigri.core.events import Scope, Severity
from cigri.core.states import CampaignState, EventState, JobKind, JobState, StageState, SubmissionState, TaskState
from cigri.core.telling import Channel


def _enum(of: type[enum.StrEnum], name: str) -> Enum:
    return Enum(of, name=name, values_callable=lambda words: [word.value for word in words], create_type=False)


class Table(DeclarativeBase):
    type_annotation_map = {
        datetime: TIMESTAMP(timezone=True),
        timedelta: Interval(),
        str: Text(),
        dict[str, Any]: JSONB(),
        list[int]: ARRAY(BigInteger()),
        CampaignState: _enum(CampaignState, "campaign_state"),
        TaskState: _enum(TaskState, "task_state"),
        JobState: _enum(JobState, "job_state"),
        JobKind: _enum(JobKind, "job_kind"),
        StageState: _enum(StageState, "stage_state"),
        SubmissionState: _enum(SubmissionState, "submission_state"),
        EventState: _enum(EventState, "event_state"),
        Scope: _enum(Scope, "event_class"),
        Channel: _enum(Channel, "subscription_type"),
        Severity: _enum(Severity, "severity"),
    }


def _default() -> Any:
    """A column that the database fills when nothing is given."""
    return mapped_column(server_default=FetchedValue())


def _key(kind: Any = None) -> Any:
    return mapped_column(kind, Identity(), primary_key=True) if kind else mapped_column(Identity(), primary_key=True)


class Grid(Table):
    __tablename__ = "grid"
    only_row: Mapped[bool] = mapped_column(primary_key=True)
    id: Mapped[str]
    system_identifier: Mapped[int] = mapped_column(BigInteger)
    timeline: Mapped[int]
    recovered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _default()


class Duty(Table):
    __tablename__ = "duties"
    name: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    host: Mapped[str]
    pid: Mapped[int]
    backend_pid: Mapped[int]
    seen: Mapped[datetime]


class Cluster(Table):
    __tablename__ = "clusters"
    id: Mapped[int] = _key()
    name: Mapped[str]
    api_url: Mapped[str]
    url_generation: Mapped[int] = _default()
    api_auth_type: Mapped[str]
    api_auth_header: Mapped[str] = _default()
    api_username: Mapped[str | None]
    api_password: Mapped[str | None]
    token_file: Mapped[str | None]
    api_chunk_size: Mapped[int] = _default()
    api_limit: Mapped[int] = _default()
    ssh_host: Mapped[str | None]
    batch: Mapped[str]
    resource_unit: Mapped[str] = _default()
    power: Mapped[int] = _default()
    properties: Mapped[str] = _default()
    stress_factor: Mapped[float | None]
    max_jobs: Mapped[int | None]
    max_per_minute: Mapped[int | None]
    load_sensor: Mapped[str | None]
    load_reference: Mapped[float | None]
    enabled: Mapped[bool] = _default()
    removed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _default()


class UserMapping(Table):
    __tablename__ = "users_mapping"
    grid_login: Mapped[str] = mapped_column(primary_key=True)
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    cluster_login: Mapped[str | None]
    token: Mapped[str | None]
    token_login: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    stored_at: Mapped[datetime | None]
    renew_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]


class UserPriority(Table):
    __tablename__ = "users_priority"
    grid_user: Mapped[str] = mapped_column(primary_key=True)
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    priority: Mapped[int] = mapped_column(SmallInteger)


class ApiToken(Table):
    __tablename__ = "api_tokens"
    id: Mapped[int] = _key()
    grid_user: Mapped[str]
    digest: Mapped[str]
    created_at: Mapped[datetime] = _default()
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class ClusterStatus(Table):
    __tablename__ = "cluster_status"
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    resources_total: Mapped[int] = _default()
    resources_unavailable: Mapped[int] = _default()
    resources_free: Mapped[int] = _default()
    resources_besteffort: Mapped[int] = _default()
    jobs_running: Mapped[int] = _default()
    resources_at: Mapped[datetime | None]
    stress: Mapped[float | None]
    stress_at: Mapped[datetime | None]
    slowest_submission: Mapped[float] = _default()
    completion_rate: Mapped[float] = _default()
    follow_period: Mapped[float] = _default()
    start_delay: Mapped[float] = _default()
    swept_at: Mapped[datetime | None]
    stress_ceiling: Mapped[float | None]
    stress_ceiling_at: Mapped[datetime | None]
    submission_time: Mapped[float] = _default()
    unit_size: Mapped[float] = _default()


class LoadSensor(Table):
    __tablename__ = "load_sensors"
    sensor: Mapped[str] = mapped_column(primary_key=True)
    load: Mapped[float | None]
    read_at: Mapped[datetime | None]
    fault: Mapped[str] = _default()
    ceiling: Mapped[float | None]
    ceiling_at: Mapped[datetime | None]


class Campaign(Table):
    __tablename__ = "campaigns"
    id: Mapped[int] = _key()
    grid_user: Mapped[str]
    name: Mapped[str]
    state: Mapped[CampaignState] = _default()
    jdl: Mapped[dict[str, Any]]
    total_tasks: Mapped[int]
    purged_at: Mapped[datetime | None]
    clearing: Mapped[bool] = _default()
    round: Mapped[int] = _default()
    submission_time: Mapped[datetime] = _default()
    ended_at: Mapped[datetime | None]
    archived_tasks: Mapped[int] = _default()
    archived_at: Mapped[datetime | None]


class CampaignCluster(Table):
    __tablename__ = "campaign_clusters"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    max_jobs: Mapped[int | None]
    urgent: Mapped[bool] = _default()
    share: Mapped[float] = _default()
    prologue: Mapped[bool] = _default()
    epilogue: Mapped[bool] = _default()
    max_failures: Mapped[int | None]
    max_retries: Mapped[int] = _default()
    retry_exit_codes: Mapped[list[int]] = mapped_column(ARRAY(Integer()), server_default=FetchedValue())
    owes_epilogue: Mapped[bool] = _default()
    done: Mapped[int] = _default()
    failed: Mapped[int] = _default()
    longest: Mapped[float] = _default()
    ended: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())
    used: Mapped[float] = _default()
    uncharged: Mapped[float] = _default()
    cores: Mapped[int] = _default()
    choosy: Mapped[bool] = _default()


class CampaignCount(Table):
    __tablename__ = "campaign_counts"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    writer: Mapped[int] = mapped_column(primary_key=True)
    pending: Mapped[int] = _default()
    active: Mapped[int] = _default()
    done: Mapped[int] = _default()
    failed: Mapped[int] = _default()
    cancelled: Mapped[int] = _default()


class CampaignProgress(Table):
    """A view: the sums of campaign_counts."""

    __tablename__ = "campaign_progress"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    pending: Mapped[int]
    active: Mapped[int]
    done: Mapped[int]
    failed: Mapped[int]
    cancelled: Mapped[int]


class Task(Table):
    __tablename__ = "tasks"
    id: Mapped[int] = _key(BigInteger)
    campaign_id: Mapped[int]
    state: Mapped[TaskState] = _default()
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=FetchedValue())
    returns: Mapped[int] = mapped_column(SmallInteger, server_default=FetchedValue())
    walltimes: Mapped[int] = mapped_column(SmallInteger, server_default=FetchedValue())
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=FetchedValue())
    not_before: Mapped[datetime | None]
    failed_on: Mapped[int | None]
    elsewhere_until: Mapped[datetime | None]
    line: Mapped[str]


class _SubmissionColumns:
    """What a submission has wherever it is kept."""

    name: Mapped[str]
    campaign_id: Mapped[int]
    cluster_id: Mapped[int]
    login: Mapped[str]
    array_id: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str | None]


class Submission(_SubmissionColumns, Table):
    __tablename__ = "submissions"
    id: Mapped[int] = _key(BigInteger)
    url_generation: Mapped[int]
    state: Mapped[SubmissionState] = _default()
    size: Mapped[int]
    remote_clock: Mapped[float]
    sent_at: Mapped[datetime] = _default()
    settled_at: Mapped[datetime | None]
    void_jobs: Mapped[list[int]] = _default()
    void_tasks: Mapped[list[int]] = _default()


class _EventColumns:
    """What an event has wherever it is kept."""

    class_: Mapped[Scope] = mapped_column("class")
    code: Mapped[str]
    campaign_id: Mapped[int | None]
    cluster_id: Mapped[int | None]
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    last_job_id: Mapped[int | None] = mapped_column(BigInteger)
    parent: Mapped[int | None] = mapped_column(BigInteger)
    grid_user: Mapped[str | None]


class Event(_EventColumns, Table):
    __tablename__ = "events"
    id: Mapped[int] = _key(BigInteger)
    state: Mapped[EventState] = _default()
    count: Mapped[int] = _default()
    alike: Mapped[str] = _default()
    message: Mapped[str] = _default()
    date_open: Mapped[datetime] = _default()
    date_last: Mapped[datetime] = _default()
    date_closed: Mapped[datetime | None]
    probe_at: Mapped[datetime | None]
    probe_delay: Mapped[timedelta | None]
    notified_at: Mapped[datetime | None]
    notified_count: Mapped[int] = _default()


class Subscription(Table):
    __tablename__ = "subscriptions"
    id: Mapped[int] = _key()
    grid_user: Mapped[str]
    type: Mapped[Channel]
    identity: Mapped[str]
    sealed: Mapped[str | None]
    severity: Mapped[Severity] = _default()
    created_at: Mapped[datetime] = _default()


class Notification(Table):
    __tablename__ = "notifications"
    id: Mapped[int] = _key(BigInteger)
    subscription_id: Mapped[int]
    message_id: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime] = _default()
    next_try: Mapped[datetime] = _default()
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=FetchedValue())


class ToldKind(Table):
    __tablename__ = "told_kinds"
    code: Mapped[str] = mapped_column(primary_key=True)
    campaign_id: Mapped[int | None] = mapped_column(primary_key=True)
    cluster_id: Mapped[int | None] = mapped_column(primary_key=True)
    told_at: Mapped[datetime]


class _JobColumns:
    """What a job has wherever it is kept."""

    campaign_id: Mapped[int]
    cluster_id: Mapped[int]
    submission_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[JobState]
    remote_id: Mapped[int | None] = mapped_column(BigInteger)
    array_index: Mapped[int | None]
    start_time: Mapped[datetime | None]
    stop_time: Mapped[datetime | None]
    walltime: Mapped[int | None]
    exit_code: Mapped[int | None]
    outcome: Mapped[str | None]
    node_name: Mapped[str | None]
    resources_used: Mapped[int | None]
    stdout_path: Mapped[str | None]
    stderr_path: Mapped[str | None]
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    kill_reason: Mapped[str | None]


class Job(_JobColumns, Table):
    __tablename__ = "jobs"
    id: Mapped[int] = _key(BigInteger)
    kind: Mapped[JobKind] = _default()
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    chain: Mapped[list[int]] = _default()
    remote_word: Mapped[str | None]
    created_at: Mapped[datetime] = _default()
    end_seen_at: Mapped[datetime | None]
    missing_at: Mapped[datetime | None]
    kill_at: Mapped[datetime | None]
    kill_next: Mapped[datetime | None]
    kill_message: Mapped[str | None]
    kill_tries: Mapped[int] = mapped_column(SmallInteger, server_default=FetchedValue())
    ended_at: Mapped[datetime | None]


# A job lives until it has ended. The indexes of live jobs are made with these words, not with its state.
LIVING = Job.ended_at.is_(None)


class Stage(Table):
    __tablename__ = "stages"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[JobKind] = mapped_column(primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[StageState] = _default()
    job_id: Mapped[int | None] = mapped_column(BigInteger)


class Allowance(Table):
    __tablename__ = "allowances"
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    tasks: Mapped[int]
    rank: Mapped[int]


class ClusterShare(Table):
    __tablename__ = "cluster_shares"
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    virtual_time: Mapped[float] = _default()


class UserShare(Table):
    __tablename__ = "user_shares"
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    grid_user: Mapped[str] = mapped_column(primary_key=True)
    virtual_time: Mapped[float]
    inner_time: Mapped[float]
    active: Mapped[bool]
    weight: Mapped[float]
    recent: Mapped[float]
    recent_at: Mapped[datetime] = _default()


class CampaignShare(Table):
    __tablename__ = "campaign_shares"
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    virtual_time: Mapped[float]
    active: Mapped[bool]


class CampaignEnd(Table):
    __tablename__ = "campaign_ends"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    writer: Mapped[int] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())
    timed: Mapped[int] = mapped_column(BigInteger, server_default=FetchedValue())
    seconds: Mapped[Decimal] = _default()
    squares: Mapped[Decimal] = _default()


class CampaignMinute(Table):
    __tablename__ = "campaign_minutes"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    writer: Mapped[int] = mapped_column(primary_key=True)
    jobs: Mapped[int]


class IdempotencyKey(Table):
    __tablename__ = "idempotency_keys"
    grid_user: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    campaign_id: Mapped[int]
    created_at: Mapped[datetime] = _default()


class GridUsage(Table):
    __tablename__ = "grid_usage"
    date: Mapped[datetime] = mapped_column(primary_key=True)
    cluster_id: Mapped[int] = mapped_column(primary_key=True)
    max_resources: Mapped[int]
    used_resources: Mapped[int]
    used_by_cigri: Mapped[int]
    unavailable_resources: Mapped[int]


# What `gridadmin maintenance` has put away, and the views that show it together with what is in the tables of before.


class ArchivedTask(Table):
    __tablename__ = "archived_tasks"
    campaign_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[TaskState]
    priority: Mapped[int] = mapped_column(SmallInteger)
    line: Mapped[str]


class AnyTask(Table):
    """A view: tasks, archived or not."""

    __tablename__ = "all_tasks"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    campaign_id: Mapped[int]
    state: Mapped[TaskState]
    priority: Mapped[int] = mapped_column(SmallInteger)
    line: Mapped[str]


class ArchivedJob(_JobColumns, Table):
    __tablename__ = "archived_jobs"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    chain: Mapped[list[int] | None]


class AnyJob(_JobColumns, Table):
    """A view: jobs, archived or not."""

    __tablename__ = "all_jobs"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[JobKind]
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    chain: Mapped[list[int]]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class _KeptSubmission(_SubmissionColumns):
    """What the archive and the view of all submissions have."""

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    state: Mapped[SubmissionState]
    size: Mapped[int]
    sent_at: Mapped[datetime]
    void_jobs: Mapped[list[int]]
    void_tasks: Mapped[list[int]]


class ArchivedSubmission(_KeptSubmission, Table):
    __tablename__ = "archived_submissions"
    settled_at: Mapped[datetime]


class AnySubmission(_KeptSubmission, Table):
    """A view: submissions, archived or not."""

    __tablename__ = "all_submissions"
    settled_at: Mapped[datetime | None]


class _KeptEvent(_EventColumns):
    """What the archive and the view of all events have."""

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    count: Mapped[int]
    alike: Mapped[str]
    message: Mapped[str]
    date_open: Mapped[datetime]
    date_last: Mapped[datetime]


class ArchivedEvent(_KeptEvent, Table):
    __tablename__ = "archived_events"
    date_closed: Mapped[datetime]


class AnyEvent(_KeptEvent, Table):
    """A view: events, archived or not."""

    __tablename__ = "all_events"
    state: Mapped[EventState]
    date_closed: Mapped[datetime | None]
    probe_at: Mapped[datetime | None]
