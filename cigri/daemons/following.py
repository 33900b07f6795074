"""Jobs are followed by what their cluster reports: one list per login shows what changed, details only for that."""

from __future__ import annotations

import enum
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from cigri.clusters.base import RemoteJob, RemoteState
from cigri.core import outcome
from cigri.core.adopted import has_name
from cigri.core.backoff import look_again
from cigri.core.events import meaning
from cigri.core.outcome import LookAgain, Outcome, Policy, Resubmitted, Verdict
from cigri.core.pace import Pace
from cigri.core.states import JobState
from cigri.daemons.ends import end_of, finish, path
from cigri.daemons.sites import Site, is_ours, signs
from cigri.db import clusters, events, jobs, kills
from cigri.db.engine import notify
from cigri.db.jobs import End, Followed
from cigri.errors import BadReply, ClusterError, NoAnswer, NotFound, Refused

log = logging.getLogger(__name__)

TAILS_KEPT = 600.0
Kind = tuple[int, str, str]  # of failures: campaign, code of the event, what makes them alike
DEEP_LOOKS = 20  # jobs looked for one by one in a round
DETAILS_AT_A_TIME = 2000  # jobs whose details are in memory, and in one transaction
STATES = {
    RemoteState.WAITING: JobState.REMOTE_WAITING,
    RemoteState.HOLD: JobState.REMOTE_WAITING,
    RemoteState.STARTING: JobState.REMOTE_WAITING,
    RemoteState.RUNNING: JobState.RUNNING,
}


class Look(enum.Enum):
    """Why the details of a job are asked for."""

    GONE = enum.auto()  # it is not among the living any more
    STARTED = enum.auto()
    GOES_ON = enum.auto()  # for long: its walltime may have been changed


@dataclass(slots=True)
class Changes:
    """What a part of a round found out, before it goes into the database."""

    moves: dict[tuple[JobState, JobState], list[int]] = field(default_factory=lambda: defaultdict(list))
    starts: list[tuple[int, float, int | None, int, str]] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    followers: list[tuple[Followed, int]] = field(default_factory=list)
    look_again: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    found_again: list[int] = field(default_factory=list)
    unknown_words: set[str] = field(default_factory=set)
    began: dict[int, tuple[float, float]] = field(default_factory=dict)  # job -> sent, started

    def __bool__(self) -> bool:
        return any(
            (self.moves, self.starts, self.ends, self.followers, self.look_again, self.missing, self.found_again)
        ) or bool(self.unknown_words)


