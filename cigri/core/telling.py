"""Who is told of which events, how often, and how long a message is tried to be delivered."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cigri.core.events import MEANINGS, Meaning, Scope, Severity, meaning


class Channel(enum.StrEnum):
    """How somebody is told: the type of a subscription."""

    MAIL = "mail"
    JABBER = "jabber"
    WEBHOOK = "webhook"


class Telling(enum.StrEnum):
    """How often events of one kind (a code, of one campaign or cluster) are told."""

    NEVER = "never"  # of no use to anybody: what went back into the bag by itself
    EACH = "each"  # steps in the life of a campaign or of the grid
    SPARINGLY = "sparingly"  # what comes and goes by itself: at most one message of the kind per digest period
    WHILE_OPEN = "while open"  # what waits for a hand: at once, then a digest if there is more and it is still open


ADMINISTRATOR = "root"  # whose subscriptions are the administrator's
RANK = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2}
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
MAX_REFUSALS = 6  # over about half an hour: a server's configuration may be mended meanwhile


def telling(sense: Meaning) -> Telling:
    """How often events of this meaning are told."""
    if sense.passing:
        if sense.scope is Scope.JOB:
            return Telling.NEVER if sense.severity is Severity.LOW else Telling.SPARINGLY
        return Telling.EACH if sense.scope in (Scope.NOTIFY, Scope.LOG) else Telling.SPARINGLY
    comes_and_goes = sense.scope is Scope.CLUSTER and sense.blacklists is None  # stress
    return Telling.SPARINGLY if comes_and_goes or sense.heals is not None else Telling.WHILE_OPEN


def codes(how: Telling) -> list[str]:
    """The codes that are told so."""
    return [code for code, sense in MEANINGS.items() if telling(sense) is how]


def wanted(severity: Severity, least: Severity) -> bool:
    """Whether who subscribed to `least` and above wants to hear of this severity."""
    return RANK[severity] >= RANK[least]


def retry_delay(tries: int) -> timedelta:
    """How long to wait after this many failed tries before the next."""
    return min(LONGEST_DELAY, FIRST_DELAY * (1 << min(tries, 20)))


# --- what is told


@dataclass(frozen=True, slots=True)
class Subject:
    """The campaign that an event is about, as it is when it is told."""

    id: int
    name: str
    owner: str
    total: int
    done: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Happening:
    """An event that is to be told. `more` is how often it happened since it was told last."""

    code: str
    message: str
    count: int
    more: int
    told_before: bool
    opened: datetime
    campaign: Subject | None = None
    cluster: str | None = None
    job_id: int | None = None
    last_job_id: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """What one message tells: events of one code, all of one campaign or of none."""

    code: str
    severity: Severity
    campaign: Subject | None
    happenings: tuple[Happening, ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on its way. `message_id` is the same at every try; `to` is sealed if it is a webhook's."""

    id: int
    to: str
    message_id: str
    subject: str
    body: str
    user: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Blacklist:
    """A blacklist that is open: what caused it, and what it keeps from what."""

    cause: str
    message: str
    cluster: str
    since: datetime
    event_id: int
    campaign_id: int | None = None
    campaign_name: str = ""
    owner: str = ""


def audience(happening: Happening) -> str:
    """Whose subscriptions hear of it: a campaign's owner, and the administrator of all else."""
    if meaning(happening.code).scope is Scope.CLUSTER:
        return ADMINISTRATOR
    if happening.campaign is not None:
        return happening.campaign.owner
    return happening.user or ADMINISTRATOR


def topics(happenings: Iterable[Happening]) -> dict[str, list[Topic]]:
    """What each user is to hear of: one topic for each code and campaign, gravest first."""
    found: dict[str, dict[tuple[str, int], list[Happening]]] = {}
    for one in happenings:
        key = (one.code, one.campaign.id if one.campaign else 0)
        found.setdefault(audience(one), {}).setdefault(key, []).append(one)
    return {
        user: sorted(
            (Topic(code, meaning(code).severity, some[0].campaign, tuple(some)) for (code, _), some in kinds.items()),
            key=lambda topic: -RANK[topic.severity],
        )
        for user, kinds in found.items()
    }
