"""How a campaign goes: durations, throughput, rates. Read from sums that a trigger keeps: any campaign is as quick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from cigri.core.outcome import Outcome
from cigri.db.tables import Campaign, CampaignCount, CampaignEnd, CampaignMinute

# Tries that failed by themselves, and tries that were cut short and whose task goes back into the bag.
FAILURES = frozenset({Outcome.EXIT, Outcome.DIRECTORY, Outcome.DELETED, Outcome.UNKNOWN, Outcome.LOST})
RETURNS = frozenset({Outcome.PREEMPTED, Outcome.WALLTIME, Outcome.RESUBMIT, Outcome.RESUBMIT_END, Outcome.SITE})

# The window ends where the campaign did, or now; it begins with a whole minute, or with the campaign's first job.
_THROUGHPUT = text("""
    WITH moment AS (
        SELECT id, coalesce(ended_at, now()) AS last FROM campaigns WHERE id = :campaign
    ), span AS (
        SELECT id, last, date_trunc('minute', last - make_interval(secs => :window)) AS edge,
               coalesce((SELECT created_at FROM all_jobs WHERE (campaign_id, id) > (:campaign, 0)
                             AND campaign_id <= :campaign ORDER BY campaign_id, id LIMIT 1),
                        (SELECT min(minute) FROM campaign_minutes WHERE campaign_id = :campaign)) AS begun
        FROM moment
    )
    SELECT coalesce(sum(jobs), 0), extract(epoch FROM last - greatest(edge, begun))
    FROM span LEFT JOIN campaign_minutes ON campaign_id = id AND minute BETWEEN edge AND last
    GROUP BY last, edge, begun
""")

SETTLED = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Seconds, jobs per second, and shares from 0 to 1. `remaining` is None when it cannot be told."""

    average: float
    deviation: float
    throughput: float
    remaining: float | None
    failures: float
    resubmissions: float


@dataclass(frozen=True, slots=True)
class Ends:
    """The tries that ended in one way, on all clusters together."""

    jobs: int = 0
    timed: int = 0
    seconds: Decimal = Decimal(0)
    squares: Decimal = Decimal(0)

    def average(self) -> float:
        return float(self.seconds / self.timed) if self.timed else 0.0

    def deviation(self) -> float:
        """The sample's standard deviation; 0 for less than two."""
        if self.timed < 2:
            return 0.0
        variance = (self.squares - self.seconds * self.seconds / self.timed) / (self.timed - 1)
        return math.sqrt(max(variance, Decimal(0)))


def statistics(session: Session, campaign_id: int, window: float) -> Statistics:
    """The figures of a campaign; `window`: how many seconds back its throughput is measured, to the minute.

    Failures are tries that failed by themselves, resubmissions are tries that were cut short and whose task
    goes back into the bag, each against the tries that succeeded. Having waited too long is neither.
    """
    ends = _ends(session, campaign_id)
    done = ends.get(Outcome.SUCCESS, Ends())
    throughput = _throughput(session, campaign_id, window)
    left = session.scalar(
        select(func.sum(CampaignCount.pending + CampaignCount.active)).where(CampaignCount.campaign_id == campaign_id)
    )
    return Statistics(
        done.average(),
        done.deviation(),
        throughput,
        (left / throughput if throughput > 0 else None) if left else 0.0,
        _share(sum(ends[word].jobs for word in FAILURES if word in ends), done.jobs),
        _share(sum(ends[word].jobs for word in RETURNS if word in ends), done.jobs),
    )


def _ends(session: Session, campaign_id: int) -> dict[str, Ends]:
    """The ends of the campaign's jobs by their outcome."""
    of = CampaignEnd
    sums = (func.sum(of.jobs), func.sum(of.timed), func.sum(of.seconds), func.sum(of.squares))
    query = select(of.outcome, *sums).where(of.campaign_id == campaign_id).group_by(of.outcome)
    return {row[0]: Ends(int(row[1]), int(row[2]), row[3], row[4]) for row in session.execute(query)}


def _throughput(session: Session, campaign_id: int, window: float) -> float:
    row = session.execute(_THROUGHPUT, {"campaign": campaign_id, "window": window}).one_or_none()
    if row is None or row[1] is None or row[1] <= 0:
        return 0.0
    return float(row[0]) / float(row[1])


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part else 0.0


def forget_minutes(session: Session, window: float) -> None:
    """Drop the minutes that are out of the window of their campaign."""
    last = func.coalesce(Campaign.ended_at, func.now())
    edge = func.date_trunc("minute", last - func.make_interval(0, 0, 0, 0, 0, 0, window))
    old = delete(CampaignMinute).where(
        Campaign.id == CampaignMinute.campaign_id,
        CampaignMinute.minute < edge,
        # Those of a campaign that ended long ago were dropped long ago.
        Campaign.ended_at.is_(None) | (Campaign.ended_at > func.now() - SETTLED),
    )
    session.execute(old.execution_options(synchronize_session=False))
