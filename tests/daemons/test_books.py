"""Any order of misfortunes ends with balanced books, and with each task where it belongs, once."""

from __future__ import annotations

import time
from collections import Counter

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from cigri.core.states import FINAL, CampaignState, JobState
from cigri.db import campaigns
from cigri.db.engine import transaction
from cigri.db.tables import Job, Submission, Task

TASKS = 12
LOSSES = [
    ("close", "before"),
    ("close", "after"),
    ("reset", "after"),
    ("no_answer", "before"),
    ("no_answer", "after"),
    ("error_before", "before"),
    ("error_after", "after"),
    ("truncate", "after"),
    ("half_array", "after"),
    ("hold_corpse", "after"),
]
losses = st.sampled_from(LOSSES).map(lambda loss: ("lose", *loss))
steps = st.one_of(
    st.just(("rounds",)),
    st.just(("rounds",)),
    losses,
    losses,
    st.just(("crash",)),
    st.just(("preempt",)),
    st.just(("restart",)),
    st.just(("read errors",)),
    st.just(("delete by hand",)),
)


def step(grid, what: tuple[str, ...]) -> None:
    match what:
        case ("rounds",):
            grid.cycles()
            grid.cycles()
        case ("lose", kind, when):
            grid.lose(kind, when)
            grid.cycles()
            grid.faults()
        case ("crash",):
            assert grid.runner.duty.held
            grid.forget("runner")
        case ("preempt",):
            grid.knob("kill_besteffort", {"count": 2})
        case ("restart",):
            # OAR restarts a job once at most.
            restarted = {job.get("resubmit_job_id") for job in grid.remote()}
            running = {job.remote_id for job in grid.rows(Job, state=JobState.RUNNING)} & set(grid.live())
            for remote_id in sorted(running - restarted)[:1]:
                grid.knob("resubmit", {"job_id": remote_id})
        case ("read errors",):
            grid.faults({"on": "GET", "kind": "error_before", "count": 7})
            grid.cycles()
            grid.faults()
        case ("delete by hand",):
            for remote_id in grid.live()[:1]:
                grid.ask("DELETE", f"jobs/{remote_id}")


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(steps, min_size=4, max_size=10), cancelled=st.integers(0, 40))
@example(script=[("lose", "half_array", "after"), ("crash",), ("restart",), ("preempt",), ("rounds",)], cancelled=5)
def test_books_balance_whatever_happens(grid, script: list[tuple[str, ...]], cancelled: int) -> None:
    (grid.home / "marks").unlink(missing_ok=True)
    campaign = grid.campaign([str(n) for n in range(TASKS)], "sleep 0.2; echo >>marks")
    grid.updater.cycle()
    for number, what in enumerate(script):
        if number == cancelled:
            with transaction(grid.engine) as session:
                campaigns.cancel(session, campaign)
        step(grid, what)
        grid.balanced()
    grid.faults()
    finished(grid, campaign)
    judge(grid, campaign)


def finished(grid, campaign: int) -> None:
    """Rounds until all is over, the blacklists of the cluster's faults too."""
    end = time.monotonic() + 40

    def over() -> bool:
        grid.updater.cycle()
        jobs = grid.rows(Job, campaign_id=campaign)
        return grid.state(campaign) is not CampaignState.IN_TREATMENT and all(job.state in FINAL for job in jobs)

    grid.until(over, end - time.monotonic())
    grid.sweep()
    grid.until(lambda: grid.live() == [])


def judge(grid, campaign: int) -> None:
    """What the database says, what the cluster says and what the tasks left agree."""
    grid.balanced()
    states = {task.id: task.state.value for task in grid.rows(Task, campaign_id=campaign)}
    assert set(states.values()) <= {"done", "failed", "cancelled"}, grid.story()
    marks = Counter({task.id: grid.marks()[task.line] for task in grid.rows(Task, campaign_id=campaign)})
    successes = grid.successes(campaign, restarted=False)
    for task, state in states.items():
        # What the cluster itself started again after its command had ended may succeed twice (PROTOCOL, section 1).
        assert successes[task] == (state == "done"), (task, state, successes[task], grid.story())
        assert marks[task] >= successes[task]
    counted = [job.task_id for job in grid.rows(Job, campaign_id=campaign, state=JobState.TERMINATED)]
    assert len(counted) == len(set(counted))
    assert all(each.state.value != "sending" for each in grid.rows(Submission))
