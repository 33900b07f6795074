"""The statistics of a campaign are what a plain look at all its jobs gives, whoever ends them, however many at once."""

from __future__ import annotations

import random
import statistics as plain
import threading

import pytest
from sqlalchemy import select, text

from cigri.core.outcome import Outcome, Verdict
from cigri.core.states import JobState, TaskState
from cigri.db.tables import Job
from cigri.db.views.statistics import FAILURES, RETURNS, forget_minutes, statistics

WINDOW = 3600.0
ENDS = (
    Verdict(Outcome.SUCCESS, JobState.TERMINATED, TaskState.DONE),
    Verdict(Outcome.EXIT, JobState.EVENT, TaskState.FAILED),
    Verdict(Outcome.LOST, JobState.EVENT, TaskState.FAILED),
    Verdict(Outcome.PREEMPTED, JobState.EVENT, TaskState.PENDING),
    Verdict(Outcome.QUEUED, JobState.EVENT, TaskState.PENDING),
)


def figures(books, campaign, window=WINDOW):
    with books.transaction() as session:
        return statistics(session, campaign, window)


def plainly(books, campaign):
    """Average, deviation, rates from the jobs themselves."""
    with books.transaction() as session:
        jobs = session.scalars(select(Job).where(Job.campaign_id == campaign, Job.ended_at.is_not(None))).all()
    done = [job for job in jobs if job.outcome == Outcome.SUCCESS]
    took = [(job.stop_time - job.start_time).total_seconds() for job in done if job.start_time and job.stop_time]
    failed, back = (sum(job.outcome in words for job in jobs) for words in (FAILURES, RETURNS))
    return (
        plain.mean(took) if took else 0.0,
        plain.stdev(took) if len(took) > 1 else 0.0,
        failed / (failed + len(done)) if failed else 0.0,
        back / (back + len(done)) if back else 0.0,
    )


def shown(found):
    return (found.average, found.deviation, found.failures, found.resubmissions)


def work(books, cluster, jobs, seed):
    """What a runner does: jobs of several campaigns end, a few in each transaction."""
    chance = random.Random(seed)  # noqa: S311 - a random driver
    chance.shuffle(jobs)
    while jobs:
        some = {jobs.pop(): chance.choice(ENDS) for _ in range(min(len(jobs), chance.randint(1, 3)))}
        begun = 1.6e9 + chance.random() * 1e6
        known = {"start_time": begun, "stop_time": begun + chance.choice((0.5, 3.25, 1000.125, 86400.0))}
        books.finish(cluster, some, **(known if chance.random() < 0.9 else {}))


def test_every_outcome_has_its_place():
    neither = {Outcome.SUCCESS, Outcome.QUEUED, Outcome.RECALLED, Outcome.CANCELLED, Outcome.REFUSED, Outcome.SURPLUS}
    assert not FAILURES & RETURNS and FAILURES | RETURNS | neither == set(Outcome)


