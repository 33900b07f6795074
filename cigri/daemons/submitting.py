"""Tasks are claimed under their allowance, said to the database, then sent: one array per submission."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import NamedTuple

from cigri.clusters.base import RemoteJob, Submission
from cigri.core import jdl, names
from cigri.core.shell import array_command, command_line
from cigri.core.states import JobKind
from cigri.daemons.entitlement import advice, entitled
from cigri.daemons.settling import adopt
from cigri.daemons.sites import Site
from cigri.db import allowances, events, grid, stages, submissions
from cigri.db.engine import notify
from cigri.db.kills import KillReason, mark_jobs
from cigri.db.submissions import Claimed, Unsettled
from cigri.errors import BadReply, ClusterError, InvalidJDL, NoAnswer, Refused, TokenRefused, Unreachable

log = logging.getLogger(__name__)

LONGEST_ROUND = 10.0  # seconds; then the jobs that are there are followed first
TELL_PERIOD = 1.0  # seconds; then jobs that ended at once are told of in the middle of a round
CLOCK_AGE = LONGEST_ROUND  # seconds for which a cluster's clock is taken to go on as ours does
HEALTHY = 3.0  # seconds for which a cluster that showed living jobs needs no other proof of its health
WEDGED_DELAY = timedelta(minutes=10)
SCARCITY_DELAY = timedelta(minutes=1)


class Fate(enum.Enum):
    """What became of a request to submit."""

    SENT = enum.auto()
    REFUSED = enum.auto()
    UNSURE = enum.auto()  # it is looked up before anything else is sent


class _Clock(NamedTuple):
    """A cluster's time as it was read, and when, by time.monotonic()."""

    generation: int = -1
    clock: float = 0.0
    at: float = 0.0


