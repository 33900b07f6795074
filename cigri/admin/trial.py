"""Trying a cluster: what it answers, and a small job from its submission to its end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

from cigri.clusters import sensor
from cigri.clusters.base import Cluster, RemoteJob, RemoteState, Submission
from cigri.clusters.sensor import SensorFailed
from cigri.errors import CigriError, ClusterError

Say = Callable[[str], None]

LOOK_EVERY = 1.0
WALLTIME = "0:05:00"
CLOCK_TOLERANCE = 60.0


class TrialFailed(CigriError):
    """The job that was to try a cluster did not end well."""


def look(cluster: Cluster, login: str | None, unit: str, stress_limit: float, say: Say) -> None:
    """Ask for everything that the daemons ask for, and say each answer. Raises ClusterError."""
    ahead = cluster.clock() - time.time()
    odd = " (the clocks differ: see to NTP)" if abs(ahead) > CLOCK_TOLERANCE else ""
    say(f"clock: {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host{odd}")
    cluster.check_health()
    say("scheduler: answers")
    found = cluster.resources()
    say(
        f"resources: {found.total} ({unit}), {found.free} free, {found.unavailable} unavailable, "
        f"{found.usable_by_besteffort} for best-effort jobs"
    )
    stress = cluster.stress_factor()
    say("stress factor: none" if stress is None else f"stress factor: {stress:g} of {stress_limit:g}")
    if login:
        say(f"jobs of {login}: {len(cluster.live_jobs(login))}")


def sense(text: str, reference: float | None, seconds: float, verify: bool | str, say: Say) -> None:
    """Read a load sensor, as whoever runs this. Raises TrialFailed."""
    try:
        load = sensor.read(text, seconds, verify)
    except SensorFailed as error:
        raise TrialFailed(f"the load sensor ({text}) gives no load: {error}") from error
    say(f"load sensor: {load:g} of {reference or 0:g}")


def sample(login: str, resources: str, directory: str) -> Submission:
    """A job that says a word. Its name is not of the form that the daemons take for the grid's."""
    return Submission(
        name=f"cigri-test.{secrets.token_hex(8)}",
        login=login,
        command="echo",
        lines=("a job of gridadmin cluster test",),
        resources=resources,
        walltime=WALLTIME,
        directory=directory,
    )


def run(cluster: Cluster, job: Submission, patience: float, say: Say) -> None:
    """Submit the job, follow it to its end, and say each state. Raises ClusterError, TrialFailed.

    Whatever happens, it does not stay behind: what has not ended is deleted.
    """
    ended = False
    try:
        number = cluster.submit(job)
        say(f"job {number}: submitted as {job.login} under the name {job.name}")
        for found in _follow(cluster, number, patience):
            ended = found.state.final
            say(f"job {number}: {found.word}")
        if found.exit_code != 0:
            raise TrialFailed(f"job {number} failed: {_cause(found)}")
    finally:
        if not ended:
            _sweep(cluster, job, say)


def _follow(cluster: Cluster, number: int, patience: float) -> Iterator[RemoteJob]:
    """The job at each change of its state, the last time when it has ended."""
    end, seen = time.monotonic() + patience, ""
    while True:
        found = cluster.job(number)
        if found.word != seen:
            seen = found.word
            yield found
        if found.state.final:
            return
        if found.state is RemoteState.UNKNOWN:
            raise TrialFailed(f"job {number} is in a state {found.word} that this program does not know")
        if time.monotonic() > end:
            raise TrialFailed(f"job {number} had not ended after {patience:g} s (it is {found.word})")
        time.sleep(LOOK_EVERY)


def _sweep(cluster: Cluster, job: Submission, say: Say) -> None:
    """Delete what is on the cluster under the job's name: an unanswered submission may be there too."""
    try:
        for found in cluster.live_jobs(job.login, details=True):
            if found.name == job.name:
                cluster.delete(job.login, found.id)
                say(f"job {found.id}: deletion asked for")
    except ClusterError as error:
        say(f"jobs named {job.name} may be left on the cluster: {error}")


def _cause(found: RemoteJob) -> str:
    events = ", ".join(event.kind for event in found.events) or "no events"
    status = "no exit status" if found.exit_code is None else f"wait status {found.exit_code}"
    return f"{found.word}, {status}, {events}"
