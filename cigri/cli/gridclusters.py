"""gridclusters: the clusters of the grid."""

from __future__ import annotations

import json
from typing import Any

import click

from cigri.cli import options, output
from cigri.cli.command import connect, grid_command
from cigri.client import Client


@grid_command("gridclusters")
@click.option("-i", "--infos", is_flag=True, help="Where each is, and how it does.")
@click.option("-I", "--more_infos", is_flag=True, help="Everything about each.")
@click.option("-u", "--usage", is_flag=True, help="How its resources are used (implies -i).")
@click.option("-b", "--bars", is_flag=True, help="The same as coloured bars (implies -i -u).")
@options.dump
@options.pretty
def gridclusters(infos: bool, more_infos: bool, usage: bool, bars: bool, dump: bool, pretty: bool) -> None:
    """Show the clusters of the grid."""
    usage = usage or bars
    client = connect()
    found = client.get("/clusters")
    detailed = infos or more_infos or usage
    details = [client.get(f"/clusters/{one['id']}") if detailed else None for one in found["items"]]
    records = _usage(client) if usage else {}
    if dump:
        shown = [more | {"usage": records.get(more["id"])} if usage else more for more in details if more is not None]
        chosen = shown if detailed else found
        click.echo(json.dumps(chosen, ensure_ascii=False, indent=2 if pretty else None))
        return
    for summary, more in sorted(zip(found["items"], details, strict=True), key=lambda pair: pair[0]["id"]):
        line = output.cluster(summary, more, everything=more_infos)
        if usage and more is not None:
            line += (output.bar if bars else output.usage)(records.get(summary["id"]), more)
        click.echo(line, color=True)
    if bars:
        click.echo(output.legend(), color=True)


def _usage(client: Client) -> dict[int, Any]:
    """The newest record of each cluster by its id."""
    items = client.get("/gridusage")["items"]
    return {record["cluster_id"]: record for record in (items[-1]["clusters"] if items else [])}


if __name__ == "__main__":
    gridclusters()
