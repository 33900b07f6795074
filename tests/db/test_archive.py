"""Old campaigns are archived and dropped by maintenance, and what depends on them goes on being right."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from sqlalchemy import text

from cigri.admin.maintenance import Maintenance
from cigri.config import Settings
from cigri.core.outcome import Outcome, Verdict
from cigri.core.settling import Sighting
from cigri.core.states import CampaignState, JobState, SubmissionState, TaskState
from cigri.core.sweeping import Action, Known, judge
from cigri.db import archive, campaigns, check, endings, events, repair, strays, submissions, upkeep
from cigri.db.tables import AnyJob, AnyTask, Campaign

SETTINGS = Settings(archive_after=30, retention=0)
FAILED = Verdict(Outcome.EXIT, JobState.EVENT, TaskState.FAILED, "EXIT_ERROR", "exit code 1", alike="exit code 1")


def sql(books, statement, **values):
    with books.transaction() as session:
        done = session.execute(text(statement), values)
        return done.all() if done.returns_rows else done.rowcount


def count(books, table):
    return sql(books, f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608 - our own words


def maintain(books, **settings):
    """What a run did."""
    work = Maintenance(books.engine, dataclasses.replace(SETTINGS, **settings))
    work.run()
    return dict(work.done)


def grow_old(books, days=31):
    """Everything happened so many days earlier, and was told."""
    past = f"now() - interval '{days} days'"
    sql(books, f"UPDATE campaigns SET ended_at = {past} WHERE ended_at IS NOT NULL")  # noqa: S608
    sql(books, f"UPDATE submissions SET settled_at = {past} WHERE settled_at IS NOT NULL")  # noqa: S608
    sql(books, f"UPDATE events SET date_closed = {past} WHERE state = 'closed'")  # noqa: S608
    sql(books, "UPDATE events SET notified_at = now(), notified_count = count")


def end(books, cluster, campaign, *verdicts):
    """Every task of the campaign has one of these ends; the campaign has terminated."""
    there = books.submit(cluster, campaign, len(verdicts))
    books.finish(cluster, dict(zip(there, verdicts, strict=True)), node_name="node1")
    with books.transaction() as session:
        assert endings.terminate_finished(session) == [campaign]
    return there


@pytest.fixture
def ended(books, cluster, campaign):
    """The jobs of a campaign that is over: three have succeeded, one has failed."""
    return end(books, cluster, campaign, books.success, books.success, books.success, FAILED)


@pytest.fixture
def old(books, ended):
    grow_old(books)
    return ended


def whole(books):
    with books.transaction() as session:
        return check.faults(session, archive=True)


def test_what_is_old_is_moved_and_nothing_else(books, cluster, campaign, old):
    young = books.campaign([cluster], 2)
    end(books, cluster, young, books.success, books.success)
    running = books.campaign([cluster], 2)
    books.submit(cluster, running, 1)
    done = maintain(books)
    assert done == {
        "campaigns archived": 1, "tasks archived": 4, "jobs archived": 4, "submissions archived": 1,
        "events archived": done["events archived"],
    }  # fmt: skip
    assert [count(books, table) for table in ("tasks", "jobs", "submissions")] == [4, 3, 2]
    assert sql(books, "SELECT code FROM events WHERE campaign_id = :id", id=campaign) == [("EXIT_ERROR",)], "it is open"
    assert whole(books) == []
    assert maintain(books) == {}, "once is enough"


def test_it_goes_on_where_it_was_ended(books, cluster, campaign, old):
    with books.transaction() as session:
        moved = archive.move_tasks(session, campaign, timedelta(days=30), after=0, most=3)
    assert (moved.tasks, moved.jobs) == (3, 3)
    assert whole(books) == []
    assert maintain(books)["tasks archived"] == 1
    assert whole(books) == [] and count(books, "archived_tasks") == 4


def test_a_campaign_that_runs_again_meanwhile_stays(books, campaign, old):
    with books.transaction() as session:
        campaigns.add_tasks(session, campaign, ["more"], 1)
    with books.transaction() as session:
        assert archive.move_tasks(session, campaign, timedelta(days=30), after=0, most=3) == archive.Moved()
        assert not archive.complete(session, campaign, timedelta(days=30))
    assert maintain(books) == {} and count(books, "tasks") == 5


UNDER_WAY = {
    "it ended a short while ago": "UPDATE campaigns SET ended_at = now() - interval '29 days'",
    "a job lives": "UPDATE jobs SET state = 'running', ended_at = NULL WHERE state = 'event'",
    "a submission is not settled": "UPDATE submissions SET state = 'sending', settled_at = NULL",
    "jobs were given up lately": "UPDATE submissions SET void_jobs = '{1}', void_tasks = '{1}', settled_at = now()",
    "a submission was given up lately": "UPDATE submissions SET state = 'void', settled_at = now()",
    "an event is to be told": "UPDATE events SET notified_at = NULL WHERE code = 'EXIT_ERROR'",
    "more of an event is to be told": "UPDATE events SET count = count + 1 WHERE code = 'EXIT_ERROR'",
    "an epilogue is owed": "UPDATE campaign_clusters SET owes_epilogue = true",
    "an epilogue runs": "INSERT INTO stages (campaign_id, cluster_id, kind, round, state)"
    " SELECT campaign_id, cluster_id, 'epilogue', 1, 'active' FROM campaign_clusters",
    "the books are wrong": "UPDATE campaign_counts SET done = done - 1, pending = pending + 1 WHERE writer = 0",
    "it is being cleared": "UPDATE campaigns SET clearing = true",
}


@pytest.mark.parametrize("change", UNDER_WAY.values(), ids=UNDER_WAY)
def test_nothing_is_moved_while_anything_may_happen(unchecked, change):
    cluster = unchecked.cluster()
    campaign = unchecked.campaign([cluster], 4)
    end(unchecked, cluster, campaign, *(unchecked.success,) * 3, FAILED)
    grow_old(unchecked)
    with unchecked.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        assert session.execute(text(change)).rowcount > 0
    done = maintain(unchecked, retention=30)
    assert "tasks archived" not in done and "campaigns dropped" not in done
    assert count(unchecked, "tasks") == count(unchecked, "jobs") == 4


def test_archiving_can_be_switched_off(books, old):
    assert maintain(books, archive_after=0) == {} and count(books, "tasks") == 4


def test_failed_tasks_run_again_after_a_fix(books, cluster, campaign, old):
    maintain(books)
    with books.transaction() as session:
        fixed = repair.fix(session, repair.open_events(session, campaign), resubmit=True)
    assert fixed.tasks == 1 and books.state(campaign) is CampaignState.IN_TREATMENT
    assert books.progress(campaign) == {TaskState.PENDING: 1, TaskState.DONE: 3}
    assert whole(books) == []
    again = books.submit(cluster, campaign, 1)
    books.finish(cluster, {again[0]: books.success})
    with books.transaction() as session:
        assert endings.terminate_finished(session) == [campaign]
        tries = session.query(AnyJob).filter(AnyJob.task_id == session.get_one(AnyJob, again[0]).task_id)
        assert [job.id for job in tries.order_by(AnyJob.id)] == [old[3], again[0]]
    assert whole(books) == []
    grow_old(books)
    assert maintain(books)["tasks archived"] == 1, "what came back is archived again"
    assert whole(books) == [] and count(books, "tasks") == count(books, "jobs") == count(books, "submissions") == 0


def test_an_event_that_was_closed_before_can_still_have_its_tasks_run_again(books, campaign, old):
    with books.transaction() as session:
        event = repair.open_events(session, campaign)[0]
        repair.fix(session, [event], resubmit=False)
    grow_old(books)
    maintain(books)
    assert sql(books, "SELECT code FROM archived_events WHERE id = :id", id=event) == [("EXIT_ERROR",)]
    with books.transaction() as session:
        assert repair.fix(session, [event], resubmit=True).tasks == 1
    assert books.progress(campaign) == {TaskState.PENDING: 1, TaskState.DONE: 3} and whole(books) == []


def test_tasks_are_added_to_an_archived_campaign(books, cluster, campaign, old):
    maintain(books)
    with books.transaction() as session:
        campaigns.add_tasks(session, campaign, ["more"], 1)
    assert books.progress(campaign) == {TaskState.PENDING: 1, TaskState.DONE: 3, TaskState.FAILED: 1}
    assert whole(books) == []
    books.finish(cluster, {books.submit(cluster, campaign, 1)[0]: books.success})
    with books.transaction() as session:
        assert endings.terminate_finished(session) == [campaign]
        assert session.query(AnyTask).filter(AnyTask.campaign_id == campaign).count() == 5
    assert whole(books) == []


def test_what_the_sweep_finds_late_is_judged_as_before(books, cluster, campaign, old):
    """A cluster that was away for a month shows a job that had been given up: it succeeded."""
    failed, name = old[3], books.submission(books.job(old[3]).submission_id).name
    task, remote_id = books.task_of(failed).id, books.job(failed).remote_id
    with books.transaction() as session:
        before = strays.known(session, [(name, failed), (name, old[0]), (name, 999)])
    maintain(books)
    with books.transaction() as session:
        assert strays.known(session, [(name, failed), (name, old[0]), (name, 999)]) == before
        known = before[name, failed].known
        assert known == Known(SubmissionState.SETTLED, JobState.EVENT, (remote_id,), TaskState.FAILED)
        assert judge(known, Sighting(remote_id, 100, 0, ended=True, succeeded=True)) is Action.COUNT
        assert strays.logins(session, cluster, None) == [("alice", campaign)]
        assert strays.count_success(session, campaign, task)
        assert not strays.count_success(session, campaign, task), "once"
        assert not strays.count_success(session, campaign, before[name, old[0]].task_id), "it is done already"
    assert books.progress(campaign) == {TaskState.DONE: 4} and whole(books) == []
    assert maintain(books)["tasks archived"] == 1 and count(books, "archived_tasks") == 4


def test_keys_of_a_given_up_submission_lead_to_archived_tasks(books, cluster, campaign):
    books.allow(cluster, campaign, 4)
    claimed = books.claim(cluster, campaign)
    with books.transaction(cluster) as session:
        submissions.void(session, claimed.submission_id, "absent", counted=True)
    end(books, cluster, campaign, *(books.success,) * 4)
    grow_old(books)
    pair = (claimed.name, claimed.lines[0][0])
    with books.transaction() as session:
        before = strays.known(session, [pair])
    assert maintain(books)["submissions archived"] == 2
    with books.transaction() as session:
        assert strays.known(session, [pair]) == before
    assert before[pair].known == Known(SubmissionState.VOID, None, (), TaskState.DONE)


def test_causes_are_archived_with_what_they_caused(books, cluster, campaign, old):
    with books.transaction() as session:
        cause = events.record(session, events.News("RUNNER_SUBMIT_ERROR", campaign_id=campaign, cluster_id=cluster))
        gone = events.record(session, events.News("TIMEOUT", cluster_id=cluster))
        held = events.record(session, events.News("CONNECTION_REFUSED", cluster_id=cluster))
        told = events.record(session, events.News("STRAY_JOB", campaign_id=campaign, cluster_id=cluster, alike="a/1"))
        events.close(session, [cause, gone])
    grow_old(books)
    before = dict(sql(books, "SELECT id, parent FROM events WHERE id >= :cause", cause=cause))
    maintain(books)
    assert dict(sql(books, "SELECT id, parent FROM all_events WHERE id >= :cause", cause=cause)) == before
    left = {key for (key,) in sql(books, "SELECT id FROM events WHERE id >= :cause", cause=cause)}
    assert left == {held, *(key for key, parent in before.items() if parent == held), told}
    with books.transaction() as session:
        assert strays.told(session, "STRAY_JOB", cluster, "a/1"), "it is not told again"


def test_after_its_retention_only_numbers_are_left(books, cluster, campaign, old):
    maintain(books)
    stage_job(books, cluster, campaign)
    assert maintain(books, retention=40) == {}
    grow_old(books, days=41)
    sql(books, "UPDATE archived_submissions SET settled_at = now() - interval '41 days'")
    numbers = sql(books, "SELECT * FROM campaign_ends ORDER BY outcome"), books.progress(campaign)
    done = maintain(books, retention=40)
    assert done["campaigns dropped"] == 1 and done["submissions of purged campaigns dropped"] == 2
    for table in ("tasks", "jobs", "submissions"):
        assert count(books, table) == count(books, f"archived_{table}") == 0
    with books.transaction() as session:
        left = session.get_one(Campaign, campaign)
        assert left.purged_at is not None and not left.clearing and left.archived_tasks == 0
    assert (sql(books, "SELECT * FROM campaign_ends ORDER BY outcome"), books.progress(campaign)) == numbers
    assert whole(books) == [] and maintain(books, retention=40) == {}
    with books.transaction() as session:
        assert repair.fix(session, repair.open_events(session, campaign), resubmit=True).tasks == 0
    assert books.state(campaign) is CampaignState.TERMINATED


def stage_job(books, cluster, campaign):
    """A prologue that was run: what it leaves is few, and stays where it is until the campaign is dropped."""
    sql(
        books,
        "WITH s AS (INSERT INTO submissions (name, campaign_id, cluster_id, login, url_generation, size, remote_clock,"
        "                                    state, settled_at)"
        "           VALUES ('prologue', :campaign, :cluster, 'alice', 1, 1, 0, 'settled', now() - interval '41 days')"
        "           RETURNING id),"
        " j AS (INSERT INTO jobs (kind, campaign_id, cluster_id, submission_id, state, outcome, remote_id, ended_at)"
        "       SELECT 'prologue', :campaign, :cluster, id, 'terminated', 'success', 1, now() FROM s RETURNING id)"
        " INSERT INTO stages (campaign_id, cluster_id, kind, round, state, job_id)"
        " SELECT :campaign, :cluster, 'prologue', 1, 'done', id FROM j",
        campaign=campaign,
        cluster=cluster,
    )


def test_prologues_stay_and_their_submissions_too(books, cluster, campaign, old):
    stage_job(books, cluster, campaign)
    maintain(books)
    assert sql(books, "SELECT kind FROM jobs") == [("prologue",)]
    assert sql(books, "SELECT name FROM submissions") == [("prologue",)]
    assert count(books, "archived_jobs") == 4 and whole(books) == []


def test_an_owner_purges_an_archived_campaign(books, campaign, old):
    maintain(books)
    with books.transaction() as session:
        campaigns.purge(session, campaign)
    with books.transaction() as session:
        while campaigns.clear(session):
            pass
    assert count(books, "archived_tasks") == count(books, "archived_jobs") == 0 and whole(books) == []


def test_what_nobody_asks_for_is_forgotten(books, cluster, campaign):
    for days in (399, 401):
        sql(
            books,
            "INSERT INTO grid_usage VALUES (now() - make_interval(days => :days), :cluster, 10, 5, 5, 0)",
            days=days,
            cluster=cluster,
        )
    with books.transaction() as session:
        for word in ("old", "young"):
            campaigns.remember(session, "alice", campaigns.Key(word, "digest"), campaign)
            events.record(session, events.News("RESUBMIT", word, campaign_id=campaign))
        session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key = 'old'"))
        session.execute(text("UPDATE events SET date_closed = now() - interval '31 days' WHERE message = 'old'"))
    forgotten = {"events forgotten": 1, "idempotency keys forgotten": 1, "records of usage forgotten": 1}
    assert maintain(books) == forgotten
    assert maintain(books) == {}
    assert count(books, "grid_usage") == 1
    assert sql(books, "SELECT key FROM idempotency_keys") == [("young",)]
    assert sql(books, "SELECT message FROM events WHERE code = 'RESUBMIT'") == [("young",)]


def test_what_was_emptied_is_vacuumed(books, old):
    work = Maintenance(books.engine, SETTINGS)
    work.run()
    assert {"tasks", "jobs", "archived_tasks", "archived_jobs"} <= set(work.vacuum())
    assert sql(books, "SELECT relpages FROM pg_class WHERE relname = 'archived_tasks'") == [(1,)], "it was analysed"


def test_only_one_is_at_work(books, other_engine):
    with upkeep.alone(books.engine), pytest.raises(upkeep.AlreadyMaintained), upkeep.alone(other_engine):
        pass
    with upkeep.alone(other_engine):
        pass


BREAKS = {
    "a task that vanished": ("DELETE FROM archived_tasks WHERE state = 'failed'", "4 tasks were archived, 3 are there"),
    "a task that changed": ("UPDATE archived_tasks SET state = 'failed' WHERE state = 'done'", "the counters say"),
    "a success that is not counted": (
        "UPDATE archived_jobs SET state = 'terminated' WHERE state = 'event'", "archived job",
    ),
    "a number that is off": ("UPDATE campaigns SET archived_tasks = 3", "4 tasks declared, 3 there"),
    "a task that came back by itself": (
        "INSERT INTO tasks (campaign_id, line, state) SELECT campaign_id, line, state FROM archived_tasks LIMIT 1",
        "was archived and has 1 tasks",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), BREAKS.values(), ids=BREAKS)
def test_faults_in_the_archive_are_found(unchecked, change, sentence):
    cluster = unchecked.cluster()
    campaign = unchecked.campaign([cluster], 4)
    end(unchecked, cluster, campaign, *(unchecked.success,) * 3, FAILED)
    grow_old(unchecked)
    maintain(unchecked)
    assert whole(unchecked) == []
    assert sql(unchecked, change) > 0
    assert any(sentence in fault for fault in whole(unchecked)), whole(unchecked)
