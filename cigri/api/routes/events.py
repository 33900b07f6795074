"""Events."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from cigri.api.context import MOST_BIG, Here, identifier
from cigri.api.errors import not_found
from cigri.api.replies import Json
from cigri.db.views import campaigns, events
from cigri.db.views.events import EventView

router = APIRouter()


@router.get("/campaigns/{campaign}/events")
def of_campaign(campaign: str, here: Here) -> Response:
    """Open events that matter to a campaign; with ?all its own, closed ones too."""
    key = identifier(campaign, "campaign")
    limit, offset = here.page()
    with here.transaction() as session:
        owner = here.check_visible(key, campaigns.owner(session, key))
        found, total = events.of_campaign(session, key, closed_too=here.given("all"), limit=limit, offset=offset)
    links = [
        here.url.link("self", f"campaigns/{key}/events"),
        here.url.link("parent", f"campaigns/{key}"),
    ]
    items = [shown(view, whole=here.caller.owns(owner)) for view in found]
    return here.reply({"items": items, "total": total, "offset": offset, "links": links})


@router.get("/events")
def of_grid(here: Here) -> Response:
    """Open events that belong to no campaign."""
    limit, offset = here.page()
    with here.transaction() as session:
        found, total = events.of_grid(session, limit=limit, offset=offset)
    links = [here.url.link("self", "events"), here.url.link("parent", "")]
    return here.reply({"items": [shown(view) for view in found], "total": total, "offset": offset, "links": links})


@router.get("/events/{event}")
def details(event: str, here: Here) -> Response:
    """One event."""
    key = identifier(event, "event", MOST_BIG)
    with here.transaction() as session:
        view = events.event(session, key)
        owner = None if view is None else _owner(session, view)
        if view is None or not (owner is None or here.sees(owner)):
            raise not_found(f"There is no event {key}")
    more = {
        "campaign_id": view.event.campaign_id,
        "date_closed": moment(view.event.date_closed),
        "links": [here.url.link("self", f"events/{key}"), here.url.link("parent", "events")],
    }
    return here.reply(shown(view, whole=owner is None or here.caller.owns(owner)) | more)


def _owner(session: Session, view: EventView) -> str | None:
    """Whom the event concerns; None: everybody."""
    if view.event.campaign_id is None:
        return view.event.grid_user
    return campaigns.owner(session, view.event.campaign_id)


def shown(view: EventView, *, whole: bool = True) -> Json:
    """An event; `count` alike things are one event, the newest of them at `date_last`.

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
        "date_last": moment(event.date_last),
    }


def moment(when: datetime | None) -> str | None:
    """A date as people of the API server's place read it, with the offset that makes it exact."""
    return None if when is None else when.astimezone().isoformat(" ", "seconds")