class Follower:
    """Follows the jobs of one cluster, round by round."""

    def __init__(self) -> None:
        self._pace: Pace | None = None  # until the first round
        self._began: dict[int, tuple[float, float]] = {}  # since the last round: job -> sent, started
        self._at_once: list[tuple[float, float]] = []  # the same of those that had ended when they were first seen
        self._freed: list[float] = []  # since the last round: when jobs ended that had run
        self._tails: dict[Kind, float] = {}  # when the stderr of such a failure was read
        self._failed: set[Kind] = set()  # in this round
        self._policies: dict[int, Policy] = {}
        self._arrays: dict[int, list[RemoteJob]] = {}  # read in this round
        self._words: set[str] = set()  # unknown states that were told
        self.seen_alive = float("-inf")  # when the cluster last showed jobs that live, by time.monotonic()
        self._deep = 0  # more jobs to look for one by one in this round

    def round(self, site: Site, elapsed: float) -> tuple[int, int]:
        """Follow every job once; how many are there, how many ended. A cluster error ends the round.

        `elapsed`: seconds since the round before.
        """
        with site.transaction() as session:
            followed = jobs.followed(session, site.id)
        by_login: dict[str, list[Followed]] = defaultdict(list)
        for job in followed:
            by_login[job.login].append(job)
        ended = 0
        self._arrays.clear()
        self._failed.clear()
        refused: list[Refused] = []
        for login, own in by_login.items():
            try:
                for changes in self._look(site.acting(own[0].campaign_id), login, own, elapsed):
                    ended += self._record(site, changes)
            except (Refused, BadReply, NoAnswer) as error:
                # About this login alone: the others' jobs are followed all the same.
                log.warning("%s: jobs of %s cannot be followed: %s", site.name, login, error)
                if isinstance(error, Refused):
                    refused.append(error)
                else:
                    site.cluster.check_health()  # raises when it is the cluster
        if refused and len(refused) == len(by_login) and site.wallet is None:
            raise refused[0]  # it refuses the grid
        self._note_pace(site, followed, elapsed)
        return len(followed), ended

    def ended_at_once(self, sent: float, ended: Sequence[RemoteJob]) -> None:
        """These had ended when they were seen for the first time; `sent`: the cluster's time before they were sent."""
        for remote in ended:
            if remote.start_time:
                self._at_once.append((sent, remote.start_time))
                if remote.stop_time:
                    self._freed.append(remote.stop_time)

    def _look(self, site: Site, login: str, own: Sequence[Followed], elapsed: float) -> Iterator[Changes]:
        """What has changed, in parts that fit into memory, each to be recorded before the next is read."""
        changes = Changes()
        live = {job.id: job for job in site.cluster.live_jobs(login)}
        if live:
            self.seen_alive = time.monotonic()
        compared = _compare(live, own, elapsed, changes)
        del live
        self._deep = DEEP_LOOKS
        changed = [(job, look) for look, jobs_ in compared.items() for job in jobs_]
        for first in range(0, len(changed), DETAILS_AT_A_TIME):
            part = changed[first : first + DETAILS_AT_A_TIME]
            details = {job.id: job for job in site.cluster.jobs([job.remote_id for job, _ in part])}
            for job, look in part:
                remote = details.get(job.remote_id)
                if look is Look.GONE:
                    self._look_at_gone(site, job, remote, changes)
                else:
                    _runs(job, remote, changes, just_started=look is Look.STARTED)
            yield changes
            changes = Changes()
        yield changes

    def _look_at_gone(self, site: Site, job: Followed, remote: RemoteJob | None, changes: Changes) -> None:
        if remote is not None and is_ours(remote, job.name, job.id):
            if remote.state.final:
                self._ended(site, job, remote, changes)
            elif job.missing is not None:
                changes.found_again.append(job.id)
        elif self._deep > 0 and _due(site, job):
            self._deep -= 1
            self._look_deeper(site, job, changes)

    def _ended(self, site: Site, job: Followed, remote: RemoteJob, changes: Changes) -> None:
        if job.state is not JobState.RUNNING:
            _note_start(job, remote, changes)
        end = outcome.Ended(
            exit_code=remote.exit_code,
            signs=signs(remote),
            started=remote.start_time > 0,
            kill_reason=job.kill_reason,
            kill_message=_said(site, job),
            looked_before=job.end_seen is not None and job.end_seen >= site.settings.resubmit_look_delay,
            automatic_resubmissions=len(job.chain),
            walltimes=job.walltimes,
            tries=job.tries,
            lasted=max(0.0, remote.stop_time - remote.start_time) if remote.start_time else 0.0,
            policy=self._policy(site, job.campaign_id),
        )
        match outcome.decide(end):
            case Resubmitted(remote_id):
                self._follow(site, job, remote_id, changes)
            case LookAgain():
                if job.end_seen is None:
                    changes.look_again.append(job.id)
            case Verdict() as verdict if (restart := outcome.follower(end.signs)) is not None:
                if self._delete(site, job, restart) or verdict.outcome is Outcome.SUCCESS:
                    changes.ends.append(self._end(site, job, remote, verdict))
            case Verdict() as verdict:
                restarted = None if verdict.outcome is Outcome.SUCCESS else self._restarted(site, job, remote)
                if restarted is not None:
                    self._follow(site, job, restarted, changes)
                else:
                    changes.ends.append(self._end(site, job, remote, verdict))

    def _delete(self, site: Site, job: Followed, remote_id: int) -> bool:
        """Delete a restart of a job that is not wanted any more; False when it is not shown yet."""
        try:
            remote = site.cluster.job(remote_id)
            if is_ours(remote, job.name, job.id) and not remote.state.final:
                log.warning("%s: job %d was restarted as %d for nothing: deleted", site.name, job.id, remote_id)
                site.cluster.delete(job.login, remote_id)
        except NotFound:
            return False
        except Refused as error:
            log.warning("%s: job %d: %s; the sweep will see to it", site.name, remote_id, error)
        return True

    def _policy(self, site: Site, campaign_id: int) -> Policy:
        """What the campaign wants done about failures; it never changes."""
        if campaign_id not in self._policies:
            with site.transaction() as session:
                self._policies[campaign_id] = jobs.policy(session, site.id, campaign_id)
        return self._policies[campaign_id]

    def _restarted(self, site: Site, job: Followed, remote: RemoteJob) -> int | None:
        """The id of a job that says it replaces this one, for the ends after which a cluster may restart a job."""
        if job.end_seen is None or remote.array_id is None:
            return None
        if remote.array_id not in self._arrays:
            self._arrays[remote.array_id] = site.cluster.array(remote.array_id)
        for other in self._arrays[remote.array_id]:
            if other.resubmit_job_id == remote.id and is_ours(other, job.name, job.id):
                return other.id
        return None

    def _follow(self, site: Site, job: Followed, remote_id: int, changes: Changes) -> None:
        try:
            remote = site.cluster.job(remote_id)
        except NotFound:  # not shown yet, or not any more
            self._vanished(site, job, changes)
            return
        if is_ours(remote, job.name, job.id):
            changes.followers.append((job, remote_id))
        else:
            log.warning("%s: job %d is said to be restarted as %d, which is not ours", site.name, job.id, remote_id)

    def _look_deeper(self, site: Site, job: Followed, changes: Changes) -> None:
        """For a job that is in no list: a single look, then twice, some time apart, before it is lost."""
        try:
            remote = site.cluster.job(job.remote_id)
        except NotFound:
            remote = None
        if remote is not None and is_ours(remote, job.name, job.id):
            if remote.state.final:
                self._ended(site, job, remote, changes)
            elif job.missing is not None:
                changes.found_again.append(job.id)
            return
        if (other := self._elsewhere(site, job)) is not None:
            changes.followers.append((job, other))
        else:
            self._vanished(site, job, changes)

    def _vanished(self, site: Site, job: Followed, changes: Changes) -> None:
        """A healthy cluster does not know it: the second time, long after the first, it is lost."""
        if job.missing is None:
            changes.missing.append(job.id)
        elif job.missing >= site.settings.lost_job_delay:
            with site.transaction() as session:
                rerun = jobs.rerun_lost(session, job.campaign_id, site.name)
            waiting = job.state is not JobState.RUNNING
            changes.ends.append(End(job.id, outcome.lost(last_seen_waiting=waiting or rerun)))

    def _elsewhere(self, site: Site, job: Followed) -> int | None:
        """The newest id under which the job is in its array, when it is not there under its own any more."""
        if job.array_id is None:
            return None
        array = site.cluster.array(job.array_id)
        others = (remote.id for remote in array if is_ours(remote, job.name, job.id) and remote.id not in job.chain)
        return max(others, default=None)

    def _end(self, site: Site, job: Followed, remote: RemoteJob, verdict: Verdict) -> End:
        return end_of(remote, job.id, verdict, self._tail(site, job, path(remote, remote.stderr_file), verdict))

    def _tail(self, site: Site, job: Followed, where: str, verdict: Verdict) -> str:
        """The last lines of stderr of a prologue or epilogue, and of the first of many alike failures of tasks."""
        if verdict.outcome is not Outcome.EXIT or not where or not site.settings.stderr_tail:
            return ""
        if job.task_id is not None and not self._is_first(site, (job.campaign_id, verdict.code, verdict.alike)):
            return ""
        try:
            reader = site.acting(job.campaign_id).cluster
            return reader.read_file(job.login, where, site.settings.stderr_tail).decode(errors="replace").strip()
        except ClusterError as error:
            log.info("%s: stderr of job %d: %s", site.name, job.id, error)
            return ""

    def _is_first(self, site: Site, kind: Kind) -> bool:
        """Whether this failure begins an event. The database is asked once in a round about each kind."""
        if kind in self._failed:
            return False
        self._failed.add(kind)
        campaign_id, code, alike = kind
        if meaning(code).passing:
            lately = self._read_lately(kind)
            self._tails.setdefault(kind, time.monotonic())
            return not lately
        with site.transaction() as session:
            return not events.is_open(session, events.News(code, "", campaign_id, site.id, alike=alike))

    def _read_lately(self, kind: Kind) -> bool:
        """Of failures after which the task is tried again each round has an event: one in some minutes is enough."""
        now = time.monotonic()
        self._tails = {each: at for each, at in self._tails.items() if now - at < TAILS_KEPT}
        return kind in self._tails

    def _record(self, site: Site, changes: Changes) -> int:
        if not changes:
            return 0
        self._began |= changes.began
        self._freed += [end.stop_time for end in changes.ends if end.start_time and end.stop_time]
        with site.transaction() as session:
            # Campaigns before jobs: whoever cancels takes the locks in this order, too.
            jobs.lock_campaigns(session, [job_id for ids in changes.moves.values() for job_id in ids])
            for (source, target), ids in changes.moves.items():
                jobs.move(session, ids, source, target)
            jobs.started(session, changes.starts)
            jobs.note_end_seen(session, changes.look_again)
            jobs.note_missing(session, changes.missing)
            jobs.forget_missing(session, changes.found_again)
            jobs.follow_new_ids(session, [(job.id, job.remote_id, new) for job, new in changes.followers])
            _tell_restarts(session, site, changes.followers)
            for word in changes.unknown_words - self._words:
                self._words.add(word)
                events.record(session, events.News("UNKNOWN_STATE", f"unknown job state {word!r}", cluster_id=site.id))
            ended = finish(session, site, changes.ends) if changes.ends else set()
            notify(session, "jobs")
        return len(ended)

    def _note_pace(self, site: Site, followed: Sequence[Followed], elapsed: float) -> None:
        """What the controller of the cluster goes by: docs/control.md."""
        began, at_once, freed = self._began, self._at_once, self._freed
        self._began, self._at_once, self._freed = {}, [], []
        if self._pace is None:
            with site.transaction() as session:
                known = clusters.status(session, site.id)
            self._pace = Pace(0.0, known.follow_period, known.start_delay) if known is not None else Pace()
        waiting = [job.sent for job in followed if job.state is not JobState.RUNNING and job.id not in began]
        busy = bool(followed or freed)
        self._pace.look(elapsed, freed, [*began.values(), *at_once], waiting, busy=busy)
        if not busy:
            return
        with site.transaction() as session:
            clusters.note(
                session,
                site.id,
                completion_rate=self._pace.rate,
                follow_period=self._pace.period,
                start_delay=self._pace.start_delay,
            )


