"""The protocol of cigri.clusters.base, on every kind of cluster that there is: what is asked, what is promised.

Some tests take all resources of the cluster for moments: a real one must have nothing better to do.
"""

from __future__ import annotations

import subprocess
import time

import pytest

from cigri.clusters.base import RemoteState
from cigri.core.outcome import Outcome
from cigri.core.shell import command_line, job_key
from cigri.core.states import TaskState
from cigri.errors import ClusterError, NotFound, Refused

pytestmark = pytest.mark.timeout(900)


def test_an_array_from_submission_to_outputs(place) -> None:
    began = place.cluster.clock()
    jobs = place.submit("echo one; exit 0", "echo two >&2; exit 3", "kill -9 $$", "kill -15 $$", "exec /no/such")
    assert [job_key(job.command) is not None for job in jobs] == [True] * 5
    ended = place.wait_end(jobs)
    assert [job.exit_code for job in ended] == [0, 3 << 8, 9, 15, 127 << 8]
    assert {job.state for job in ended} == {RemoteState.TERMINATED}
    assert [job.command for job in ended] == [job.command for job in jobs]
    assert {(job.queue, job.user, job.walltime, job.array_id) for job in ended} == {
        ("besteffort", place.user, 300, min(job.id for job in jobs))
    }
    assert all(job.nodes and job.resources == 1 and job.detailed for job in ended)
    assert all(began - 300 <= job.submission_time <= job.start_time <= job.stop_time for job in ended)
    verdicts = [place.verdict(job) for job in ended]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.SUCCESS, *[Outcome.EXIT] * 4]
    assert (place.output(ended[0]), place.output(ended[1], ended[1].stderr_file)) == ("one\n", "two\n")


def test_jobs_are_found_by_their_name_at_every_moment(place) -> None:
    since = place.cluster.clock() - 60
    jobs = place.submit("sleep 3", "sleep 3")
    ids, name = {job.id for job in jobs}, jobs[0].name
    seen: set[RemoteState] = set()
    end = time.monotonic() + place.patience
    while True:
        live = {job.id: job for job in place.cluster.live_jobs(place.user)}
        ran = {job.id: job for job in place.cluster.jobs_since(place.user, since)}
        found = [job for job in {**live, **ran}.values() if job.name == name]
        assert {job.id for job in found} == ids, found
        seen |= {job.state for job in found}
        if all(job.state.final for job in found):
            break
        assert time.monotonic() < end, found
    assert {RemoteState.RUNNING, RemoteState.TERMINATED} <= seen and RemoteState.UNKNOWN not in seen
    assert not ids & {job.id for job in place.cluster.live_jobs(place.user)}
    assert not ids & {job.id for job in place.cluster.jobs_since(place.other, since)}
    assert {job.id for job in place.cluster.array(min(ids))} == ids
    for job in place.cluster.jobs([*ids, 2**31 - 1]):
        assert place.cluster.job(job.id).command == job.command and job.id in ids
        assert place.cluster.record(job.id)["id"] == job.id


ODD = [
    "a 'b  c' \"d  e\"",
    "$HOME `echo x` $(echo y)",
    'back\\\\slash \\$HOME \'sin\\gle\' "q\\"q" end\\ ',
    "accents é à œ €",
    "# in front, and # inside",
    "-n --help; echo second | tr a-z A-Z",
    "'it'\\''s'",
    "%s %jobid%",
]


def test_a_task_is_what_bash_makes_of_its_line(place) -> None:
    lines = [command_line(index, "printf '<%s>\\n'", line) for index, line in enumerate(ODD, 1)]
    submission = place.submission(*ODD, lines=lines)
    jobs = sorted(place.cluster.array(place.cluster.submit(submission)), key=lambda job: job_key(job.command) or 0)
    assert [job_key(job.command) for job in jobs] == list(range(1, len(ODD) + 1))
    for job in place.wait_end(jobs):
        line = ODD[(job_key(job.command) or 0) - 1].lstrip()
        script = "printf '<%s>\\n' " + ("\\" + line if line.startswith("#") else line)
        home = {"HOME": job.launching_directory, "LANG": "C.UTF-8"}
        expected = subprocess.run(["bash", "-c", script], env=home, capture_output=True, text=True, check=True)
        assert (job.exit_code, place.output(job)) == (0, expected.stdout), line


def test_a_job_knows_its_campaign_and_its_key(place) -> None:
    (job,) = place.wait_end(place.submit("echo $CIGRI_CAMPAIGN_ID $CIGRI_JOB_ID"))
    assert place.output(job) == f"7 {job_key(job.command)}\n"


def test_over_its_walltime(place) -> None:
    (job,) = place.wait_end(place.submit("sleep 600", walltime=place.short))
    assert job.exit_code is None
    assert place.verdict(job).outcome is Outcome.WALLTIME


