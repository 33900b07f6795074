"""What each event code means: its scope, how grave it is, whether it blacklists, whether it heals by itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class Scope(enum.StrEnum):
    """The class of an event, as the API shows it."""

    CLUSTER = "cluster"
    JOB = "job"
    CAMPAIGN = "campaign"
    NOTIFY = "notify"
    LOG = "log"


class Severity(enum.StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Heals(enum.StrEnum):
    """How an open event ends without a hand: when the cluster answers again, or when the thing may be tried again."""

    WHEN_HEALTHY = "when the cluster answers"
    AFTER_DELAY = "after a delay, if the cluster answers"


@dataclass(frozen=True, slots=True)
class Meaning:
    """`blacklists`: CLUSTER keeps the whole cluster from getting jobs, CAMPAIGN one campaign on one cluster."""

    scope: Scope
    severity: Severity
    blacklists: Scope | None = None
    heals: Heals | None = None
    passing: bool = False  # something that happened, closed at once: nothing waits for anybody


def _cluster(severity: Severity = Severity.HIGH) -> Meaning:
    return Meaning(Scope.CLUSTER, severity, Scope.CLUSTER, Heals.WHEN_HEALTHY)


def _submission(heals: Heals | None = None) -> Meaning:
    return Meaning(Scope.CAMPAIGN, Severity.HIGH, Scope.CAMPAIGN, heals)


def _failure() -> Meaning:
    return Meaning(Scope.JOB, Severity.HIGH)


def _told(scope: Scope = Scope.NOTIFY, severity: Severity = Severity.HIGH) -> Meaning:
    return Meaning(scope, severity, passing=True)


def _back() -> Meaning:
    return Meaning(Scope.JOB, Severity.LOW, passing=True)


BLACKLIST = "BLACKLIST"

# Severities are the original's: only a new campaign is low, and what passes by itself medium.
MEANINGS: dict[str, Meaning] = {
    # A cluster that does not answer gets no new job until it does. There the answer that failed was told as medium,
    # and the blacklist that it caused as high: here they are one message.
    "TIMEOUT": _cluster(),
    "CONNECTION_REFUSED": _cluster(),
    "CONNECTION_RESET": _cluster(),
    "CLUSTER_API_SERVER_ERROR": _cluster(),
    "CLUSTER_MANUALLY_DISABLED": Meaning(Scope.CLUSTER, Severity.HIGH, Scope.CLUSTER),
    # A campaign whose submissions a cluster refuses gets no new job there.
    "RUNNER_SUBMIT_ERROR": _submission(),
    "RUNNER_SUBMIT_NOT_ENOUGH_RESOURCES": _submission(Heals.AFTER_DELAY),
    "RUNNER_SUBMIT_WEDGED": _submission(Heals.AFTER_DELAY),
    "RUNNER_SUBMIT_TOO_LARGE": _submission(),
    "RUNNER_SUBMIT_PERMISSION_DENIED": _submission(),
    "RUNNER_SUBMIT_TOKEN_NOT_FOUND": _submission(),
    # A task that failed is set aside until its owner closes the event, with or without resubmission.
    "EXIT_ERROR": _failure(),
    "WORKING_DIRECTORY_ERROR": _failure(),
    "UNKNOWN_ERROR": _failure(),
    "PROLOG_EXIT_ERROR": _submission(),
    "EPILOG_EXIT_ERROR": Meaning(Scope.CAMPAIGN, Severity.HIGH),
    "USER_FRAG": _failure(),
    "MANUAL_EVENT": _failure(),
    "TOO_MANY_RESUBMIT": _failure(),
    "JOB_LOST": _failure(),
    # What went back into the bag by itself.
    "RESUBMIT": _back(),
    "RESUBMIT_END": _back(),
    "OAR_AUTO_RESUBMIT": _back(),
    "REMOTE_WAITING_FRAG": _back(),
    "CIGRI_WALLTIME": _told(Scope.JOB, Severity.MEDIUM),
    # What is told.
    "DUPLICATE_RUN": _told(Scope.JOB),
    "LATE_SUCCESS": _told(Scope.JOB, Severity.MEDIUM),
    "STRAY_JOB": _told(Scope.CLUSTER, Severity.MEDIUM),
    "UNKNOWN_STATE": _told(Scope.CLUSTER, Severity.MEDIUM),
    "UNDER_STRESS": Meaning(Scope.CLUSTER, Severity.MEDIUM),
    "LOAD_SENSOR_FAILED": Meaning(Scope.CLUSTER, Severity.MEDIUM),
    "RUNNER_FAILED": _told(Scope.CLUSTER),
    "JUDAS_FAILED": Meaning(Scope.LOG, Severity.HIGH),
    "ALMIGHTY_STARTING": _told(Scope.LOG),
    "ALMIGHTY_TERMINATING": _told(Scope.LOG),
    "NEW_CAMPAIGN": _told(severity=Severity.LOW),
    "PAUSED": _told(),
    "RESUMED": _told(),
    "PURGE": _told(),
    "FINISHED_CAMPAIGN": _told(),
    "TOKEN_EXPIRES_SOON": _told(),
}


def meaning(code: str) -> Meaning:
    """The meaning of a code. Raises KeyError for one that is not in the table."""
    return MEANINGS[code]


_ENDINGS = {
    "UNDER_STRESS": "it ends when the stress of the cluster is below its limit again",
    "LOAD_SENSOR_FAILED": "it ends when the sensor gives a load again",
    "RUNNER_SUBMIT_TOKEN_NOT_FOUND": "it ends when its owner has stored a token for the cluster: gridtoken -h",
    "RUNNER_SUBMIT_PERMISSION_DENIED": "it ends when its owner has stored a token that the cluster takes: gridtoken -h",
}


def waits_for(event_id: int, code: str, *, of_campaign: bool, probe_at: datetime | None) -> str:
    """What ends an open event that is not a blacklist, with what it holds up: a sentence that says who types what."""
    if code in _ENDINGS:
        return _ENDINGS[code]
    sense = MEANINGS.get(code)
    if probe_at is not None:
        when = f"{probe_at.astimezone():%Y-%m-%d %H:%M:%S}"
        if sense is not None and sense.heals is Heals.AFTER_DELAY:
            return f"the cluster is asked at {when}: if it answers, submission is tried again"
        return f"the cluster is asked again at {when}: it ends when the cluster answers"
    if not of_campaign:
        return f"an administrator has to close it: gridevents -e {event_id} -f"
    return f"its owner has to close it: gridevents -e {event_id} -f (with -r its tasks are tried again)"