def test_several_clusters_at_once(books):
    clusters = [books.cluster(name) for name in ("tiger", "lion", "lynx")]
    campaigns = [books.campaign(clusters, 60) for _ in range(2)]
    jobs = {one: [job for campaign in campaigns for job in books.submit(one, campaign, 12)] for one in clusters}
    threads = [threading.Thread(target=work, args=(books, one, jobs[one], one)) for one in clusters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for campaign in campaigns:
        assert shown(figures(books, campaign)) == pytest.approx(plainly(books, campaign), rel=1e-12)
        assert figures(books, campaign).failures > 0 < figures(books, campaign).resubmissions
    with books.transaction() as session:
        assert set(session.scalars(text("SELECT writer FROM campaign_ends"))) == set(clusters)


def test_what_is_rolled_back_was_not(books):
    cluster = books.cluster()
    campaign = books.campaign([cluster], 2)
    jobs = books.submit(cluster, campaign, 2)
    with pytest.raises(ZeroDivisionError), books.transaction(cluster) as session:
        session.execute(text("UPDATE jobs SET state = 'terminated', outcome = 'success', ended_at = now()"))
        raise ZeroDivisionError
    assert shown(figures(books, campaign)) == (0.0, 0.0, 0.0, 0.0)
    books.finish(cluster, {jobs[0]: ENDS[0]}, start_time=1000.0, stop_time=1010.0)
    assert shown(figures(books, campaign)) == (10.0, 0.0, 0.0, 0.0)


def test_durations_that_differ_little_keep_their_deviation(books):
    """The squares of large numbers are subtracted from each other: floating point would leave noise."""
    cluster = books.cluster()
    campaign = books.campaign([cluster], 50)
    jobs = books.submit(cluster, campaign, 50)
    for number, job_id in enumerate(jobs):
        books.finish(cluster, {job_id: ENDS[0]}, start_time=1e6, stop_time=1e9 + number % 2)
    assert figures(books, campaign).deviation == pytest.approx(plain.stdev([0, 1] * 25), rel=1e-9)


def test_jobs_that_change_after_their_end_or_come_ended_count(books):
    cluster = books.cluster()
    campaign = books.campaign([cluster], 4)
    jobs = books.submit(cluster, campaign, 4)
    books.finish(cluster, dict(zip(jobs, ENDS, strict=False)), start_time=1000.0, stop_time=1010.0)
    books.update(Job, jobs[0], stop_time=text("start_time + interval '20 s'"))
    books.update(Job, jobs[1], outcome="preempted")
    assert shown(figures(books, campaign)) == pytest.approx(plainly(books, campaign))
    with books.transaction() as session:
        session.execute(
            text("""
                INSERT INTO jobs (kind, campaign_id, cluster_id, submission_id, state, remote_id, ended_at)
                SELECT 'prologue', campaign_id, cluster_id, submission_id, 'event', remote_id, ended_at FROM jobs
            """)
        )
        assert shown(statistics(session, campaign, WINDOW)) == shown(figures(books, campaign)), "tasks count alone"
        session.rollback()


def test_throughput_is_measured_over_the_window(books):
    """R14: Whole minutes: the window is up to one longer than asked for. It ends where the campaign did."""
    cluster = books.cluster()
    campaign = books.campaign([cluster], 10)
    jobs = books.submit(cluster, campaign, 9)
    books.finish(cluster, dict.fromkeys(jobs, ENDS[0]), start_time=1000.0, stop_time=1010.0)
    with books.transaction() as session:
        session.execute(text("UPDATE jobs SET created_at = now() - interval '30 days'"))
        for age, some in ((0, jobs[:3]), (10, jobs[3:5]), (59, jobs[5:6]), (120, jobs[6:])):
            change = text("UPDATE jobs SET ended_at = now() - make_interval(mins => :age) WHERE id = ANY(:ids)")
            session.execute(change, {"age": age, "ids": some})
    found = figures(books, campaign)
    assert 6 / 3660 <= found.throughput <= 6 / 3600 and found.remaining == pytest.approx(1 / found.throughput)
    assert figures(books, campaign, 300.0).throughput == pytest.approx(3 / 330, rel=0.11)
    with books.transaction() as session:
        session.execute(
            text("UPDATE campaigns SET state = 'cancelled', ended_at = now() - interval '100 min' WHERE id = :id"),
            {"id": campaign},
        )
        session.execute(text("UPDATE tasks SET state = 'cancelled' WHERE state = 'pending'"))
    assert figures(books, campaign).throughput == pytest.approx(3 / 3630, rel=0.01)
    assert figures(books, campaign).remaining == 0.0


def test_minutes_out_of_the_window_are_forgotten(books):
    cluster = books.cluster()
    running, ended = books.campaign([cluster], 2), books.campaign([cluster], 1)
    for campaign, tasks in ((running, 2), (ended, 1)):
        books.finish(cluster, dict.fromkeys(books.submit(cluster, campaign, tasks), ENDS[0]))
    with books.transaction() as session:
        session.execute(
            text("UPDATE jobs SET ended_at = now() - interval '5 h' WHERE id IN (SELECT min(id) FROM jobs)")
        )
        session.execute(
            text("UPDATE campaign_minutes SET minute = minute - interval '9 h' WHERE campaign_id = :id"), {"id": ended}
        )
        session.execute(
            text("UPDATE campaigns SET state = 'terminated', ended_at = now() - interval '9 h' WHERE id = :id"),
            {"id": ended},
        )
        before = {campaign: statistics(session, campaign, WINDOW) for campaign in (running, ended)}
        forget_minutes(session, WINDOW)
        left = dict(session.execute(text("SELECT campaign_id, sum(jobs) FROM campaign_minutes GROUP BY 1")).all())
        assert left == {running: 1, ended: 1}
        assert {campaign: statistics(session, campaign, WINDOW) for campaign in (running, ended)} == before