def test_preempted_for_a_normal_job_of_another_user(place) -> None:
    jobs = place.submit("sleep 600")
    place.wait(jobs, lambda job: job.state is RemoteState.RUNNING)
    everything = f"/resource_id={place.size}"
    (normal,) = place.submit("exit 5", types=(), login=place.other, resources=everything, walltime="0:01:00")
    assert normal.queue not in ("besteffort", "")
    (victim,) = place.wait_end(jobs)
    verdict = place.verdict(victim)
    assert (verdict.outcome, verdict.task) == (Outcome.PREEMPTED, TaskState.PENDING)
    assert place.wait_end([normal])[0].exit_code == 5 << 8


def test_deleted_while_it_runs(place) -> None:
    (job,) = place.submit("sleep 600")
    place.wait([job], lambda job: job.state is RemoteState.RUNNING)
    assert place.cluster.resources().free < place.size
    assert not place.cluster.delete(place.other, job.id).accepted
    assert place.cluster.job(job.id).state is RemoteState.RUNNING
    assert place.cluster.delete(place.user, job.id).accepted
    (ended,) = place.wait_end([job])
    assert (ended.state, ended.exit_code) == (RemoteState.ERROR, None)
    assert place.verdict(ended, kill_reason="cancelled").outcome is Outcome.CANCELLED
    verdict = place.verdict(ended)
    assert (verdict.outcome, verdict.code) == (Outcome.DELETED, "USER_FRAG"), "as if its owner had done it"
    assert job.id in {each.id for each in place.cluster.error_jobs(place.user)}
    assert place.cluster.delete(place.user, job.id).job_id == job.id, "once more does no harm"


def test_deleted_while_they_wait(place) -> None:
    jobs = place.submit(*["sleep 600"] * (place.size + 3))
    waiting = [job for job in jobs[-2:] if place.cluster.job(job.id).state is RemoteState.WAITING]
    for job in reversed(jobs):
        assert place.cluster.delete(place.user, job.id).accepted
    for job in place.wait_end(jobs):
        assert job.exit_code is None and place.verdict(job, kill_reason="cancelled").outcome is Outcome.CANCELLED
    assert waiting


def test_a_directory_that_is_not_there(place) -> None:
    (job,) = place.wait_end(place.submit("true", directory="$HOME/no/such/folder"))
    assert place.verdict(job).outcome is Outcome.DIRECTORY


def test_what_is_not_there(place) -> None:
    for _ in range(2):
        with pytest.raises(NotFound):
            place.cluster.job(2**31 - 1)
        with pytest.raises(NotFound):
            place.cluster.record(2**31 - 1)
        assert place.cluster.jobs([2**31 - 1]) == []
        assert place.cluster.array(2**31 - 1) == []
        assert not place.cluster.delete(place.user, 2**31 - 1).accepted
        place.cluster.check_health()


def test_what_is_refused_is_told_so_and_makes_no_job(place) -> None:
    before = {job.id for job in place.cluster.live_jobs(place.user)}
    too_much = f"/resource_id={place.size + 1}"
    with pytest.raises(Refused, match="not enough resources"):
        place.cluster.submit(place.submission("true", resources=too_much))
    with pytest.raises(ClusterError):  # of an array OAR3 does not say why
        place.cluster.submit(place.submission("true", "true", resources=too_much))
    with pytest.raises(Refused):
        place.cluster.submit(place.submission("true", "true", types=("besteffort", "nosuchtype")))
    with pytest.raises(ClusterError):
        place.cluster.submit(place.submission("true", "true", login="nosuchuser"))
    place.cluster.check_health()
    assert {job.id for job in place.cluster.live_jobs(place.user)} <= before


def test_files(place) -> None:
    (job,) = place.wait_end(place.submit("seq 1 20; echo ü"))
    lines = [*map(str, range(1, 21)), "ü"]
    assert place.output(job).split() == lines
    assert place.output(job, tail=3).split() == lines[-3:]
    path = f"{job.launching_directory}/{job.stdout_file}"
    place.cluster.delete_file(place.user, path)
    with pytest.raises(NotFound):
        place.cluster.read_file(place.user, path)
    with pytest.raises(Refused):
        place.cluster.read_file(place.user, f"{job.launching_directory}/../x")


def test_sensors(place) -> None:
    place.cluster.check_health()
    first = place.cluster.clock()
    assert place.cluster.clock() >= first > 1.7e9
    found = place.cluster.resources()
    assert found.total == place.size >= found.usable_by_besteffort >= found.free >= 0 and found.unavailable == 0
    stress = place.cluster.stress_factor()
    assert stress is None or stress >= 0
