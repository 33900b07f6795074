"""No submission is lost or sent twice, however its reply gets lost and whenever the runner dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from cigri.core.states import CampaignState, SubmissionState
from cigri.daemons.runner import Runner
from cigri.db.tables import Submission

LOSSES = [
    ("close", "before"),
    ("close", "after"),
    ("reset", "before"),
    ("reset", "after"),
    ("no_answer", "before"),
    ("no_answer", "after"),
    ("error_before", "before"),
    ("error_after", "after"),
    ("truncate", "after"),
    ("garbage", "after"),
    ("empty", "after"),
    ("half_array", "after"),
    ("hold_corpse", "after"),
]
NEVER_THERE = 4  # of these


class Crash(BaseException):
    """The runner's process ends here."""


class Mortal(Runner):
    """A runner that dies at one of its transactions: just before or just after it is committed."""

    lives = 0
    committed = False

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        self.lives -= 1
        with super().transaction() as session:
            yield session
            if self.lives == 0 and not self.committed:
                raise Crash
        if self.lives == 0:
            raise Crash


def test_every_way_to_lose_a_reply_ends_with_each_task_done_once_though_the_runner_dies_now_and_then(grid) -> None:
    campaigns = [grid.campaign([f"{n}-a", f"{n}-b"], "echo >>marks") for n in range(len(LOSSES))]
    grid.updater.cycle()
    rounds = 0
    grid.faults(*({"on": "POST /jobs", "kind": kind, "when": when, "count": 1} for kind, when in LOSSES))

    def ended() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds % 4 == 0:
            grid.forget("runner")
        return all(grid.state(campaign) is CampaignState.TERMINATED for campaign in campaigns)

    assert grid.runner.duty.held
    grid.until(ended, 60)
    for campaign in campaigns:
        assert grid.tasks(campaign) == {"done": 2}
        assert set(grid.successes(campaign).values()) == {1}
    assert set(grid.marks().values()) == {1}
    assert len(grid.marks()) == 2 * len(LOSSES)
    voids = [each for each in grid.rows(Submission) if each.state is SubmissionState.VOID]
    assert len(voids) == NEVER_THERE
    assert grid.live() == []
    grid.balanced()


def test_a_runner_may_die_before_and_after_each_of_its_commits(grid) -> None:
    campaign = grid.campaign([str(n) for n in range(40)], "echo >>marks", max_jobs=4)
    grid.updater.cycle()
    deaths = 0
    for lives in range(1, 200):
        if grid.state(campaign) is not CampaignState.IN_TREATMENT:
            break
        grid.metascheduler.cycle()
        runner = grid.daemon("runner", lambda settings, engine: Mortal(settings, engine, "mini"))
        runner.lives, runner.committed = 2 + lives % 21, bool(lives % 2)
        try:
            while runner.lives > 0:
                runner.cycle()
                time.sleep(0.02)  # two looks at a submission are some time apart
        except Crash:
            deaths += 1
            grid.balanced()
        grid.forget("runner")
    assert deaths > 10
    assert grid.tasks(campaign) == {"done": 40}
    assert sorted(grid.marks().items()) == sorted((str(n), 1) for n in range(40))
    grid.balanced()
