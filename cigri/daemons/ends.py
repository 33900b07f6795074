"""The end of a job as its cluster tells it, and as it goes into the books."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from cigri.clusters.base import RemoteJob
from cigri.core import outcome
from cigri.core.outcome import Verdict
from cigri.daemons.sites import Site, signs
from cigri.db import jobs
from cigri.db.jobs import End


def succeeded(remote: RemoteJob) -> bool:
    """Whether this is the last word: it ended well, and the cluster did not start it again."""
    ended_well = remote.state.final and remote.exit_code == 0
    return ended_well and (not remote.events or outcome.follower(signs(remote)) is None)


def end_of(remote: RemoteJob, job_id: int, verdict: Verdict, tail: str = "", *, first_seen: bool = False) -> End:
    """The end of a job of ours. `first_seen`: until now nobody knew under which id the cluster has it."""
    return End(
        job_id,
        verdict,
        remote.exit_code,
        remote.start_time,
        remote.stop_time,
        ",".join(remote.nodes),
        remote.resources,
        path(remote, remote.stdout_file),
        path(remote, remote.stderr_file),
        remote.word,
        tail,
        remote.id if first_seen else None,
        remote.array_index if first_seen else None,
    )


def finish(session: Session, site: Site, ends: Sequence[End]) -> set[int]:
    """End these jobs as the site's settings say: the ids of those that were live."""
    settings = site.settings
    return jobs.finish(session, site.id, ends, settings.max_failures, settings.preempted_charge)


def path(remote: RemoteJob, name: str) -> str:
    """Where an output file is; the cluster says it relative to the job's directory."""
    if not name or name.startswith("/"):
        return name
    return f"{remote.launching_directory.rstrip('/')}/{name}" if remote.launching_directory else name
