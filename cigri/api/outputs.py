"""The output files of jobs, read from their cluster as the user may read them."""

from __future__ import annotations

from contextlib import closing
from typing import Literal

from sqlalchemy import Engine

from cigri.api.errors import ApiError, not_found
from cigri.clusters.base import Cluster as Client
from cigri.clusters.connect import connect, described
from cigri.config import Settings
from cigri.db.engine import transaction
from cigri.db.locks import ClusterBusy, ClusterLock
from cigri.db.tables import Cluster
from cigri.db.views.jobs import JobView
from cigri.errors import ClusterError, ConfigError, NotFound, Refused

Stream = Literal["stdout", "stderr"]

PATIENCE = 10.0  # seconds that a reader waits for a cluster: what submits and follows goes first
MOST_LINES = 100_000


def fetch(engine: Engine, settings: Settings, view: JobView, which: Stream, tail: int | None) -> str:
    """The end of a job's output, at most MOST_LINES lines. No transaction is open while the cluster is asked."""
    if view.job.remote_id is None or view.login is None:
        raise not_found(f"Job {view.job.id} has no output yet: it is {view.job.state}")
    with transaction(engine) as session:
        cluster = session.get_one(Cluster, view.job.cluster_id)
    with closing(ClusterLock(engine, cluster.id, wait=PATIENCE)) as lock:
        try:
            client = connect(described(cluster, settings), timeout=settings.rest_queries_timeout, lock=lock)
            path = _path(client, view, which)
            data = client.read_file(view.login, path, min(tail or MOST_LINES, MOST_LINES))
        except (ClusterError, ClusterBusy, ConfigError) as error:
            raise _answer(view, which, error) from error
    return data.decode("utf-8", "replace")


def _path(client: Client, view: JobView, which: Stream) -> str:
    """Where the file is: as the job's end was recorded, else as the cluster says."""
    path = view.job.stdout_path if which == "stdout" else view.job.stderr_path
    if not path:
        assert view.job.remote_id is not None
        remote = client.job(view.job.remote_id)
        path = remote.stdout_file if which == "stdout" else remote.stderr_file
        if not path.startswith("/"):
            path = f"{remote.launching_directory.rstrip('/')}/{path}"
    return path.replace("%jobid%", str(view.job.remote_id))


def _answer(view: JobView, which: Stream, error: Exception) -> ApiError:
    what = f"The {which} of job {view.job.id} on {view.cluster_name}"
    if isinstance(error, NotFound):
        return not_found(f"{what} is not there: {error}")
    if isinstance(error, Refused):
        return ApiError(403, f"{what} may not be read: {error}")
    if isinstance(error, ConfigError):
        return ApiError(400, f"{what} cannot be had: {error}", title="Error")
    return ApiError(503, f"{what} cannot be had now: {error}")
