"""Events: what happened, what waits for whom, and how it is closed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from cigri.api.again import Route
from cigri.api.bodies import ArrivedBody, Body
from cigri.api.context import MOST, MOST_BIG, Context, Here, identifier
from cigri.api.errors import forbidden, not_found, refused
from cigri.api.replies import Json
from cigri.core.events import BLACKLIST, Scope, waits_for
from cigri.core.states import EventState, JobState
from cigri.db import events as changes
from cigri.db import repair
from cigri.db.kills import KillReason, mark_jobs
from cigri.db.views import campaigns, clusters, events, jobs
from cigri.db.views.events import EventView

router = APIRouter(route_class=Route)

DISABLED = "CLUSTER_MANUALLY_DISABLED"
MANUAL = "MANUAL_EVENT"
ASKABLE = frozenset({"class", "code", "cluster_id", "job_id", "message"})


@router.get("/campaigns/{campaign}/events")
def of_campaign(campaign: str, here: Here) -> Response:
    """Open events that matter to a campaign; with ?all its own, closed ones too."""
    key = identifier(campaign, "campaign")
    (limit, offset), after = here.page(), here.number("after", 0)
    with here.transaction() as session:
        owner = here.check_visible(key, campaigns.owner(session, key))
        found, total = events.of_campaign(
            session, key, closed_too=here.given("all"), limit=limit, offset=offset, after=after
        )
    links = here.page_links(f"campaigns/{key}/events", f"campaigns/{key}", limit, offset, total)
    items = [shown(view, whole=here.caller.owns(owner)) for view in found]
    return here.reply({"items": items, "total": total, "limit": limit, "offset": offset, "links": links})


@router.delete("/campaigns/{campaign}/events")
def fix_all(campaign: str, here: Here) -> Response:
    """Close the open events of a campaign; with ?resubmit the tasks that they set aside are tried again."""
    key = identifier(campaign, "campaign")
    here.caller.named()
    with here.transaction() as session:
        here.caller.must_own(key, here.check_visible(key, campaigns.owner(session, key)))
        fixed = repair.fix(session, repair.open_events(session, key), resubmit=here.given("resubmit"))
    words = f"Campaign {key} events closed: {len(fixed.events)}"
    return _fixed(here, words, fixed)


@router.get("/events")
def of_grid(here: Here) -> Response:
    """Open events that belong to no campaign."""
    (limit, offset), after = here.page(), here.number("after", 0)
    with here.transaction() as session:
        found, total = events.of_grid(session, limit=limit, offset=offset, after=after)
    links = here.page_links("events", "", limit, offset, total)
    items = [shown(view) for view in found]
    return here.reply({"items": items, "total": total, "limit": limit, "offset": offset, "links": links})


@router.post("/events")
def create(here: Here, body: ArrivedBody) -> Response:
    """By an administrator: keep a cluster from getting jobs, or set a job aside."""
    if not here.caller.administrator:
        raise forbidden(f"Only administrators may create an event, and {here.caller.named()} is none")
    asked = _asked(body)
    code = asked.get("code")
    _check_class(asked)
    if code in (DISABLED, BLACKLIST):
        return _blacklist(here, _number(asked, "cluster_id", MOST), _words(asked))
    if code == MANUAL:
        return _set_aside(here, _number(asked, "job_id", MOST_BIG), _words(asked))
    raise refused(f"code must be {DISABLED} (or {BLACKLIST}) with a cluster_id, or {MANUAL} with a job_id")


@router.get("/events/{event}")
def details(event: str, here: Here) -> Response:
    """One event."""
    key = identifier(event, "event", MOST_BIG)
    with here.transaction() as session:
        view = _find(here, session, key)
        owner = _owner(session, view)
    more = {
        "campaign_id": view.event.campaign_id,
        "date_closed": moment(view.event.date_closed),
        "links": [here.url.link("self", f"events/{key}"), here.url.link("parent", "events")],
    }
    return here.reply(shown(view, whole=owner is None or here.caller.owns(owner)) | more)


@router.delete("/events/{event}")
def fix(event: str, here: Here) -> Response:
    """Close an event and the blacklist that it caused; with ?resubmit the tasks that it set aside are tried again."""
    key = identifier(event, "event", MOST_BIG)
    here.caller.named()
    with here.transaction() as session:
        view = _find(here, session, key)
        _check_fixable(here, view, _owner(session, view))
        fixed = repair.fix(session, [key], resubmit=here.given("resubmit"))
    return _fixed(here, f"Event {key} closed" if key in fixed.events else f"Event {key} was closed already", fixed)


def _fixed(here: Context, words: str, fixed: repair.Fixed) -> Response:
    if here.given("resubmit"):
        words += f", {fixed.tasks} {'task' if fixed.tasks == 1 else 'tasks'} to be run again"
    return here.done(words, events=len(fixed.events), tasks=fixed.tasks)


def _find(here: Context, session: Session, key: int) -> EventView:
    """The event, if the caller may see it."""
    view = events.event(session, key)
    owner = None if view is None else _owner(session, view)
    if view is None or not (owner is None or here.sees(owner)):
        raise not_found(f"There is no event {key}")
    return view


def _owner(session: Session, view: EventView) -> str | None:
    """Whom the event concerns; None: everybody."""
    if view.event.campaign_id is None:
        return view.event.grid_user
    return campaigns.owner(session, view.event.campaign_id)


def _check_fixable(here: Context, view: EventView, owner: str | None) -> None:
    event = view.event
    if event.campaign_id is not None:
        here.caller.must_own(event.campaign_id, owner or "")
    elif not here.caller.owns(owner or ""):
        raise forbidden(f"Event {event.id} belongs to no campaign of yours: administrators may close it")
    if event.code == BLACKLIST and view.source is not None and view.source.state is EventState.OPEN:
        raise refused(f"Blacklist {event.id} goes with its cause: close event {event.parent} ({view.source.code})")


def _asked(body: Body) -> dict[str, Any]:
    try:
        found = json.loads(body.text())
    except (ValueError, RecursionError) as error:
        raise refused(f"The body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise refused(f'The body must be a JSON object: {{"code": "{DISABLED}", "cluster_id": 1}}')
    if strange := found.keys() - ASKABLE:
        raise refused(f"An event has {', '.join(sorted(ASKABLE))}, not {min(strange)[:40]!r}")
    return found


def _check_class(asked: dict[str, Any]) -> None:
    """Refuse a class that is not the code's."""
    right = {DISABLED: Scope.CLUSTER, BLACKLIST: Scope.CLUSTER, MANUAL: Scope.JOB}.get(str(asked.get("code")))
    if right is not None and asked.get("class") not in (None, right):
        raise refused(f"class must be {right} with {asked['code']} (or left out), not {str(asked['class'])[:40]!r}")