class Submitter:
    """Sends what the metascheduler allows to one cluster; `ended_at_once` is told of what had ended by then."""

    def __init__(self, ended_at_once: Callable[[float, Sequence[RemoteJob]], None]) -> None:
        self._ended_at_once = ended_at_once
        self._took: list[float] = []  # seconds, of submissions that are not noted yet
        self._ended = False  # some had since that was told
        self._told = 0.0  # when, by time.monotonic()
        self._thread = ThreadPoolExecutor(1, "claims")
        self._read = _Clock()
        self._grid_id = ""
        self._held = False

    def round(self, site: Site, seen_alive: float = float("-inf")) -> int:
        """Submit what is allowed now; how many jobs were sent. A cluster error ends the round.

        `seen_alive`: when the cluster last showed jobs that live, by time.monotonic().
        """
        with site.transaction() as session:
            submissions.note_durations(session, site.id, self._took)
            self._took, self._ended = [], False
            granted = allowances.granted(session, site.id)
            self._grid_id = self._grid_id or grid.grid_id(session)
            launches = stages.to_launch(session, site.id)
            if not (granted or launches) or self._hold(grid.held(session, site.id)):
                return 0
        clock = self._clock(site)
        if time.monotonic() - seen_alive > HEALTHY:
            site.cluster.check_health()
        self._told = time.monotonic()
        sent = self._submit(site, launches, granted, clock)
        if self._ended:
            self._tell(site)
        return sent

    def _tell(self, site: Site) -> None:
        """Jobs have ended: who schedules may deal out more, while the rest of this round is sent."""
        with site.transaction() as session:
            notify(session, "jobs")
        self._told, self._ended = time.monotonic(), False

    def _clock(self, site: Site) -> float:
        """The cluster's own time before the request: where a look-up begins to search, LOOK_BACK before it."""
        now = time.monotonic()
        if self._read.generation != site.url_generation or now - self._read.at > CLOCK_AGE:
            self._read = _Clock(site.url_generation, site.cluster.clock(), now)
        return self._read.clock + now - self._read.at

    def close(self) -> None:
        """Let the thread go that claims."""
        self._thread.shutdown()

    def _submit(
        self, site: Site, launches: Sequence[tuple[int, int]], granted: Sequence[tuple[int, int]], clock: float
    ) -> int:
        until = time.monotonic() + LONGEST_ROUND
        sent = 0
        for job_id, campaign_id in launches:
            if not entitled(site, campaign_id):
                continue
            claimed = self._claim_stage(site, job_id, campaign_id, clock)
            if claimed is not None and self._send(site, claimed) is Fate.UNSURE:
                return sent
            sent += claimed is not None
        for campaign_id, tasks in granted:
            with contextlib.closing(self._claims(site, campaign_id, clock, tasks, until)) as claims:
                for claimed in claims:
                    if (fate := self._send(site, claimed)) is Fate.UNSURE:
                        return sent
                    if fate is Fate.REFUSED:
                        break
                    sent += len(claimed.lines)
        return sent

    def _claims(self, site: Site, campaign_id: int, clock: float, tasks: int, until: float) -> Generator[Claimed]:
        """Submissions of so many tasks, each claimed while the one before is under way.

        When nobody wants the next, it was never sent and goes back.
        """
        ahead: Future[Claimed | None] | None = None
        chunk = site.settings.runner_chunk
        try:
            while ahead is not None or (tasks > 0 and time.monotonic() < until):
                limit = min(tasks, chunk)
                claimed = self._claim(site, campaign_id, clock, limit) if ahead is None else ahead.result()
                ahead = None
                if claimed is None:
                    return
                tasks -= len(claimed.lines)
                if tasks > 0 and len(claimed.lines) == limit and time.monotonic() < until:
                    ahead = self._thread.submit(self._claim, site, campaign_id, clock, min(tasks, chunk))
                yield claimed
        finally:
            if ahead is not None and (unsent := ahead.result()) is not None:
                self._take_back(site, unsent, "it was not sent after all")

    def _hold(self, held: bool) -> bool:
        if held and not self._held:
            log.error(
                "the database was restored or promoted: nothing is submitted until `gridadmin db recovered` was"
                " called and the cluster was swept"
            )
        self._held = held
        return held

    def _claim_stage(self, site: Site, job_id: int, campaign_id: int, clock: float) -> Claimed | None:
        name = names.make(self._grid_id, campaign_id, os.urandom(names.RANDOM_BYTES))
        with site.transaction() as session:
            return submissions.claim_stage(
                session,
                job_id=job_id,
                cluster_id=site.id,
                url_generation=site.url_generation,
                name=name,
                remote_clock=clock,
            )

    def _claim(self, site: Site, campaign_id: int, clock: float, limit: int) -> Claimed | None:
        if not entitled(site, campaign_id):
            return None
        name = names.make(self._grid_id, campaign_id, os.urandom(names.RANDOM_BYTES))
        with site.transaction() as session:
            return submissions.claim(
                session,
                cluster_id=site.id,
                url_generation=site.url_generation,
                campaign_id=campaign_id,
                name=name,
                remote_clock=clock,
                limit=limit,
            )

    def _send(self, site: Site, claimed: Claimed) -> Fate:
        """Send a claimed submission."""
        site = site.acting(claimed.campaign_id)
        try:
            request = build(site, claimed)
        except (KeyError, ValueError, InvalidJDL) as error:
            # One campaign that cannot be sent must not end the runner of all.
            log.exception("campaign %d cannot be sent to %s", claimed.campaign_id, site.name)
            self._refused(site, claimed, Refused(f"the campaign cannot be sent to {site.name}: {error!r}"))
            return Fate.REFUSED
        began = time.monotonic()
        try:
            array_id = site.cluster.submit(request)
        except Unreachable as error:
            self._take_back(site, claimed, str(error))
            raise
        except Refused as error:
            self._refused(site, claimed, error)
            return Fate.REFUSED
        except NoAnswer as error:
            log.warning("%s: submission %s: %s; it will be looked up", site.name, claimed.name, error)
            self._set_aside_if_wedged(site, claimed)
            return Fate.UNSURE
        self._took.append(time.monotonic() - began)
        return self._settle(site, claimed, request, array_id)

    def _settle(self, site: Site, claimed: Claimed, request: Submission, array_id: int) -> Fate:
        try:
            found = site.cluster.array(array_id, details=True)
        except ClusterError as error:
            log.warning("%s: submission %s cannot be listed: %s", site.name, claimed.name, error)
            return Fate.UNSURE
        own = [job for job in found if job.name == claimed.name]
        if len(own) != len(claimed.lines):
            log.warning("%s: submission %s shows %d jobs of %d; it will be looked up", site.name, claimed.name,
                        len(own), len(claimed.lines))  # fmt: skip
            return Fate.UNSURE
        ended = adopt(site, _unsettled(claimed), own, array_id)
        self._ended_at_once(claimed.remote_clock, ended)
        self._ended = self._ended or bool(ended)
        if self._ended and time.monotonic() - self._told > TELL_PERIOD:
            self._tell(site)
        if "besteffort" in request.types:
            _check_queue(site, claimed, own)
        return Fate.SENT

    def _take_back(self, site: Site, claimed: Claimed, message: str) -> None:
        with site.transaction() as session:
            submissions.void(session, claimed.submission_id, message, counted=False)

    def _refused(self, site: Site, claimed: Claimed, error: Refused) -> None:
        with site.transaction() as session:
            submissions.refuse(session, claimed.submission_id, refusal(site, claimed.campaign_id, error))
            notify(session, "jobs")
        log.warning("%s: campaign %d is refused: %s", site.name, claimed.campaign_id, error)

    def _set_aside_if_wedged(self, site: Site, claimed: Claimed) -> None:
        """The cluster was healthy before this submission: if it is not now, others must not send the like."""
        try:
            site.cluster.check_health()
        except BadReply:
            message = f"{site.name} stopped answering when it got a submission of this campaign"
            news = events.News("RUNNER_SUBMIT_WEDGED", message, claimed.campaign_id, site.id, probe_delay=WEDGED_DELAY)
            with site.transaction() as session:
                events.record(session, news)
            raise


