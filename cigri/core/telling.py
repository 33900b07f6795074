"""Who is told of which events, how often, and how long a message is tried to be delivered."""

from __future__ import annotations

import enum
from datetime import timedelta

from cigri.core.events import MEANINGS, Meaning, Scope, Severity


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
    return Telling.WHILE_OPEN if sense.heals is None else Telling.SPARINGLY


def codes(how: Telling) -> list[str]:
    """The codes that are told so."""
    return [code for code, sense in MEANINGS.items() if telling(sense) is how]


def wanted(severity: Severity, least: Severity) -> bool:
    """Whether who subscribed to `least` and above wants to hear of this severity."""
    return RANK[severity] >= RANK[least]


def retry_delay(tries: int) -> timedelta:
    """How long to wait after this many failed tries before the next."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(tries, 20))