def _words(asked: dict[str, Any]) -> str | None:
    """The message. What JSON can say and the database cannot is shown as a question mark."""
    message = asked.get("message")
    if message is not None and not isinstance(message, str):
        raise refused("message must be a sentence for the users")
    found = (message or "")[: changes.MESSAGE_LENGTH].replace("\0", "?").strip()
    return found.encode("utf-8", "replace").decode() or None


def _number(asked: dict[str, Any], key: str, most: int) -> int:
    value = asked.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise refused(f"{key} must be the number of a {key.removesuffix('_id')}, not {str(value)[:40]!r}")
    return value


def _blacklist(here: Context, cluster_id: int, message: str | None) -> Response:
    with here.transaction() as session:
        view = clusters.cluster(session, cluster_id)
        if view is None:
            raise refused(f"There is no cluster {cluster_id}: GET /clusters lists them")
        words = message or f"Disabled by {here.caller.name}, an administrator of the grid"
        key = changes.record(session, changes.News(DISABLED, words, cluster_id=cluster_id))
    told = f"New event created: cluster {view.cluster.name} gets no new jobs until event {key} is closed"
    return _created(here, told, {"id": key}, f"events/{key}")


def _set_aside(here: Context, job_id: int, message: str | None) -> Response:
    """Its event is opened, with the message, when the cluster has reported its end: till then it may still succeed."""
    with here.transaction() as session:
        marked = mark_jobs(session, [job_id], KillReason.MANUAL, message)
        view = jobs.job(session, job_id)
    if view is None:
        raise refused(f"There is no job {job_id}")
    if not marked:
        _refuse_to_set_aside(view.job.id, view.job.state)
    told = f"Job {job_id} is being ended; event {MANUAL} is there when its cluster has reported the end"
    return _created(here, told, {"job_id": job_id}, f"jobs/{job_id}")


def _refuse_to_set_aside(job_id: int, state: JobState) -> NoReturn:
    why = {JobState.TERMINATED: "has succeeded", JobState.EVENT: "has ended, and was set aside or tried again"}
    raise refused(f"Job {job_id} {why.get(state, 'is being ended already')}: there is nothing to set aside")


def _created(here: Context, message: str, more: Json, path: str) -> Response:
    content = {"status": 201, "title": "Created", "message": message, **more}
    return here.reply(content, 201, {"Location": here.url(path)})


def shown(view: EventView, *, whole: bool = True) -> Json:
    """An event: `count` alike things are one, from job_id to last_job_id, the newest at `date_last`.

    What follows the first line of a message is a job's output: left out unless the event is shown whole.
    """
    event = view.event
    return {
        "id": event.id,
        "class": event.class_.value,
        "code": event.code,
        "job_id": event.job_id,
        "cluster_id": event.cluster_id,
        "cluster_name": view.cluster_name,
        "date_open": moment(event.date_open),
        "message": event.message if whole else event.message.partition("\n")[0],
        "parent": event.parent,
        "state": event.state.value,
        "count": event.count,
        "last_job_id": event.last_job_id,
        "date_last": moment(event.date_last),
        "waits_for": _waits_for(view),
    }


def _waits_for(view: EventView) -> str | None:
    """Of an open event: what ends it."""
    event = view.event
    if event.state is EventState.CLOSED:
        return None
    cause = view.source if event.code == BLACKLIST and view.source is not None else event
    return waits_for(cause.id, cause.code, of_campaign=cause.campaign_id is not None, probe_at=cause.probe_at)


def moment(when: datetime | None) -> str | None:
    """A date of the API server's place in one word, with the offset that makes it exact."""
    return None if when is None else when.astimezone().isoformat("T", "seconds")


def readable(when: datetime) -> str:
    """A date in a sentence."""
    return when.astimezone().isoformat(" ", "seconds")
