"""What the end of a job on its cluster means: for the job, for its task, and for who is told.

The order in which the signs of an end are read is PROTOCOL.md, section 5: exit status 0 is success whatever else
was said; the cluster's own reasons come before our marks, and a bare deletion request is looked at last.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from dataclasses import dataclass

from cigri.core.exit_status import describe, exit_code
from cigri.core.states import JobKind, JobState, TaskState


class Outcome(enum.StrEnum):
    """Why a job ended."""

    SUCCESS = "success"
    PREEMPTED = "preempted"  # for a job of the cluster's own users
    WALLTIME = "walltime"
    EXIT = "exit"  # its program's exit status
    RESUBMIT = "resubmit"  # its program asked to be run again (exit status 66)
    RESUBMIT_END = "resubmit_end"  # ... after the others (exit status 67)
    DIRECTORY = "directory"  # its directory or its output files cannot be used
    DELETED = "deleted"  # by its owner, on the cluster or through the grid
    CANCELLED = "cancelled"  # with its campaign
    QUEUED = "queued"  # waited too long on the cluster
    RECALLED = "recalled"  # its cluster is drained
    REFUSED = "refused"  # not taken as it was to be
    SURPLUS = "surplus"  # another try had succeeded
    SITE = "site"  # a fault of the cluster's
    UNKNOWN = "unknown"
    LOST = "lost"  # the cluster does not know it any more


@dataclass(frozen=True, slots=True)
class Sign:
    """A line of the batch scheduler's log about the job."""

    kind: str
    description: str = ""
    to_check: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a campaign wants done about tasks that fail by their exit status on a cluster.

    They are tried again `max_retries` times: after these exit codes, or after any if there are none.
    """

    max_retries: int = 0
    retry_exit_codes: frozenset[int] = frozenset()

    def retries(self, code: int | None, tries: int) -> bool:
        """Whether a task that ended with this exit code (None: by a signal) after `tries` counted tries goes on."""
        return tries < self.max_retries and (not self.retry_exit_codes or code in self.retry_exit_codes)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that its cluster says has ended, with all that is known about it."""

    exit_code: int | None
    signs: tuple[Sign, ...]
    started: bool
    kill_reason: str | None = None  # our own mark
    looked_before: bool = False  # this end was seen a scheduling round ago already
    automatic_resubmissions: int = 0
    walltimes: int = 0  # tries of the task killed by their walltime before this one
    tries: int = 0  # tries of the task before this one that count for a limit
    lasted: float = 0.0  # seconds
    policy: Policy = Policy()
    kill_message: str = ""  # what an administrator said who set it aside


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a job: where it and its task go.

    `code` is the event that is recorded ("" for none), with one line for the user; `priority` is the task's
    place in the bag when it goes back; alike failures share code and `alike`.
    """

    outcome: Outcome
    job: JobState
    task: TaskState
    code: str = ""
    message: str = ""
    priority: int = 10
    alike: str = ""
    counts: bool = False  # the try counts for a limit
    delay: float = 0.0  # seconds before the task is tried again


SUCCEEDED = Verdict(Outcome.SUCCESS, JobState.TERMINATED, TaskState.DONE)


@dataclass(frozen=True, slots=True)
class Resubmitted:
    """The cluster itself started the job again under this id."""

    remote_id: int


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Not final yet: the cluster has not dealt with it, or may still start it again."""

    why: str


# OAR 2.5 writes "(new id = 39)"; OAR3 "Resubmiting job 1 => ((0, ''), 2) (due to ...)" or "(new id = ((0, ''), 2)".
_NEW_ID = re.compile(r"(?:new id =|=>) *(?:\(\(0, ''\), *)?(\d+)")
_RESUBMISSION = "RESUBMIT_JOB_AUTOMATICALLY"
# Faults of a node or of the launch: OAR starts such jobs again by itself.
NODE_FAULTS = frozenset(
    {
        "LAUNCHING_OAREXEC_TIMEOUT",
        "PING_CHECKER_NODE_SUSPECTED",
        "PING_CHECKER_NODE_SUSPECTED_END_JOB",
        "CPUSET_ERROR",
        "CPUSET_CLEAN_ERROR",
        "SERVER_PROLOGUE_ERROR",
        "SERVER_PROLOGUE_TIMEOUT",
        "SERVER_PROLOGUE_EXIT_CODE_ERROR",
        "SERVER_EPILOGUE_ERROR",
        "SERVER_EPILOGUE_TIMEOUT",
        "SERVER_EPILOGUE_EXIT_CODE_ERROR",
        "PROLOGUE_ERROR",
        "EPILOGUE_ERROR",
        "CAN_NOT_WRITE_NODE_FILE",
        "CAN_NOT_WRITE_PID_FILE",
        "USER_SHELL",
        "EXIT_VALUE_OAREXEC",
        "BIPBIP_BAD_JOBID",
        "SSH_TRANSFER_TIMEOUT",
        "BAD_HASHTABLE_DUMP",
        "RADICAL_EXTERMINATE",
    }
)
DIRECTORY_FAULTS = frozenset({"WORKING_DIRECTOR", "WORKING_DIRECTORY", "OUTPUT_FILES"})
EXTERMINATED = frozenset({"EXTERMINATE_JOB", "EXTERMINATE"})
MAX_AUTOMATIC_RESUBMISSIONS = 2
LONGEST_LIKENESS = 500  # characters: it is part of an index
MAX_WALLTIMES = 3
RESUBMIT_STATUS, RESUBMIT_END_STATUS = 66, 67
SOONER, LATER = 20, 0
AT_ONCE = 10.0  # seconds: a shorter try has not worked
MAX_AT_ONCE = 10
FIRST_DELAY, LONGEST_DELAY = 5.0, 3600.0
ALL_FAILED = 10  # failures without a success on a cluster that are enough, whatever the limit is


