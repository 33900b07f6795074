"""What a batch scheduler is to the grid: one protocol, with words of our own.

Foreign state words are translated at the border by whole tables (oar3.py); an unknown word becomes
RemoteState.UNKNOWN and is reported, never guessed.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec


class RemoteState(enum.Enum):
    """The life of a job on a cluster, as far as the grid cares."""

    WAITING = "waiting"
    HOLD = "hold"  # waiting, and will not start by itself
    STARTING = "starting"  # being launched: holds its resources, its command has not begun
    RUNNING = "running"
    ENDING = "ending"  # the command may have ended; the final word is still to come
    TERMINATED = "terminated"
    ERROR = "error"
    UNKNOWN = "unknown"  # a word this program does not know

    @property
    def final(self) -> bool:
        return self is RemoteState.TERMINATED or self is RemoteState.ERROR


class RemoteEvent(msgspec.Struct, frozen=True):
    """A line of the batch scheduler's log about a job. `to_check`: it has not been dealt with there yet."""

    kind: str
    description: str = ""
    date: float = 0.0
    to_check: bool = False


class RemoteJob(msgspec.Struct, frozen=True, gc=False):
    """A job as its cluster tells it. Times are unix seconds of the cluster's clock, 0 when not known.

    Short listings leave command, exit_code (sometimes), array_index, events and the fields after them
    at their defaults: `detailed` says whether this record is whole.
    """

    id: int
    state: RemoteState
    name: str = ""
    user: str = ""
    queue: str = ""
    submission_time: float = 0.0
    detailed: bool = False
    word: str = ""  # the cluster's own word for the state
    array_id: int | None = None
    array_index: int | None = None
    command: str = ""
    exit_code: int | None = None  # the raw wait status
    start_time: float = 0.0
    stop_time: float = 0.0
    walltime: int | None = None
    resubmit_job_id: int = 0  # the job this one replaces, 0 for none
    message: str = ""
    launching_directory: str = ""
    stdout_file: str = ""
    stderr_file: str = ""
    nodes: tuple[str, ...] = ()
    resources: int = 0
    events: tuple[RemoteEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """One request to a cluster: an array of jobs of one user under one name.

    `command` + blank + line is what each job runs. `types` has "besteffort" where the jobs are to be so.
    """

    name: str
    login: str
    command: str
    lines: Sequence[str]
    resources: str  # OAR's -l string without walltime
    walltime: str  # h:mm:ss
    directory: str
    types: Sequence[str] = ("besteffort",)
    properties: str = ""
    project: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """How a cluster's resources stand, in units of the cluster's resource_unit."""

    total: int
    unavailable: int  # not Alive
    free: int  # alive and without a job
    usable_by_besteffort: int  # alive and open to best-effort jobs
    unit_size: float = 1.0  # resources of a unit, on average


@dataclass(frozen=True, slots=True)
class Deletion:
    """What the cluster said of a deletion. It proves nothing: only the job's reported end does."""

    job_id: int
    accepted: bool
    message: str = field(default="")


class Cluster(Protocol):
    """The requests the grid makes of a cluster.

    Every method may raise ClusterError: Unreachable, NoAnswer, Refused, TokenRefused, NotFound or BadReply
    (cigri.errors). Reads are retried inside where that is safe; submit and delete never are.
    """

    name: str

    def clock(self) -> float:
        """The cluster's time, unix seconds, from a cheap reply (GET /)."""
        ...

    def check_health(self) -> None:
        """Raise unless requests that need the batch scheduler's database are answered (GET /jobs?limit=1)."""
        ...

    def submit(self, submission: Submission) -> int:
        """Send the array; the id of the array. Raises NoAnswer when it may exist all the same."""
        ...

    def live_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        """All jobs of the user that have not ended: one page, complete."""
        ...

    def jobs_since(self, login: str, since: float, *, details: bool = False) -> list[RemoteJob]:
        """All jobs of the user that ended or ran since that time of the cluster's clock: complete."""
        ...

    def error_jobs(self, login: str, *, details: bool = False) -> list[RemoteJob]:
        """All jobs of the user in the final state ERROR: complete."""
        ...

    def jobs(self, ids: Sequence[int], *, details: bool = True) -> list[RemoteJob]:
        """These jobs, in chunks of at most 500 ids; what the cluster does not know is not in the list."""
        ...

    def array(self, array_id: int, *, details: bool = True) -> list[RemoteJob]:
        """The jobs of an array, those that the cluster resubmitted by itself too."""
        ...

    def job(self, job_id: int) -> RemoteJob:
        """One job, whole. Raises NotFound when a healthy cluster does not know it."""
        ...

    def record(self, job_id: int) -> dict[str, Any]:
        """One job as the cluster tells it, in its own words. Raises NotFound as `job` does."""
        ...

    def renew_token(self, login: str) -> str:
        """A new token for the user, who still has a valid one."""
        ...

    def delete(self, login: str, job_id: int) -> Deletion:
        """Ask for a job's end. Deletion goes on after the answer."""
        ...

    def resources(self) -> Resources:
        """Count the resources."""
        ...

    def stress_factor(self) -> float | None:
        """The site's stress factor, 0 (idle) to 1 and above (overloaded); None where the site has none."""
        ...

    def read_file(self, login: str, path: str, tail: int | None = None) -> bytes:
        """A file as the user may read it, or its last `tail` lines. Raises NotFound, Refused."""
        ...

    def delete_file(self, login: str, path: str) -> None:
        """Delete a file or a directory as the user. Raises NotFound, Refused."""
        ...
