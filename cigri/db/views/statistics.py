"""How a campaign goes: durations, throughput, rates. Taken from its newest jobs: a big one is as quick."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from cigri.core.outcome import Outcome

SAMPLE = 20_000  # jobs looked at, the newest
FAILURES = [Outcome.EXIT, Outcome.DIRECTORY, Outcome.DELETED, Outcome.UNKNOWN, Outcome.LOST]
RETURNS = [
    Outcome.PREEMPTED,
    Outcome.WALLTIME,
    Outcome.RESUBMIT,
    Outcome.RESUBMIT_END,
    Outcome.QUEUED,
    Outcome.SITE,
]

_STATISTICS = text("""
    WITH sample AS MATERIALIZED (
        SELECT state, created_at, start_time, stop_time, ended_at, outcome
        FROM jobs WHERE campaign_id = :campaign AND kind = 'task' ORDER BY id DESC LIMIT :sample
    ), moment AS (
        SELECT coalesce(ended_at, now()) AS last FROM campaigns WHERE id = :campaign
    ), span AS (
        SELECT last, greatest(last - make_interval(secs => :window),
                              (SELECT min(created_at) FROM sample)) AS first
        FROM moment
    )
    SELECT avg(extract(epoch FROM stop_time - start_time)) FILTER (WHERE state = 'terminated'),
           stddev_samp(extract(epoch FROM stop_time - start_time)) FILTER (WHERE state = 'terminated'),
           count(*) FILTER (WHERE state = 'terminated' AND sample.ended_at BETWEEN first AND last),
           (SELECT extract(epoch FROM last - first) FROM span),
           count(*) FILTER (WHERE state = 'terminated'),
           count(*) FILTER (WHERE outcome = ANY (:failures)),
           count(*) FILTER (WHERE outcome = ANY (:returns)),
           (SELECT coalesce(sum(pending + active), 0) FROM campaign_counts WHERE campaign_id = :campaign)
    FROM sample CROSS JOIN span
""")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Seconds, jobs per second, and shares from 0 to 1. `remaining` is None when it cannot be told."""

    average: float
    deviation: float
    throughput: float
    remaining: float | None
    failures: float
    resubmissions: float


def statistics(session: Session, campaign_id: int, window: float) -> Statistics:
    """The figures of a campaign; `window`: how many seconds back its throughput is measured.

    Failures are tries that failed by themselves, resubmissions are tries that were cut short and whose task
    goes back into the bag, each against the tries that succeeded.
    """
    values = {
        "campaign": campaign_id,
        "sample": SAMPLE,
        "window": window,
        "failures": FAILURES,
        "returns": RETURNS,
    }
    row = session.execute(_STATISTICS, values).one()
    average, deviation, ended, span, succeeded, failed, returned, left = (float(value or 0) for value in row)
    throughput = ended / span if span > 0 else 0.0
    return Statistics(
        average,
        deviation,
        throughput,
        left / throughput if throughput > 0 else (None if left else 0.0),
        _share(failed, succeeded),
        _share(returned, succeeded),
    )


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part else 0.0