def follower(signs: tuple[Sign, ...]) -> int | None:
    """The id under which the cluster says that it started the job again."""
    for sign in signs:
        if sign.kind == _RESUBMISSION and (found := _NEW_ID.search(sign.description)):
            return int(found[1])
    return None


def decide(end: Ended) -> Verdict | Resubmitted | LookAgain:
    """What to do about a job in a final state of its cluster."""
    if end.exit_code == 0:
        return SUCCEEDED
    if any(sign.to_check and _still_to_come(sign.kind) for sign in end.signs):
        return LookAgain("the cluster has not dealt with its end yet")
    if (new_id := follower(end.signs)) is not None:
        if end.automatic_resubmissions < MAX_AUTOMATIC_RESUBMISSIONS:
            return Resubmitted(new_id)
        message = "the cluster started it again and again after faults of its nodes"
        return _failed(Outcome.SITE, "UNKNOWN_ERROR", message, "restarted")
    kinds = frozenset(sign.kind for sign in end.signs)
    if not end.looked_before and _may_be_restarted(end, kinds):
        return LookAgain("the cluster may start it again")
    return _by_signs(end, kinds)


def _still_to_come(kind: str) -> bool:
    return kind.startswith("SWITCH_INTO_") or kind == _RESUBMISSION or kind in NODE_FAULTS


def _may_be_restarted(end: Ended, kinds: frozenset[str]) -> bool:
    if end.exit_code is not None or end.kill_reason is not None:
        return False
    return not kinds & ({"WALLTIME", "BESTEFFORT_KILL", "FRAG_JOB_REQUEST"} | DIRECTORY_FAULTS)


def _by_signs(end: Ended, kinds: frozenset[str]) -> Verdict:
    if "WALLTIME" in kinds:
        return _walltime(end, "RESUBMIT", "killed by its cluster at the end of its walltime")
    if "BESTEFFORT_KILL" in kinds:
        return _back(Outcome.PREEMPTED, "RESUBMIT", "preempted for a job of the cluster's own users")
    if end.kill_reason is not None:
        return _by_mark(end, end.kill_reason)
    if end.exit_code is not None:
        return _by_exit_status(end, end.exit_code)
    if kinds & DIRECTORY_FAULTS:
        why = next(sign.description for sign in end.signs if sign.kind in DIRECTORY_FAULTS)
        message = f"its directory or output files cannot be used: {why}"
        return _failed(Outcome.DIRECTORY, "WORKING_DIRECTORY_ERROR", message, "directory")
    if "FRAG_JOB_REQUEST" in kinds:
        who = next(sign.description for sign in end.signs if sign.kind == "FRAG_JOB_REQUEST")
        return _failed(Outcome.DELETED, "USER_FRAG", f"deleted on the cluster: {who}", "cluster")
    if kinds & EXTERMINATED:
        return _site(end, "exterminated by the cluster")
    if kinds & NODE_FAULTS:
        return _site(end, f"a fault of the cluster: {', '.join(sorted(kinds & NODE_FAULTS))}")
    if not end.started:
        return _site(end, "ended by its cluster before it had started")
    seen = ", ".join(sorted(kinds)) or "no event"
    return _failed(Outcome.UNKNOWN, "UNKNOWN_ERROR", f"ended without exit status ({seen})", seen)


def _site(end: Ended, message: str) -> Verdict:
    """A fault of the cluster: tried again, ever later, but not for ever."""
    if end.tries + 1 >= MAX_AT_ONCE:
        return _failed(Outcome.SITE, "UNKNOWN_ERROR", f"{message}, {MAX_AT_ONCE} times", "site")
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2**end.tries)
    return dataclasses.replace(_back(Outcome.SITE, "RESUBMIT", message, priority=10), counts=True, delay=delay)


