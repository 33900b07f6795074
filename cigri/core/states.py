"""The states of campaigns, tasks, jobs and submissions, and who may move to where. The database guards them too."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class CampaignState(enum.StrEnum):
    IN_TREATMENT = "in_treatment"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"


class TaskState(enum.StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(enum.StrEnum):
    TO_LAUNCH = "to_launch"
    LAUNCHING = "launching"
    SUBMITTED = "submitted"
    REMOTE_WAITING = "remote_waiting"
    BATCH_WAITING = "batch_waiting"
    RUNNING = "running"
    TERMINATED = "terminated"
    EVENT = "event"


class JobKind(enum.StrEnum):
    TASK = "task"
    PROLOGUE = "prologue"
    EPILOGUE = "epilogue"


class StageState(enum.StrEnum):
    DUE = "due"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"


class SubmissionState(enum.StrEnum):
    SENDING = "sending"
    SETTLED = "settled"
    REFUSED = "refused"
    VOID = "void"


class EventState(enum.StrEnum):
    OPEN = "open"
    CLOSED = "closed"


UNFINISHED = frozenset({CampaignState.IN_TREATMENT, CampaignState.PAUSED})
FINAL = frozenset({JobState.TERMINATED, JobState.EVENT})
LIVE = frozenset(JobState) - FINAL
# Jobs that the cluster has, as far as we know: those that a runner follows.
FOLLOWED = frozenset({JobState.SUBMITTED, JobState.REMOTE_WAITING, JobState.BATCH_WAITING, JobState.RUNNING})
# Jobs that wait on the cluster's side, as gridstat counts them.
QUEUED = LIVE - {JobState.RUNNING}

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.TO_LAUNCH: frozenset({JobState.LAUNCHING, JobState.EVENT}),
    # Terminated: its cluster shows it for the first time, and has ended it already.
    JobState.LAUNCHING: frozenset({JobState.SUBMITTED, JobState.TERMINATED, JobState.EVENT}),
    JobState.SUBMITTED: frozenset(
        {
            JobState.REMOTE_WAITING,
            JobState.BATCH_WAITING,
            JobState.RUNNING,
            JobState.TERMINATED,
            JobState.EVENT,
        }
    ),
    JobState.REMOTE_WAITING: frozenset({JobState.BATCH_WAITING, JobState.RUNNING, JobState.TERMINATED, JobState.EVENT}),
    JobState.BATCH_WAITING: frozenset({JobState.REMOTE_WAITING, JobState.RUNNING, JobState.TERMINATED, JobState.EVENT}),
    JobState.RUNNING: frozenset({JobState.REMOTE_WAITING, JobState.BATCH_WAITING, JobState.TERMINATED, JobState.EVENT}),
    JobState.TERMINATED: frozenset(),
    JobState.EVENT: frozenset(),
}

TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset({TaskState.ACTIVE, TaskState.CANCELLED, TaskState.DONE}),
    TaskState.ACTIVE: frozenset({TaskState.PENDING, TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}),
    TaskState.FAILED: frozenset({TaskState.PENDING, TaskState.CANCELLED, TaskState.DONE}),
    TaskState.CANCELLED: frozenset({TaskState.DONE}),  # a run that succeeds all the same counts
    TaskState.DONE: frozenset(),
}

CAMPAIGN_MOVES: Mapping[CampaignState, frozenset[CampaignState]] = {
    CampaignState.IN_TREATMENT: frozenset({CampaignState.PAUSED, CampaignState.CANCELLED, CampaignState.TERMINATED}),
    CampaignState.PAUSED: frozenset({CampaignState.IN_TREATMENT, CampaignState.CANCELLED}),
    CampaignState.CANCELLED: frozenset(),
    CampaignState.TERMINATED: frozenset({CampaignState.IN_TREATMENT}),
}
