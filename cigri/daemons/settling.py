"""Submissions whose fate is not known are looked up, never sent again: adopted when found, void when surely absent."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from cigri.clusters.base import RemoteJob
from cigri.core.outcome import SUCCEEDED
from cigri.core.settling import pair
from cigri.daemons.ends import end_of, finish, succeeded
from cigri.daemons.sites import Site, sighting
from cigri.db import clusters, events, submissions
from cigri.db.engine import notify
from cigri.db.submissions import Adopted, Unsettled
from cigri.errors import BadReply, ClusterError, NoAnswer, Refused, TokenRefused

log = logging.getLogger(__name__)

ROUNDS_TO_BE_ABSENT = 2


@dataclass(slots=True)
class _Readings:
    """What was read of a submission so far, by this process."""

    seen: frozenset[int] | None = None
    seen_at: float = 0.0
    absent: int = 0


class Settler:
    """Looks up the unsettled submissions of one cluster, round by round."""

    def __init__(self) -> None:
        self._readings: dict[int, _Readings] = {}

    @property
    def waiting(self) -> bool:
        """Whether something is to be looked at again soon."""
        return bool(self._readings)

    def forget(self) -> None:
        self._readings.clear()

    def round(self, site: Site) -> int:
        """Look at each unsettled submission once; how many were settled. A cluster error ends the round."""
        with site.transaction() as session:
            waiting = submissions.unsettled(session, site.id)
            status = clusters.status(session, site.id)
        slowest = status.slowest_submission if status is not None else 0.0
        self._readings = {each.id: self._readings.get(each.id, _Readings()) for each in waiting}
        settled = 0
        for login in sorted({each.login for each in waiting}):
            try:
                own = [each for each in waiting if each.login == login]
                settled += self._login(site.acting(own[0].campaign_id), login, own, slowest)
            except (Refused, BadReply, NoAnswer) as error:
                # Who may not look now settles nothing; the others' submissions are looked up all the same.
                log.warning("%s: submissions of %s cannot be looked up: %s", site.name, login, error)
                if not isinstance(error, Refused):
                    site.cluster.check_health()  # raises when it is the cluster
        return settled

    def _login(self, site: Site, login: str, waiting: list[Unsettled], slowest: float) -> int:
        listing = complete_listing(site, login, min(each.remote_clock for each in waiting) - site.settings.look_back)
        settled = 0
        for submission in waiting:
            named = [job for job in listing if job.name == submission.name]
            settled += self._found(site, submission, named) if named else self._absent(site, submission, slowest)
        return settled

    def _found(self, site: Site, submission: Unsettled, named: list[RemoteJob]) -> bool:
        """Adopt when two readings some seconds apart agree: a request may still be at work over there."""
        readings = self._readings[submission.id]
        ids = frozenset(job.id for job in named)
        now = time.monotonic()
        if readings.seen != ids:
            readings.seen, readings.seen_at, readings.absent = ids, now, 0
        if now - readings.seen_at < site.settings.settle_reading_delay:
            return False
        self._adopt(site, submission, _details(site, named))
        log.info("%s: submission %s found and adopted (%d jobs)", site.name, submission.name, len(ids))
        return True

    @staticmethod
    def _adopt(site: Site, submission: Unsettled, found: list[RemoteJob]) -> None:
        if adopt(site, submission, found, array_id=min(job.id for job in found)):
            with site.transaction() as session:
                notify(session, "jobs")

    def _absent(self, site: Site, submission: Unsettled, slowest: float) -> bool:
        readings = self._readings[submission.id]
        readings.seen = None
        readings.absent += 1
        if readings.absent < ROUNDS_TO_BE_ABSENT or submission.age < site.settings.rest_queries_timeout + slowest:
            return False
        if ended := [job for job in site.cluster.error_jobs(submission.login) if job.name == submission.name]:
            # They came, and ended without ever being in the lists of what lives or ran.
            self._adopt(site, submission, _details(site, ended))
            return True
        with site.transaction() as session:
            worn = submissions.void(session, submission.id, "taken as absent", counted=True)
            if worn:
                message = f"{submissions.MAX_RETURNS} submissions of the same tasks never arrived on {site.name}"
                news = events.News("RUNNER_SUBMIT_ERROR", message, submission.campaign_id, site.id, alike="absent")
                events.record(session, news)
            notify(session, "jobs")
        log.warning("%s: submission %s never arrived: its tasks go back", site.name, submission.name)
        return True


def _details(site: Site, named: list[RemoteJob]) -> list[RemoteJob]:
    """The whole records of these jobs. Raises BadReply when a job that lives is not among them."""
    found = site.cluster.jobs(sorted(job.id for job in named), details=True)
    there = {job.id for job in found}
    if lacking := [job.id for job in named if job.id not in there and not job.state.final]:
        raise BadReply(f"cluster {site.name}: jobs {lacking[:5]} are in one list and not in another")
    return found


def complete_listing(site: Site, login: str, since: float) -> list[RemoteJob]:
    """All jobs of the user that live, or lived since that time of the cluster, read from a healthy cluster.

    Raises ClusterError when any part could not be read: then nothing is known.
    """
    site.cluster.check_health()
    jobs = {job.id: job for job in site.cluster.live_jobs(login)}
    jobs.update((job.id, job) for job in site.cluster.jobs_since(login, since))
    site.cluster.check_health()
    return list(jobs.values())


def adopt(site: Site, submission: Unsettled, found: list[RemoteJob], array_id: int) -> list[RemoteJob]:
    """The submission is on the cluster with these jobs: pair them with ours, give back what is not there.

    Those that the cluster has ended well already are ended here, too: nobody asks for them again. They are returned,
    and whoever schedules is yet to be told.
    """
    own = {job.id: job for job in found if job.name == submission.name}
    pairing = pair(submission.job_ids, [sighting(job) for job in own.values()])
    adopted, ends = [], []
    for key, chain in pairing.kept.items():
        newest = own[chain.newest.id]
        if len(chain.sightings) == 1 and succeeded(newest):
            ends.append(end_of(newest, key, SUCCEEDED, first_seen=True))
        else:
            older = tuple(each.id for each in chain.sightings[:-1])
            adopted.append(Adopted(key, newest.id, newest.array_index, older))
    with site.transaction() as session:
        # First: it locks the campaign, as whoever cancels does before the jobs.
        if ends:
            finish(session, site, ends)
        complete = not pairing.missing
        missing = submissions.settle(session, submission.id, adopted, array_id, complete=complete)
        if missing:
            notify(session, "jobs")
    if missing:
        log.warning("%s: %d jobs of submission %s are not there", site.name, len(missing), submission.name)
    _delete(site, submission, pairing.surplus)
    return [own[end.remote_id] for end in ends if end.remote_id is not None]


def _delete(site: Site, submission: Unsettled, surplus: tuple[int, ...]) -> None:
    for remote_id in surplus:
        log.warning("%s: surplus job %d of submission %s deleted", site.name, remote_id, submission.name)
        try:
            site.acting(submission.campaign_id).cluster.delete(submission.login, remote_id)
        except TokenRefused:
            raise
        except ClusterError as error:
            log.warning("%s: %s; the sweep will see to it", site.name, error)
