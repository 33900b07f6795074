"""How jobs end on a cluster, and what becomes of their tasks."""

from __future__ import annotations

import dataclasses
import shutil
import time

from cigri.core.scheduling import Grant
from cigri.core.states import CampaignState, JobState, TaskState
from cigri.db import allowances
from cigri.db.engine import transaction
from cigri.db.tables import Event, Job, Task
from cigri.local import processes
from cigri.local.minioar.store import Store


def running(grid, lines: list[str], exec_file: str, **settings: object) -> int:
    """A campaign all of whose tasks run."""
    campaign = grid.campaign(lines, exec_file, **settings)
    grid.updater.cycle()
    grid.until(lambda: len(grid.rows(Job, campaign_id=campaign, state=JobState.RUNNING)) == len(lines))
    return campaign


def outcomes(grid, campaign: int) -> list[str]:
    return [job.outcome for job in grid.rows(Job, campaign_id=campaign)]


def test_exit_66_and_67_come_back_after_a_while_when_they_came_at_once(grid) -> None:
    """E8."""
    script = grid.home / "once"
    script.write_text('test -e "$1.$2" && echo "$1-$2" >>marks && exit 0; touch "$1.$2"; exit $1\n')
    campaign = grid.campaign(["66 a", "67 b", "0 c"], f"bash {script}", max_jobs=1)
    (grid.home / "0.c").touch()
    grid.finish(campaign)
    marks = (grid.home / "marks").read_text().split()
    assert sorted(marks) == ["0-c", "66-a", "67-b"] and marks[-1] == "67-b"  # 66 waits, 67 lets the others go first
    assert outcomes(grid, campaign) == ["resubmit", "resubmit_end", "success", "success", "success"]
    assert {event.code for event in grid.rows(Event, campaign_id=campaign)} >= {"RESUBMIT", "RESUBMIT_END"}
    grid.balanced()


def test_a_program_killed_by_a_signal_has_failed(grid) -> None:
    campaign = grid.campaign(["KILL", "SEGV"], "kill -$0 $$; exec bash -c 'kill -$0 $$'")
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 2}
    messages = sorted(event.message for event in grid.events("EXIT_ERROR"))
    assert len(messages) == 2
    assert "signal" in messages[0]


def test_the_third_walltime_kill_sets_the_task_aside(grid) -> None:
    """E8."""
    campaign = grid.campaign(["x"], "sleep 60; echo", walltime="0:00:01")
    grid.finish(campaign)
    assert outcomes(grid, campaign) == ["walltime"] * 3
    assert grid.tasks(campaign) == {"failed": 1}
    (event,) = grid.events("TOO_MANY_RESUBMIT")
    assert "walltime" in event.message
    grid.balanced()


def test_preemption_never_wears_a_task_out(grid) -> None:
    campaign = running(grid, ["a"], "test -e go || sleep 60; echo >>marks")
    for tries in range(2, 7):
        grid.knob("kill_besteffort", {"count": 1})
        grid.until(lambda tries=tries: len(grid.rows(Job)) == tries and grid.rows(Job)[-1].state is JobState.RUNNING)
    (grid.home / "go").touch()
    grid.knob("kill_besteffort", {"count": 1})
    grid.finish(campaign)
    assert outcomes(grid, campaign) == ["preempted"] * 6 + ["success"]
    assert grid.marks() == {"a": 1}
    assert all(event.state.value == "closed" for event in grid.rows(Event, campaign_id=campaign))


def test_a_working_directory_that_is_not_there_sets_tasks_aside_with_its_name(grid) -> None:
    campaign = grid.campaign(["a", "b"], exec_directory=f"{grid.home}/nowhere")
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 2}
    (event,) = grid.events("WORKING_DIRECTORY_ERROR")
    assert f"{grid.home}/nowhere" in event.message
    assert event.count == 2
    grid.balanced()


def test_what_its_user_deletes_on_the_cluster_is_told_and_not_resurrected(grid) -> None:
    """E10."""
    campaign = running(grid, ["30", "31"], "sleep")
    for job in grid.live():
        grid.ask("DELETE", f"jobs/{job}")
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 2}
    (event,) = grid.events("USER_FRAG")
    assert (event.count, event.state.value) == (2, "open")
    assert "alice" in event.message
    grid.balanced()


def test_what_the_cluster_restarts_by_itself_is_followed_under_its_new_id(grid) -> None:
    """E9."""
    campaign = running(grid, ["a"], "test -e go || sleep 60; echo >>marks")
    first = grid.rows(Job)[0].remote_id
    (grid.home / "go").touch()
    second = grid.knob("resubmit", {"job_id": first})["id"]
    grid.finish(campaign)
    (job,) = grid.rows(Job)
    assert (job.remote_id, job.chain, job.state) == (second, [first], JobState.TERMINATED)
    assert grid.marks() == {"a": 1}
    assert len(grid.events("OAR_AUTO_RESUBMIT")) == 1
    grid.balanced()


def test_a_follower_that_no_list_shows_yet_is_not_taken_for_absent(grid) -> None:
    campaign = running(grid, ["a"], "test -e go || sleep 60; echo >>marks")
    first = grid.rows(Job)[0].remote_id
    (grid.home / "go").touch()
    grid.knob("resubmit", {"job_id": first, "hidden_seconds": 1})
    grid.finish(campaign)
    assert len(grid.rows(Job)) == 1
    assert grid.marks() == {"a": 1}
    grid.balanced()


