"""The tasks of a campaign. In the API's words: the campaign's jobs, each with parameters."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Response

from cigri.api import admission, submissions
from cigri.api.again import Route
from cigri.api.bodies import ArrivedBody
from cigri.api.context import MOST_BIG, Context, Here, identifier
from cigri.api.errors import ApiError, not_found
from cigri.api.replies import BLOCK, Json, stream
from cigri.api.routes.campaigns import full, own
from cigri.api.routes.jobs import facts
from cigri.db import campaigns as changes
from cigri.db.views import campaigns, jobs, tasks
from cigri.db.views.tasks import TaskView

router = APIRouter(route_class=Route)


@router.get("/campaigns/{campaign}/jobs")
def listing(campaign: str, here: Here) -> Response:
    """The tasks of a campaign, page by page, each with its newest try."""
    key = identifier(campaign, "campaign")
    limit, offset = here.page()
    with here.transaction() as session:
        here.check_visible(key, campaigns.owner(session, key))
        total = tasks.total(session, key)
        found = tasks.page(session, key, total, limit=limit, offset=offset)
    path = f"campaigns/{key}/jobs"
    links = here.page_links(path, f"campaigns/{key}", limit, offset, total)
    items = [shown(here, key, task) for task in found]
    return here.reply({"items": items, "total": total, "offset": offset, "limit": limit, "links": links})


@router.post("/campaigns/{campaign}/jobs")
def add(campaign: str, here: Here, body: ArrivedBody) -> Response:
    """More tasks: an array of parameters, or one JSON string a line. A campaign that had ended runs again."""
    key = own(here, campaign)
    wanted = submissions.read_tasks(body)
    idempotency = submissions.idempotency_key(here, body)
    user = here.caller.named()
    with here.transaction() as session:
        if idempotency is None or changes.answered(session, user, idempotency) is None:
            admission.admit_tasks(here, session, key, wanted.total)
            try:
                changes.add_tasks(session, key, wanted.lines(), wanted.total)
            except changes.WrongState as error:
                raise ApiError(409, f"{error}: submit a new campaign", title="Conflict") from error
            if idempotency:
                changes.remember(session, user, idempotency, key)
        content = full(here, key, session)
    return here.reply(content, 201, {"Location": here.url(f"campaigns/{key}")})


@router.get("/campaigns/{campaign}/jobs/finished")
def finished(campaign: str, here: Here) -> Response:
    """The tries that have ended."""
    key = identifier(campaign, "campaign")
    limit, after = here.longest(), here.number("after", 0)
    with here.transaction() as session:
        here.check_visible(key, campaigns.owner(session, key))
        last, more = jobs.last_of_page(session, key, after=after, limit=limit)
    links = here.links_after(f"campaigns/{key}/jobs/finished", f"campaigns/{key}/jobs", limit, last if more else None)
    return stream(here.request, {"links": links}, "items", _finished(here, key, after, last))


@router.get("/campaigns/{campaign}/jobs/{task}")
def details(campaign: str, task: str, here: Here) -> Response:
    """One task with all its tries."""
    key, task_id = identifier(campaign, "campaign"), identifier(task, "task", MOST_BIG)
    with here.transaction() as session:
        here.check_visible(key, campaigns.owner(session, key))
        view = tasks.task(session, key, task_id)
        tries = jobs.of_task(session, task_id)
    if view is None:
        raise not_found(f"Campaign {key} has no task {task_id}")
    path = f"campaigns/{key}/jobs"
    execution = [
        {
            "id": one.job.id,
            "cluster_id": one.job.cluster_id,
            "cluster_name": one.cluster_name,
            "state": one.job.state.value,
            "return_code": one.job.exit_code,
            "remote_id": one.job.remote_id,
        }
        for one in tries
    ]
    return here.reply(
        {
            "id": view.id,
            "name": view.name,
            "parameters": view.line,
            "state": view.state,
            "links": [here.url.link("self", f"{path}/{task_id}"), here.url.link("parent", path)],
            "execution": execution,
        }
    )


def shown(here: Context, campaign_id: int, task: TaskView) -> Json:
    """A task in short."""
    return {
        "id": task.id,
        "name": task.name,
        "parameters": task.line,
        "cluster": task.cluster,
        "cigri_job_id": task.job_id,
        "remote_id": task.remote_id,
        "state": task.state,
        "href": here.url(f"campaigns/{campaign_id}/jobs/{task.id}"),
    }


def _finished(here: Context, key: int, after: int, last: int) -> Iterator[Json]:
    more = True
    while more:
        with here.transaction() as session:
            block = jobs.finished(session, key, after=after, last=last, limit=BLOCK)
        for view in block:
            yield facts(view)
            after = view.job.id
        more = len(block) == BLOCK
