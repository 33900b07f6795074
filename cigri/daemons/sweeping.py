"""The sweep: every job with a name of this grid on a cluster is known, or becomes known and is dealt with."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cigri.clusters.base import RemoteJob
from cigri.core import names
from cigri.core.shell import job_key
from cigri.core.sweeping import Action, ancestors, judge
from cigri.daemons.settling import complete_listing
from cigri.daemons.sites import Site, sighting
from cigri.db import events, grid, strays
from cigri.db.strays import Stray
from cigri.errors import BadReply, ClusterError, NoAnswer, Refused

log = logging.getLogger(__name__)

HISTORY = 86400.0  # seconds: logins that submitted within this time are swept


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: how many jobs were not as they should be, and whose jobs could not be looked at."""

    found: int
    skipped: tuple[str, ...]


def sweep(site: Site, *, everybody: bool = False) -> Swept:
    """Look at all jobs of the grid that the cluster shows.

    `everybody`: those of users who have not submitted lately, too. Who cannot be looked at does not keep the
    others from it.
    """
    with site.transaction() as session:
        prefix = names.prefix(grid.grid_id(session))
        logins = strays.logins(session, site.id, None if everybody else HISTORY)
    found = 0
    skipped = []
    since = site.cluster.clock() - site.settings.request_arrival_window - site.settings.look_back
    for login, campaign_id in logins:
        acting = site.acting(campaign_id)
        try:
            ours = [job for job in complete_listing(acting, login, since) if job.name.startswith(prefix)]
            found += _sweep_login(acting, login, ours)
        except (Refused, BadReply, NoAnswer) as error:
            log.warning("%s: jobs of %s cannot be swept: %s", site.name, login, error)
            if not isinstance(error, Refused):
                site.cluster.check_health()  # raises when it is the cluster
            skipped.append(login)
    return Swept(found, tuple(skipped))


def _sweep_login(site: Site, login: str, ours: list[RemoteJob]) -> int:
    # Keys are in the details only: asked for what is not plainly a followed job.
    details = site.cluster.jobs([job.id for job in _unfollowed(site, ours)])
    pairs = {(job.name, job_key(job.command)) for job in details}
    with site.transaction() as session:
        known = strays.known(session, pairs)
    found = 0
    replaced = {job.id: job.resubmit_job_id for job in details}
    for job in details:
        stray = known[job.name, job_key(job.command)]
        action = judge(stray.known, sighting(job), ancestors(job.id, replaced))
        if action is not Action.LEAVE:
            found += _act(site, login, job, stray, action)
    return found


def _unfollowed(site: Site, ours: list[RemoteJob]) -> list[RemoteJob]:
    with site.transaction() as session:
        followed = strays.accounted(session, site.id, [(job.name, job.id) for job in ours])
    return [job for job in ours if (job.name, job.id) not in followed]


def _act(site: Site, login: str, job: RemoteJob, stray: Stray, action: Action) -> bool:
    what = f"job {job.id} of submission {job.name} on {site.name}"
    if action is Action.DELETE:
        log.warning("%s belongs to nobody here: deleted", what)
        try:
            owned = site if stray.campaign_id is None else site.acting(stray.campaign_id)
            owned.cluster.delete(login, job.id)
        except ClusterError as error:
            log.warning("%s: %s; tried again at the next sweep", what, error)
        return _tell(site, job, stray, "STRAY_JOB", f"{what} belonged to nobody here and was deleted")
    if action is Action.COUNT:
        assert stray.task_id is not None and stray.campaign_id is not None
        message = f"{what} succeeded after it had been given up: its task is done"
        with site.transaction() as session:
            counted = strays.count_success(session, stray.campaign_id, stray.task_id)
            if counted:
                news = events.News("LATE_SUCCESS", message, stray.campaign_id, site.id, alike=_alike(job))
                events.record(session, news)
        if counted:
            log.warning("%s", message)
        return counted
    with site.transaction() as session:
        if strays.told(session, "LATE_SUCCESS", site.id, _alike(job)):
            return False  # it is this run that the task is done by
    return _tell(site, job, stray, "DUPLICATE_RUN", f"{what} succeeded although its task was done: it is not counted")


def _alike(job: RemoteJob) -> str:
    """What tells events about this job from those about others."""
    return f"{job.name}/{job.id}"


def _tell(site: Site, job: RemoteJob, stray: Stray, code: str, message: str) -> bool:
    """Record it once, however often it is seen."""
    alike = _alike(job)
    with site.transaction() as session:
        if strays.told(session, code, site.id, alike):
            return False
        events.record(session, events.News(code, message, stray.campaign_id, site.id, alike=alike))
    return True