def test_after_two_restarts_by_the_cluster_the_chain_is_deleted_and_the_task_set_aside(grid) -> None:
    campaign = running(grid, ["a"], "sleep 60; echo")
    for _ in range(2):
        before = grid.rows(Job)[0].remote_id
        grid.knob("resubmit", {"job_id": before})
        grid.until(lambda before=before: grid.rows(Job)[0].remote_id != before)
        grid.until(lambda: grid.rows(Job)[0].state is JobState.RUNNING)
    grid.knob("resubmit", {"job_id": grid.rows(Job)[0].remote_id})
    grid.finish(campaign)
    assert grid.tasks(campaign) == {"failed": 1}
    assert len(grid.rows(Job)) == 1
    assert processes.until(lambda: grid.live() == [], 5), "the last follower still lives"
    grid.balanced()


def test_a_run_that_the_cluster_starts_again_after_it_succeeded_is_not_counted_twice(grid) -> None:
    campaign = grid.campaign(["a"], "echo >>marks")
    grid.finish(campaign)
    first = grid.rows(Job)[0].remote_id
    grid.knob("resubmit", {"job_id": first})
    assert processes.until(lambda: grid.marks() == {"a": 2}, 10)
    assert processes.until(lambda: not grid.live(), 10)
    assert grid.sweep() == 1
    assert grid.sweep() == 0
    assert grid.tasks(campaign) == {"done": 1}
    assert len(grid.events("DUPLICATE_RUN")) == 1
    grid.balanced()


def emptied(grid) -> None:
    """The cluster's database is made anew: ids start at 1 again, and what ran is forgotten."""
    folder, port = grid.minioar.folder, grid.minioar.url.rpartition(":")[2]
    grid.minioar.stop()
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    begin_on(grid, int(port))


def begin_on(grid, port: int) -> None:
    store = Store(grid.minioar.folder / "jobs.sqlite")
    store.remember("port", str(port))
    store.commit()
    store.close()
    grid.minioar.start()
    assert grid.minioar.url.endswith(f":{port}")


def test_jobs_that_a_new_database_of_the_cluster_does_not_know_are_lost_and_foreign_ones_left_alone(own_grid) -> None:
    """E11."""
    grid = own_grid
    campaign = running(grid, ["60", "61", "62"], "sleep")
    emptied(grid)
    # The same ids, now of others: one succeeded, one runs.
    foreign = [grid.by_hand("theirs", "true"), grid.by_hand("theirs", "sleep 60"), grid.by_hand("x", "sleep 61")]
    assert foreign == [1, 2, 3]
    began = time.monotonic()
    grid.finish(campaign)
    assert time.monotonic() - began >= grid.settings.lost_job_delay
    assert grid.tasks(campaign) == {"failed": 3}
    (event,) = grid.events("JOB_LOST")
    assert (event.count, event.state.value) == (3, "open")
    assert set(grid.live()) == {2, 3}
    grid.balanced()


def test_a_lost_job_that_had_not_started_goes_back_and_so_does_any_where_the_user_wants_it(own_grid) -> None:
    grid = own_grid
    rerun = running(grid, ["a"] * 8, "test -e go || sleep 60; echo >>marks", rerun_lost=True)
    waiting = grid.campaign(["1", "2"], "echo >>marks")
    grid.until(lambda: len(grid.rows(Job, campaign_id=waiting, state=JobState.REMOTE_WAITING)) == 2)
    (grid.home / "go").touch()
    emptied(grid)
    grid.finish(rerun)
    grid.finish(waiting)
    assert grid.tasks(rerun) == {"done": 8}
    assert grid.tasks(waiting) == {"done": 2}
    assert grid.marks() == {"a": 8, "1": 1, "2": 1}
    assert grid.events("JOB_LOST") == []
    grid.balanced()


def test_many_missing_jobs_do_not_wait_for_each_other(own_grid) -> None:
    grid = own_grid
    grid.settings = dataclasses.replace(grid.settings, lost_job_delay=60.0)
    campaign = grid.campaign(["60"] * 25, "sleep")
    with transaction(grid.engine) as session:
        allowances.write(session, {1: [Grant(campaign, 25)]})
    grid.runner.cycle()
    assert len(grid.rows(Job, state=JobState.SUBMITTED)) == 25
    emptied(grid)
    for _ in range(3):
        grid.runner.cycle()
    assert all(job.missing_at is not None for job in grid.rows(Job))


def test_jobs_that_were_missing_and_come_back_are_not_lost(own_grid) -> None:
    grid = own_grid
    grid.settings = dataclasses.replace(grid.settings, lost_job_delay=60.0)
    campaign = running(grid, ["a", "b"], "test -e go || sleep 2; echo >>marks")
    folder = grid.minioar.folder
    port = int(grid.minioar.url.rpartition(":")[2])
    grid.minioar.kill_jobs = False
    grid.minioar.crash()
    grid.minioar.start()
    aside = folder.with_name("aside")
    grid.minioar.crash()
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    begin_on(grid, port)
    grid.until(lambda: all(job.missing_at is not None for job in grid.rows(Job)))
    assert {task.state for task in grid.rows(Task)} == {TaskState.ACTIVE}
    grid.minioar.crash()
    folder.rename(folder.with_name("empty"))
    aside.rename(folder)
    grid.minioar.start()
    grid.until(lambda: grid.state(campaign) is CampaignState.TERMINATED)
    assert grid.tasks(campaign) == {"done": 2}
    assert grid.marks() == {"a": 1, "b": 1}
    grid.balanced()
