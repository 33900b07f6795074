"""The output files of jobs and their clusters' records, read as the user may read them."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Engine

from cigri.api.errors import not_found
from cigri.api.reaching import reach
from cigri.clusters.base import Cluster
from cigri.config import Settings
from cigri.core.shell import job_key
from cigri.db.views.jobs import JobView

Stream = Literal["stdout", "stderr"]

MOST_LINES = 100_000


def fetch(engine: Engine, settings: Settings, view: JobView, which: Stream, tail: int | None) -> str:
    """The end of a job's output, at most MOST_LINES lines."""
    if view.job.remote_id is None or view.login is None:
        raise not_found(f"Job {view.job.id} has no output yet: it is {view.job.state}")
    what = f"The {which} of job {view.job.id} on {view.cluster_name}"
    with reach(engine, settings, view.job.cluster_id, view.user, what) as client:
        data = client.read_file(view.login, _path(client, view, which), min(tail or MOST_LINES, MOST_LINES))
    return data.decode("utf-8", "replace")


def record(engine: Engine, settings: Settings, view: JobView) -> dict[str, Any]:
    """The job as its cluster tells it."""
    if view.job.remote_id is None:
        raise not_found(f"Job {view.job.id} is not on its cluster yet: it is {view.job.state}")
    what = f"The record of job {view.job.id} on {view.cluster_name}"
    with reach(engine, settings, view.job.cluster_id, view.user, what) as client:
        found = client.record(view.job.remote_id)
    # A bare id identifies nothing: behind it may be somebody else's job by now.
    if found.get("name") != view.submission or job_key(str(found.get("command", ""))) != view.job.id:
        raise not_found(f"{what} is not there: its id {view.job.remote_id} is that of another job now")
    return found


def _path(client: Cluster, view: JobView, which: Stream) -> str:
    """Where the file is: as the job's end was recorded, else as the cluster says."""
    path = view.job.stdout_path if which == "stdout" else view.job.stderr_path
    if not path:
        assert view.job.remote_id is not None
        remote = client.job(view.job.remote_id)
        path = remote.stdout_file if which == "stdout" else remote.stderr_file
        if not path.startswith("/"):
            path = f"{remote.launching_directory.rstrip('/')}/{path}"
    return path.replace("%jobid%", str(view.job.remote_id))
