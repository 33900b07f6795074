"""Jobs: the tries of tasks."""

from __future__ import annotations

import json

from fastapi import APIRouter, Response

from cigri.api import outputs
from cigri.api.again import Route
from cigri.api.context import MOST_BIG, Context, Here, identifier
from cigri.api.errors import forbidden, not_found, refused
from cigri.api.replies import Json
from cigri.api.routes.events import moment
from cigri.core.exit_status import describe
from cigri.core.states import FINAL, JobKind
from cigri.db.kills import KillReason, mark_jobs
from cigri.db.views import jobs
from cigri.db.views.jobs import JobView

router = APIRouter(route_class=Route)


@router.get("/jobs/{job}")
def details(job: str, here: Here) -> Response:
    """One job."""
    return here.reply(shown(here, find(here, job)))


@router.delete("/jobs/{job}")
def kill(job: str, here: Here) -> Response:
    """Ask for the end of a job; its task is set aside when the cluster has reported the end."""
    here.caller.named()
    view = find(here, job)
    here.caller.must_own(view.job.campaign_id, view.user)
    with here.transaction() as session:
        marked = mark_jobs(session, [view.job.id], KillReason.USER)
    if not marked:
        view = find(here, job)
        if view.job.state in FINAL:
            raise refused(f"Job {view.job.id} has ended already ({view.job.state})")
        return here.done(f"Job {view.job.id} is being cancelled already")
    return here.done(f"Job {view.job.id} cancel event created")


@router.get("/jobs/{job}/stdout")
async def stdout(job: str, here: Here) -> Response:
    """What the job wrote to its standard output; with ?tail=N the last N lines."""
    return await _output(job, here, "stdout")


@router.get("/jobs/{job}/stderr")
async def stderr(job: str, here: Here) -> Response:
    """What the job wrote to its standard error; with ?tail=N the last N lines."""
    return await _output(job, here, "stderr")


@router.get("/jobs/{job}/cinfos")
async def cinfos(job: str, here: Here) -> Response:
    """The batch scheduler's own record of the job."""

    def fetch() -> Json:
        return outputs.record(here.engine, here.settings, _private(here, job, "cluster's record"))

    return here.reply(await here.asking(fetch))


async def _output(job: str, here: Context, which: outputs.Stream) -> Response:
    tail = here.number("tail", 0) or None

    def fetch() -> str:
        return outputs.fetch(here.engine, here.settings, _private(here, job, "output"), which, tail)

    return here.reply({"output": await here.asking(fetch)})


def find(here: Context, text: str) -> JobView:
    """The job with this id, if the caller may see it."""
    key = identifier(text, "job", MOST_BIG)
    with here.transaction() as session:
        view = jobs.job(session, key)
    if view is None or not here.sees(view.user):
        raise not_found(f"There is no job {key}: `gridstat -c CAMPAIGN -f` shows job ids")
    return view


def _private(here: Context, text: str, what: str) -> JobView:
    """A job whose owner or an administrator asks for what nobody else may see."""
    view = find(here, text)
    here.caller.named()
    if not here.caller.owns(view.user):
        raise forbidden(f"The {what} of job {view.job.id} is for {view.user} and administrators only")
    return view


def shown(here: Context, view: JobView) -> Json:
    """A job with all that is known of it."""
    links = [here.url.link("self", f"jobs/{view.job.id}"), here.url.link("parent", "jobs")]
    return facts(view) | {"links": links}


def facts(view: JobView) -> Json:
    """A job without links. return_code is the raw wait status; exit_status says what it means."""
    job = view.job
    return {
        "id": job.id,
        "param": view.line,
        "grid_user": view.user,
        "campaign_id": job.campaign_id,
        "param_id": job.task_id,
        "batch_id": None,
        "cluster_id": job.cluster_id,
        "cluster_name": view.cluster_name,
        "collect_id": None,
        "state": job.state.value,
        "return_code": job.exit_code,
        "exit_status": None if job.exit_code is None else describe(job.exit_code),
        "submission_time": moment(job.created_at),
        "start_time": moment(job.start_time),
        "stop_time": moment(job.stop_time),
        "node_name": job.node_name,
        "resources_used": job.resources_used,
        "remote_id": job.remote_id,
        "tag": None if job.kind is JobKind.TASK else job.kind.value,
        "runner_options": json.dumps({"besteffort": view.best_effort}),
        "outcome": job.outcome,
        "event_id": job.event_id,
    }
