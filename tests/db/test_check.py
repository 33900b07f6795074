"""`gridadmin db check` finds every kind of broken books; they are broken behind the triggers' back."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from cigri.db import campaigns, events, submissions

BREAKS = {
    "tasks that vanished": ("DELETE FROM tasks WHERE id = :pending", "4 tasks declared, 3 there"),
    "counters that are off": ("UPDATE tasks SET state = 'failed' WHERE id = :pending", "the counters say"),
    "counters that do not add up": (
        "UPDATE campaign_counts SET done = done + 1 WHERE writer = 0", "the counters add up to 5 of 4",
    ),
    "an active task that nobody runs": (
        "UPDATE jobs SET state = 'event', ended_at = now() WHERE id = :live", "active and has no live job",
    ),
    "a live job of a task in the bag": ("UPDATE tasks SET state = 'pending' WHERE id = :active", "is live, its task"),
    "a live job of a failed task": ("UPDATE tasks SET state = 'failed' WHERE id = :active", "is live, its task"),
    "a success that was not counted": ("UPDATE tasks SET state = 'failed' WHERE id = :done", "succeeded, its task"),
    "a job that is sent under a settled submission": (
        "UPDATE jobs SET state = 'launching' WHERE id = :live", "is being sent, its submission",
    ),
    "a followed job of an unsettled submission": (
        "UPDATE submissions SET state = 'sending', settled_at = NULL WHERE id = :submission", "its submission",
    ),
    "a followed job of a void submission": (
        "UPDATE submissions SET state = 'void' WHERE id = :submission", "its submission",
    ),
    "a finished campaign with tasks in the bag": (
        "UPDATE campaigns SET state = 'terminated', ended_at = now()", "is terminated and has 2 pending tasks",
    ),
    "a cancelled campaign with tasks in the bag": (
        "UPDATE campaigns SET state = 'cancelled', ended_at = now()", "is cancelled and has 2 pending tasks",
    ),
    "a blacklist without a cause": (
        "UPDATE events SET state = 'closed', date_closed = now() WHERE code = 'TIMEOUT'", "is an open blacklist",
    ),
}  # fmt: skip


@pytest.fixture
def ids(unchecked):
    """Books in balance: a done, an active and two pending tasks, a blacklist."""
    cluster = unchecked.cluster()
    campaign = unchecked.campaign([cluster], 4)
    done, live = unchecked.submit(cluster, campaign, 2)
    unchecked.finish(cluster, {done: unchecked.success})
    with unchecked.transaction() as session:
        events.record(session, events.News("TIMEOUT", cluster_id=cluster))
        pending = session.scalar(text("SELECT min(id) FROM tasks WHERE state = 'pending'"))
    assert unchecked.faults() == []
    return {
        "live": live, "done": unchecked.task_of(done).id, "active": unchecked.task_of(live).id, "pending": pending,
        "submission": unchecked.job(live).submission_id,
    }  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), BREAKS.values(), ids=BREAKS)
def test_each_kind_of_fault_is_found(unchecked, ids, change, sentence):
    with unchecked.transaction() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        wanted = {name: value for name, value in ids.items() if f":{name}" in change}
        assert session.execute(text(change), wanted).rowcount > 0
    found = unchecked.faults()
    assert any(sentence in fault for fault in found), found


def test_everything_that_is_right_is_found_right(unchecked, ids):
    cluster = unchecked.cluster("second")
    campaign = unchecked.campaign([cluster], 9)
    there = unchecked.submit(cluster, campaign, 6)
    verdicts = (unchecked.success, unchecked.failed, unchecked.preempted)
    unchecked.finish(cluster, dict(zip(there, verdicts, strict=False)))
    unchecked.allow(cluster, campaign, 2)
    sending = unchecked.claim(cluster, campaign)
    assert unchecked.faults() == []
    with unchecked.transaction() as session:
        campaigns.cancel(session, campaign)
    assert unchecked.faults() == []
    with unchecked.transaction() as session:
        submissions.void(session, sending.submission_id, "", counted=True)
    assert unchecked.faults() == []
    assert unchecked.faults() == unchecked.faults(), "looking changes nothing"
