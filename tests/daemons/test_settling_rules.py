"""What is looked up is judged by what surely was seen: absent, half there, twice there, changing, wedged."""

from __future__ import annotations

import time

from cigri.core.states import JobState, SubmissionState
from cigri.db.tables import Event, Job, Submission
from cigri.local import processes


def sent_into_nothing(grid, count: int = 3, **settings: object) -> int:
    """A campaign whose only submission never reached the cluster, still unsettled."""
    campaign = grid.campaign([str(n) for n in range(count)], "echo >>marks", **settings)
    grid.lose("close", "before")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    (submission,) = grid.rows(Submission)
    assert submission.state is SubmissionState.SENDING
    return campaign


def answered_by_nothing(grid, lines: list[str], exec_file: str = "echo >>marks") -> int:
    """A campaign whose only submission is on the cluster, which nobody was told."""
    campaign = grid.campaign(lines, exec_file)
    grid.lose("close", "after")
    grid.metascheduler.cycle()
    grid.runner.cycle()
    (submission,) = grid.rows(Submission)
    assert submission.state is SubmissionState.SENDING
    return campaign


def test_one_look_is_not_enough_to_take_a_submission_as_absent(grid) -> None:
    began = time.monotonic()
    sent_into_nothing(grid)
    grid.until(lambda: grid.rows(Submission)[0].state is SubmissionState.VOID)
    assert time.monotonic() - began > grid.settings.rest_queries_timeout * 0.8
    assert len(grid.rows(Job, submission_id=1)) == 0
    grid.balanced()


def test_a_new_runner_needs_two_looks_of_its_own(grid) -> None:
    sent_into_nothing(grid)
    time.sleep(grid.settings.rest_queries_timeout + 0.2)
    for _ in range(4):
        grid.forget("runner")
        grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.SENDING
    grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.VOID


def test_a_look_that_fails_in_any_part_says_nothing(grid) -> None:
    sent_into_nothing(grid)
    time.sleep(grid.settings.rest_queries_timeout + 0.2)
    grid.faults({"on": "GET /jobs", "kind": "error_before"})
    for _ in range(4):
        grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.SENDING
    # Of a look's four readings the later ones fail: what the first ones said is not believed.
    for spoilt in ("empty", "garbage", "truncate"):
        grid.faults({"on": "GET /jobs", "kind": spoilt, "probability": 0.9})
        grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.SENDING
    grid.faults()
    grid.runner.cycle()
    grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.VOID
    grid.balanced()


def test_after_three_absences_the_campaign_is_set_aside_there_and_told(grid) -> None:
    campaign = grid.campaign(["a", "b"])
    grid.faults({"on": "POST /jobs", "kind": "close", "when": "before"})
    grid.until(lambda: grid.events("RUNNER_SUBMIT_ERROR"), 30)
    (event,) = grid.events("RUNNER_SUBMIT_ERROR")
    assert (event.campaign_id, event.state.value) == (campaign, "open")
    assert len(grid.rows(Submission)) == 3
    for _ in range(3):
        grid.cycles()
    assert len(grid.rows(Submission)) == 3
    assert grid.tasks(campaign) == {"pending": 2}
    grid.balanced()


def test_a_wedged_cluster_after_a_submission_sets_that_campaign_aside_only(grid) -> None:
    poison = grid.campaign(["a"], max_jobs=1)
    grid.metascheduler.cycle()
    # Healthy before: the check before the submission passes.
    grid.faults(
        {"on": "POST /jobs", "kind": "error_before", "count": 1},
        {"on": "GET /jobs", "kind": "delay", "seconds": 0, "count": 1},
        {"on": "GET /jobs", "kind": "wedged", "count": 12},
    )
    grid.runner.cycle()
    (event,) = grid.events("RUNNER_SUBMIT_WEDGED")
    assert event.campaign_id == poison
    grid.faults()
    fine = grid.campaign(["b", "c"])
    grid.finish(fine)
    assert grid.tasks(fine) == {"done": 2}
    grid.until(lambda: grid.tasks(poison) == {"pending": 1})  # when it is surely absent
    assert len(grid.rows(Submission, campaign_id=poison)) == 1
    grid.balanced()


def test_a_reading_that_changes_is_not_adopted(grid) -> None:
    answered_by_nothing(grid, ["5"], "sleep")
    name = grid.rows(Submission)[0].name
    grid.runner.cycle()
    command = grid.remote(name)[0]["command"]
    for _ in range(4):
        time.sleep(grid.settings.settle_reading_delay + 0.05)
        grid.by_hand(name, command)
        grid.runner.cycle()
        assert grid.rows(Submission)[0].state is SubmissionState.SENDING
    time.sleep(grid.settings.settle_reading_delay + 0.05)
    grid.runner.cycle()
    assert grid.rows(Submission)[0].state is SubmissionState.SETTLED
    grid.until(lambda: len(grid.live()) == 1)
    (job,) = grid.rows(Job)
    assert grid.live() == [job.remote_id]


