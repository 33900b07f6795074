"""Clusters."""

from __future__ import annotations

from fastapi import APIRouter, Response

from cigri.api import files
from cigri.api.again import Route
from cigri.api.context import Context, Here, identifier
from cigri.api.errors import not_found
from cigri.api.replies import Json
from cigri.db.views import clusters
from cigri.db.views.clusters import ClusterView

router = APIRouter(route_class=Route)


@router.get("/clusters")
def listing(here: Here) -> Response:
    """All clusters of the grid."""
    with here.transaction() as session:
        found = clusters.clusters(session)
    items = [
        {"id": view.cluster.id, "name": view.cluster.name, "links": _links(here, view.cluster.id)} for view in found
    ]
    links = [here.url.link("self", "clusters"), here.url.link("parent", "")]
    return here.reply({"items": items, "total": len(items), "links": links})


@router.get("/clusters/{cluster}")
def details(cluster: str, here: Here) -> Response:
    """One cluster, without what opens its door."""
    key = identifier(cluster, "cluster")
    with here.transaction() as session:
        view = clusters.cluster(session, key)
    if view is None:
        raise not_found(f"There is no cluster {key}: GET /clusters lists them")
    return here.reply(shown(here, view))


@router.delete("/clusters/{cluster}/{path:path}")
async def delete_file(cluster: str, path: str, here: Here) -> Response:
    """Delete a file of the caller on the cluster, as the caller: /clusters/1/home/me/file is its /home/me/file."""
    key, user = identifier(cluster, "cluster"), here.caller.named()
    whole = "/" + path.lstrip("/")

    def delete() -> None:
        with here.transaction() as session:
            login = files.login_of(session, user, key)
        files.delete(here.engine, here.settings, key, user, login, whole)

    await here.asking(delete)
    return here.done(f"File {whole} deleted")


def shown(here: Context, view: ClusterView) -> Json:
    """A cluster with all that may be told."""
    cluster = view.cluster
    limit = cluster.stress_factor or here.settings.stress_factor
    return {
        "id": cluster.id,
        "name": cluster.name,
        "api_url": cluster.api_url,
        "api_auth_type": cluster.api_auth_type,
        "api_auth_header": cluster.api_auth_header,
        "ssh_host": cluster.ssh_host or "",
        "batch": cluster.batch,
        "resource_unit": cluster.resource_unit,
        "power": cluster.power,
        "properties": cluster.properties,
        "api_chunk_size": cluster.api_chunk_size,
        "api_limit": cluster.api_limit,
        "enabled": cluster.enabled,
        "links": _links(here, cluster.id),
        "blacklisted": view.blacklisted,
        "under_stress": view.stress is not None and view.stress >= limit,
        "stress_factor": f"{view.stress or 0:g}/{limit:g}",
    }


def _links(here: Context, key: int) -> list[Json]:
    return [here.url.link("self", f"clusters/{key}"), here.url.link("parent", "clusters")]
