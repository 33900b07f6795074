"""The way in, and how the grid was used."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from urllib.parse import urlencode

from fastapi import APIRouter, Response

from cigri.api.again import Route
from cigri.api.context import Context, Here
from cigri.api.errors import refused
from cigri.db.views import clusters

router = APIRouter(route_class=Route)


@router.get("/")
def links(here: Here) -> Response:
    """Where to begin."""
    link = here.url.link
    return here.reply(
        {
            "links": [
                link("self", ""),
                link("collection", "campaigns", "campaigns"),
                link("collection", "clusters", "clusters"),
                link("collection", "events", "events"),
                link("collection", "gridusage", "gridusage"),
                link("collection", "notifications", "notifications"),
                link("collection", "tokens", "tokens"),
                link("collection", "api_tokens", "api_tokens"),
            ]
        }
    )


@router.get("/gridusage")
def usage(here: Here) -> Response:
    """How the clusters were used, between two dates (unix seconds) or when it was looked at last."""
    first, last = (_date(here, name) for name in ("from", "to"))
    with here.transaction() as session:
        records, more = clusters.usage(session, first, last)
    items = [
        {
            "date": int(date.timestamp()),
            "clusters": [
                {
                    "cluster_name": name,
                    "cluster_id": record.cluster_id,
                    "max_resources": record.max_resources,
                    "used_resources": record.used_resources,
                    "used_by_cigri": record.used_by_cigri,
                    "unavailable_resources": record.unavailable_resources,
                }
                for record, name in group
            ],
        }
        for date, group in groupby(records, key=lambda row: row[0].date)
    ]
    query = here.request.query_params
    links = [here.url.link("self", "gridusage"), here.url.link("parent", "")]
    if more and records:
        rest = {"from": records[-1][0].date.timestamp(), "to": query.get("to", "")}
        links.append(here.url.link("next", f"gridusage?{urlencode(rest)}"))
    return here.reply(
        {
            "items": items,
            "from": query.get("from"),
            "to": query.get("to"),
            "total": len(items),
            "links": links,
        }
    )


def _date(here: Context, parameter: str) -> datetime | None:
    value = here.request.query_params.get(parameter)
    if not value:
        return None
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (ValueError, OverflowError, OSError):
        raise refused(f"{parameter} must be a date in unix seconds, not {value!r}") from None