def test_of_a_submission_that_is_there_twice_one_chain_per_key_is_kept(grid) -> None:
    answered_by_nothing(grid, ["30", "30"], "sleep")
    name = grid.rows(Submission)[0].name
    there = grid.remote(name)
    for job in there:
        grid.by_hand(name, job["command"])
    assert len(grid.live()) == 4
    grid.until(lambda: len(grid.live()) == 2)
    assert set(grid.live()) == {job["id"] for job in there}
    assert {job.remote_id for job in grid.rows(Job)} == set(grid.live())
    grid.balanced()


def test_of_two_runs_of_one_key_the_one_that_succeeded_is_kept(grid) -> None:
    answered_by_nothing(grid, ["x"], "test -e stop && sleep 30; echo >>marks")
    name = grid.rows(Submission)[0].name
    (first,) = grid.remote(name)
    assert processes.until(lambda: not grid.live(), 10)
    (grid.home / "stop").touch()
    surplus = grid.by_hand(name, first["command"])
    grid.until(lambda: grid.rows(Job)[0].state is JobState.TERMINATED)
    assert grid.rows(Job)[0].remote_id == first["id"]
    grid.until(lambda: surplus not in grid.live())
    assert grid.marks() == {"x": 1}
    grid.balanced()


def test_a_run_that_was_restarted_after_it_had_succeeded_counts_and_the_other_is_told(grid) -> None:
    answered_by_nothing(grid, ["x"], "echo >>marks")
    (first,) = grid.remote(grid.rows(Submission)[0].name)
    assert processes.until(lambda: not grid.live(), 10)
    again = grid.knob("resubmit", {"job_id": first["id"]})["id"]
    assert processes.until(lambda: not grid.live(), 10)
    grid.until(lambda: grid.rows(Job)[0].state is JobState.TERMINATED)
    assert (grid.rows(Job)[0].remote_id, grid.marks()) == (first["id"], {"x": 2})
    assert grid.sweep() == 1
    (event,) = grid.events("DUPLICATE_RUN")
    assert f"job {again} of" in event.message
    grid.balanced()


def test_a_key_of_another_submission_is_not_paired(grid) -> None:
    answered_by_nothing(grid, ["30"], "sleep")
    name = grid.rows(Submission)[0].name
    (first,) = grid.remote(name)
    job = grid.rows(Job)[0]
    foreign = grid.by_hand(name, first["command"].replace(f"CIGRI_JOB_ID={job.id};", f"CIGRI_JOB_ID={job.id + 777};"))
    keyless = grid.by_hand(name, "sleep 30")
    grid.until(lambda: grid.rows(Submission)[0].state is SubmissionState.SETTLED)
    assert grid.rows(Job)[0].remote_id == first["id"]
    grid.until(lambda: not {foreign, keyless} & set(grid.live()))


def test_a_lost_submission_that_its_user_deleted_meanwhile_is_found_all_the_same(grid) -> None:
    for _ in range(8):
        grid.by_hand("blocker", "sleep 60")
    grid.until(lambda: len([job for job in grid.remote("blocker") if job["state"] == "Running"]) == 8)
    campaign = answered_by_nothing(grid, ["a", "b"])
    for job in grid.remote():
        grid.ask("DELETE", f"jobs/{job['id']}")
    grid.until(lambda: grid.tasks(campaign) == {"failed": 2})
    assert [event.code for event in grid.rows(Event, campaign_id=campaign, state="open")] == ["USER_FRAG"]
    grid.balanced()


def test_of_half_an_array_the_other_half_goes_back_at_once(grid) -> None:
    campaign = grid.campaign(["a", "b", "c", "d"], "echo >>marks", max_jobs=4)
    grid.updater.cycle()
    grid.lose("half_array")
    grid.finish(campaign)
    assert grid.marks() == {"a": 1, "b": 1, "c": 1, "d": 1}
    first = grid.rows(Submission)[0]
    assert (first.state, len(first.void_jobs), first.size) == (SubmissionState.SETTLED, 2, 4)
    grid.balanced()


def test_jobs_in_hold_do_not_start_and_are_deleted(grid) -> None:
    campaign = grid.campaign(["a", "b"], "echo >>marks")
    grid.lose("hold_corpse")
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"done": 2}
    assert grid.marks() == {"a": 1, "b": 1}
    assert grid.live() == []
    corpses = [job for job in grid.remote(grid.rows(Submission)[0].name) if job["state"] == "Error"]
    assert len(corpses) == 2
