"""What to do about a job with a name of this grid that a cluster shows: is it known, stray, or a second run."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cigri.core.settling import Sighting
from cigri.core.states import FINAL, JobState, SubmissionState, TaskState


class Action(enum.Enum):
    LEAVE = "leave"
    DELETE = "delete"  # nobody waits for it
    COUNT = "count"  # it succeeded, and its task is not done yet
    DUPLICATE = "duplicate"  # it succeeded, and its task was done already


@dataclass(frozen=True, slots=True)
class Known:
    """What the database has about the submission and the key. `remote_ids`: the job's own chain, the newest first."""

    submission: SubmissionState | None = None
    job: JobState | None = None
    remote_ids: Sequence[int] = ()
    task: TaskState | None = None


def ancestors(job_id: int, replaced: Mapping[int, int]) -> set[int]:
    """The jobs that were restarted as this one, one after the other; `replaced`: job -> the job it replaces, or 0."""
    found: set[int] = set()
    while (job_id := replaced.get(job_id, 0)) and job_id not in found:
        found.add(job_id)
    return found


def judge(known: Known, seen: Sighting, ancestors: Collection[int] = ()) -> Action:
    """A job that lives here is the runner's; one that does not is deleted while alive, and counted if it succeeded.

    `ancestors`: the jobs that the cluster restarted as this one, over any number of restarts.
    """
    if known.submission is SubmissionState.SENDING:
        return Action.LEAVE  # the runner is looking it up
    own = seen.id in known.remote_ids
    if (
        known.job is not None
        and known.job not in FINAL
        and (own or not set(known.remote_ids).isdisjoint({seen.replaces, *ancestors}))
    ):
        return Action.LEAVE
    if not seen.ended:
        return Action.DELETE
    if not seen.succeeded or (known.job is JobState.TERMINATED and seen.id in known.remote_ids[:1]):
        return Action.LEAVE  # of a chain the newest is what was counted
    if known.task is None:
        return Action.LEAVE  # of a campaign that is forgotten
    return Action.DUPLICATE if known.task is TaskState.DONE else Action.COUNT
