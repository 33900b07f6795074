"""A job as the scheduler keeps it while it lives, and OAR's words for its states."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """OAR's own words."""

    WAITING = "Waiting"
    HOLD = "Hold"
    TO_LAUNCH = "toLaunch"
    LAUNCHING = "Launching"
    RUNNING = "Running"
    FINISHING = "Finishing"
    TERMINATED = "Terminated"
    ERROR = "Error"


FINAL = (State.TERMINATED, State.ERROR)
ALL_WORDS = frozenset(
    {*State, "toError", "toAckReservation", "Suspended", "Resuming"}  # the last four are never used here
)


@dataclass(frozen=True, slots=True)
class Need:
    """Resources a job asks for: `each` on each of `nodes` nodes (0: all of the node), or `each` anywhere."""

    each: int
    nodes: int = 0


@dataclass(slots=True)
class Event:
    """A line of OAR's log about a job."""

    kind: str
    description: str


@dataclass(slots=True)
class LiveJob:
    """A job that has not ended: what scheduling and killing need to know."""

    id: int
    need: Need
    walltime: int
    besteffort: bool
    idempotent: bool
    state: State = State.WAITING
    resources: tuple[int, ...] = ()
    started: float = 0.0
    mark: str = ""  # names its process; see cigri.local.processes
    killed: bool = False  # somebody asked for its end
    signalled: float = 0.0  # when its group was sent SIGTERM (monotonic), 0 before
    status: int | None = None  # the raw wait status, once known
    trouble: str = ""  # OAR's event for why it could not run
    follower: str = ""  # why OAR will submit it again, empty if it will not
    orphan: bool = field(default=False)  # its keeper has died: nobody will tell its wait status