def build(site: Site, claimed: Claimed) -> Submission:
    """The request for claimed tasks."""
    job = jdl.stored(claimed.jdl).clusters[site.name]
    if claimed.kind is not JobKind.TASK:
        job = job.stage(claimed.kind)
    command = job.command(claimed.campaign_id)
    return Submission(
        name=claimed.name,
        login=claimed.login,
        command=array_command(claimed.campaign_id),
        lines=[command_line(job_id, command, line) for job_id, line in claimed.lines],
        resources=job.resources,
        walltime=str(job.walltime),
        directory=job.directory(claimed.campaign_id),
        types=job.types,
        properties=" AND ".join(f"({part})" for part in (site.properties, job.properties) if part),
        project=job.project,
    )


def refusal(site: Site, campaign_id: int, error: Refused) -> events.News:
    """The event for a submission that the cluster refused."""
    if isinstance(error, TokenRefused):
        message = f"{site.name} does not accept who submits: {error}{advice(site)}"
        return events.News("RUNNER_SUBMIT_PERMISSION_DENIED", message, campaign_id, site.id)
    if "not enough resources" in str(error).lower():
        # Comes also while nodes are suspected for a while.
        return events.News(
            "RUNNER_SUBMIT_NOT_ENOUGH_RESOURCES", str(error), campaign_id, site.id, probe_delay=SCARCITY_DELAY
        )
    code = "RUNNER_SUBMIT_TOO_LARGE" if error.status == 413 else "RUNNER_SUBMIT_ERROR"
    return events.News(code, str(error), campaign_id, site.id)


def _unsettled(claimed: Claimed) -> Unsettled:
    keys = frozenset([job_id for job_id, _ in claimed.lines])
    clock = claimed.remote_clock
    return Unsettled(
        claimed.submission_id, claimed.name, claimed.login, claimed.campaign_id, clock, len(keys), 0.0, keys
    )


def _check_queue(site: Site, claimed: Claimed, own: list[RemoteJob]) -> None:
    """A best-effort job that landed in another queue would disturb the cluster's owners: it goes."""
    wrong = {job.queue for job in own if job.queue not in ("besteffort", "")}
    if not wrong:
        return
    message = f"{site.name} put best-effort jobs into queue {', '.join(sorted(wrong))}: they are deleted"
    with site.transaction() as session:
        events.record(session, events.News("RUNNER_SUBMIT_ERROR", message, claimed.campaign_id, site.id))
        mark_jobs(session, [job_id for job_id, _ in claimed.lines], KillReason.REFUSED)
    log.error("campaign %d: %s", claimed.campaign_id, message)
