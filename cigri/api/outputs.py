"""The output files of jobs and their clusters' records, read as the user may read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Literal

from sqlalchemy import Engine

from cigri.api.errors import ApiError, not_found
from cigri.api.replies import Json
from cigri.clusters.base import Cluster as Client
from cigri.clusters.connect import connect, described
from cigri.config import Settings
from cigri.core.shell import job_key
from cigri.db.engine import transaction
from cigri.db.locks import ClusterBusy, ClusterLock
from cigri.db.tables import Cluster
from cigri.db.views.jobs import JobView
from cigri.db.wallet import Wallet
from cigri.errors import ClusterError, ConfigError, NotFound, Refused

Stream = Literal["stdout", "stderr"]

PATIENCE = 10.0  # seconds that a reader waits for a cluster: what submits and follows goes first
MOST_LINES = 100_000


def fetch(engine: Engine, settings: Settings, view: JobView, which: Stream, tail: int | None) -> str:
    """The end of a job's output, at most MOST_LINES lines. No transaction is open while the cluster is asked."""
    login = _login(view, f"has no output yet: it is {view.job.state}")
    with _asking(engine, settings, view, f"{which} of job {view.job.id}") as client:
        data = client.read_file(login, _path(client, view, which), min(tail or MOST_LINES, MOST_LINES))
    return data.decode("utf-8", "replace")


def record(engine: Engine, settings: Settings, view: JobView) -> Json:
    """The job as its cluster tells it."""
    _login(view, "is not on its cluster yet")
    assert view.job.remote_id is not None
    with _asking(engine, settings, view, f"record of job {view.job.id}") as client:
        found = client.record(view.job.remote_id)
    # A bare id identifies nothing: behind it may be somebody else's job by now.
    if found.get("name") != view.submission or job_key(str(found.get("command", ""))) != view.job.id:
        raise not_found(f"{view.cluster_name} has another job as {view.job.remote_id} now")
    return found


def _login(view: JobView, why: str) -> str:
    """Who the job's user is on the cluster. Refuses a job that never got there."""
    if view.job.remote_id is None or view.login is None:
        raise not_found(f"Job {view.job.id} {why}")
    return view.login


@contextmanager
def _asking(engine: Engine, settings: Settings, view: JobView, what: str) -> Iterator[Client]:
    """The job's cluster, asked with its owner's token where tokens count; its errors as answers."""
    with transaction(engine) as session:
        cluster = session.get_one(Cluster, view.job.cluster_id)
    wallet = Wallet(engine, cluster.id, cluster.name, settings.token_key_file)
    timeout = settings.rest_queries_timeout
    with closing(ClusterLock(engine, cluster.id, wait=PATIENCE)) as lock:
        try:
            yield connect(described(cluster, settings), timeout=timeout, lock=lock, ask=wallet.asking(view.user))
        except (ClusterError, ClusterBusy, ConfigError) as error:
            raise _answer(view, what, error) from error


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


def _answer(view: JobView, what: str, error: Exception) -> ApiError:
    what = f"The {what} on {view.cluster_name}"
    if isinstance(error, NotFound):
        return not_found(f"{what} is not there: {error}")
    if isinstance(error, Refused):
        return ApiError(403, f"{what} may not be read: {error}")
    if isinstance(error, ConfigError):
        return ApiError(400, f"{what} cannot be had: {error}", title="Error")
    return ApiError(503, f"{what} cannot be had now: {error}")