def _by_exit_status(end: Ended, status: int) -> Verdict:
    if status == RESUBMIT_STATUS << 8:
        return _asked(end, Outcome.RESUBMIT, "asked to be run again (exit code 66)", SOONER)
    if status == RESUBMIT_END_STATUS << 8:
        return _asked(end, Outcome.RESUBMIT_END, "asked to be run again after the others (exit code 67)", LATER)
    words = describe(status)
    if end.policy.retries(exit_code(status), end.tries):
        again = f"{words}: tried again ({end.tries + 1} of {end.policy.max_retries})"
        return dataclasses.replace(_back(Outcome.EXIT, "RESUBMIT", again, priority=10), counts=True)
    return _failed(Outcome.EXIT, "EXIT_ERROR", words, words)


def _asked(end: Ended, outcome: Outcome, message: str, priority: int) -> Verdict:
    """A program that asks again and again without having worked waits ever longer, and not for ever."""
    code = outcome.value.upper()
    if end.lasted >= AT_ONCE:
        return _back(outcome, code, message, priority)
    if end.tries + 1 >= MAX_AT_ONCE:
        advice = f"{message} {MAX_AT_ONCE} times without having worked: see its output, then resubmit it"
        return _failed(outcome, "TOO_MANY_RESUBMIT", advice, code)
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2**end.tries)
    return dataclasses.replace(_back(outcome, code, message, priority), counts=True, delay=delay)


def _back(outcome: Outcome, code: str, message: str, priority: int = SOONER) -> Verdict:
    return Verdict(outcome, JobState.EVENT, TaskState.PENDING, code, message, priority, outcome.value)


def _failed(outcome: Outcome, code: str, message: str, alike: str = "") -> Verdict:
    return Verdict(outcome, JobState.EVENT, TaskState.FAILED, code, message, alike=alike)


def _walltime(end: Ended, code: str, message: str) -> Verdict:
    if end.walltimes + 1 < MAX_WALLTIMES:
        return _back(Outcome.WALLTIME, code, message)
    advice = f"killed at the end of its walltime {MAX_WALLTIMES} times: give it a longer walltime"
    return _failed(Outcome.WALLTIME, "TOO_MANY_RESUBMIT", advice, "walltime")


def _by_mark(end: Ended, reason: str) -> Verdict:
    if reason == "cancelled":
        return Verdict(Outcome.CANCELLED, JobState.EVENT, TaskState.CANCELLED)
    if reason == "walltime":
        return _walltime(
            end, "CIGRI_WALLTIME", "killed by the grid: over its walltime, and the cluster had not ended it"
        )
    if reason == "queued":
        return _back(Outcome.QUEUED, "REMOTE_WAITING_FRAG", "waited too long on the cluster", priority=10)
    if reason in ("recalled", "drained"):
        return _back(Outcome.RECALLED, "RESUBMIT", "called back: its cluster is drained")
    if reason in ("refused", "surplus"):
        return _back(Outcome(reason), "", "", priority=10)
    if reason == "manual":
        told = f"set aside by an administrator of the grid{': ' if end.kill_message else ''}{end.kill_message}"
        return _failed(Outcome.DELETED, "MANUAL_EVENT", told, f"manual {end.kill_message}"[:LONGEST_LIKENESS].strip())
    return _failed(Outcome.DELETED, "USER_FRAG", "deleted on request", "request")


_NOT_ITS_FAULT = frozenset({Outcome.PREEMPTED, Outcome.SITE, Outcome.QUEUED, Outcome.RECALLED})


def of_stage(verdict: Verdict, kind: JobKind) -> Verdict:
    """What the end of a prologue's or epilogue's job means: it runs again only when it was not its own fault."""
    if verdict.outcome in (Outcome.SUCCESS, Outcome.CANCELLED):
        return verdict
    if verdict.outcome in _NOT_ITS_FAULT and verdict.task is TaskState.PENDING:
        return verdict
    code = "PROLOG_EXIT_ERROR" if kind is JobKind.PROLOGUE else "EPILOG_EXIT_ERROR"
    message = f"the {kind.value}: {verdict.message}"
    return Verdict(verdict.outcome, JobState.EVENT, TaskState.FAILED, code, message, alike=verdict.alike)


def spent(done: int, failed: int, max_failures: int) -> bool:
    """Whether a campaign has failed often enough on a cluster to get no more jobs there."""
    return failed >= max_failures or (done == 0 and failed >= ALL_FAILED)


def lost(*, last_seen_waiting: bool) -> Verdict:
    """The end of a job that a healthy cluster does not know any more: whether it ran is not known."""
    return _gone("the cluster does not know it any more", "it had started", "lost", again=last_seen_waiting)


def forgotten(*, rerun: bool) -> Verdict:
    """The end of a job on a cluster that is given up: whether it ran is not known."""
    return _gone("its cluster was removed from the grid", "nobody knows whether it ran", "forgotten", again=rerun)


def _gone(message: str, doubt: str, alike: str, *, again: bool) -> Verdict:
    """A job that cannot be asked for any more: its task goes back, or its owner decides."""
    if again:
        return _back(Outcome.LOST, "RESUBMIT", message)
    held = f"{message}, and {doubt}: see whether its results are there, then resubmit it or not"
    return _failed(Outcome.LOST, "JOB_LOST", held, alike)