def _tell_restarts(session: Session, site: Site, followers: Sequence[tuple[Followed, int]]) -> None:
    """One event for all jobs of a campaign that the cluster has started again."""
    by_campaign: dict[int, list[tuple[Followed, int]]] = defaultdict(list)
    for job, remote_id in followers:
        by_campaign[job.campaign_id].append((job, remote_id))
    for campaign_id, restarted in sorted(by_campaign.items()):
        (first, remote_id), (last, _) = restarted[0], restarted[-1]
        message = f"{site.name} restarted it by itself as {remote_id}"
        count = len(restarted)
        news = events.News("OAR_AUTO_RESUBMIT", message, campaign_id, site.id, first.id, last.id, count)
        events.record(session, news)


def _compare(
    live: Mapping[int, RemoteJob], own: Sequence[Followed], elapsed: float, changes: Changes
) -> dict[Look, list[Followed]]:
    """Note what a list of living jobs shows of ours; those whose details are wanted, by why."""
    now = time.time()
    wanted: dict[Look, list[Followed]] = {look: [] for look in Look}
    for job in own:
        remote = live.get(job.remote_id)
        if remote is None or not has_name(remote.name, job.name) or remote.state.final:
            wanted[Look.GONE].append(job)
            continue
        if job.missing is not None:
            changes.found_again.append(job.id)
        if remote.state is RemoteState.UNKNOWN:
            changes.unknown_words.add(remote.word)
        target = STATES.get(remote.state)
        if target is JobState.RUNNING and job.state is not target:
            wanted[Look.STARTED].append(job)
        elif target is not None and target is not job.state:
            changes.moves[job.state, target].append(job.id)
        elif target is JobState.RUNNING and job.sent and look_again(now - job.sent, elapsed):
            wanted[Look.GOES_ON].append(job)
    return wanted


def _runs(job: Followed, remote: RemoteJob | None, changes: Changes, *, just_started: bool) -> None:
    if just_started:
        changes.moves[job.state, JobState.RUNNING].append(job.id)
    if remote is not None and remote.start_time and is_ours(remote, job.name, job.id):
        if just_started:
            _note_start(job, remote, changes)
        changes.starts.append((job.id, remote.start_time, remote.walltime, remote.resources, ",".join(remote.nodes)))


def _note_start(job: Followed, remote: RemoteJob, changes: Changes) -> None:
    """When a job was sent and started, by its cluster's clock alone; not if that restarted it."""
    if remote.start_time and job.sent and not job.chain:
        changes.began[job.id] = (job.sent, remote.start_time)


def _said(site: Site, job: Followed) -> str:
    """What the administrator said who set the job aside: few jobs are, so that the others need not carry it."""
    if job.kill_reason != kills.KillReason.MANUAL:
        return ""
    with site.transaction() as session:
        return kills.message(session, job.id) or ""


def _due(site: Site, job: Followed) -> bool:
    """Whether to look for a missing job now: those that only wait for their second look leave their turn to others."""
    return job.missing is None or job.missing >= site.settings.lost_job_delay
