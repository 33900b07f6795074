"""What is printed when somebody looks: tables, colours and bars. rich is imported by whoever imports this."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cigri.cli import output
from cigri.cli.output import Json

COLOURS = {"in_treatment": "green", "paused": "yellow", "cancelled": "red", "terminated": "cyan"}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def visible(value: object, style: str = "") -> Text:
    """Somebody's words, unable to move the cursor or to be read as markup."""
    return Text(CONTROL.sub("\N{REPLACEMENT CHARACTER}", output.text(value)), style=style)


def campaigns(found: Iterable[Json], *, header: bool) -> None:
    """The list of campaigns."""
    table = Table(box=None, show_header=header, header_style="bold", pad_edge=False)
    for title, side in (("Id", "right"), ("Name", "left"), ("User", "left"), ("Submitted", "left"), ("State", "left")):
        table.add_column(title, justify="right" if side == "right" else "left", overflow="ellipsis", no_wrap=True)
    table.add_column("Progress", no_wrap=True)
    table.add_column("", width=20)
    for campaign in found:
        state = campaign["state"]
        words = visible(state, COLOURS.get(state, ""))
        if campaign["has_events"]:
            words.append(" (events)", "bold red")
        table.add_row(
            str(campaign["id"]),
            visible(campaign["name"]),
            visible(campaign["user"]),
            output.date(campaign),
            words,
            output.progress(campaign),
            ProgressBar(total=max(1, campaign["total_jobs"]), completed=campaign["finished_jobs"], width=20),
        )
    if not table.row_count:
        Console(highlight=False).print(
            "No unfinished campaign. gridsub -f FILE submits one; gridstat ID shows one that has ended."
        )
        return
    Console().print(table)


def campaign(found: Json, stats: Json) -> None:
    """One campaign."""
    console, state = Console(highlight=False), found["state"]
    console.print(
        Text.assemble(("Campaign ", "bold"), (str(found["id"]), "bold"), "  ", visible(found["name"], "bold"))
    )
    words = visible(state, COLOURS.get(state, ""))
    if found["has_events"]:
        words.append(f" (events: gridstat -c {found['id']} -e)", "bold red")
    table = Table.grid(padding=(0, 2))
    table.add_row("  User", visible(found["user"]))
    table.add_row("  Submitted", output.date(found))
    table.add_row("  State", words)
    table.add_row("  Progress", output.progress(found))
    counts = ", ".join(f"{count} {name}" for name, count in found["tasks"].items() if count)
    table.add_row("  Tasks", counts or "none")
    for key, value in stats.items():
        table.add_row(f"  {key.replace('_', ' ').capitalize()}", output.statistic(key, value))
    console.print(table)
    console.print(ProgressBar(total=max(1, found["total_jobs"]), completed=found["finished_jobs"], width=60))
    console.print("\n")
    _clusters(console, found["clusters"].values())


def _clusters(console: Console, uses: Iterable[Json]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Cluster", "Running", "Queued"):
        table.add_column(title, justify="left" if title == "Cluster" else "right")
    for use in uses:
        table.add_row(visible(use["cluster_name"]), str(use["active_jobs"]), str(use["queued_jobs"]))
    console.print(table)


def events(found: Iterable[Json]) -> None:
    """Events, alike ones as one with a count."""
    console, empty = Console(highlight=False), True
    for event in found:
        empty = False
        head = Text.assemble((f"{event['id']} ", "bold"), (event["code"], "bold red"), f" ({event['state']})")
        where = f" on {event['cluster_name']}" if event["cluster_name"] else ""
        job = f" of job {event['job_id']}" if event["job_id"] else ""
        often = f", {output.often(event)}" if event["count"] > 1 else ""
        because = f" because of {event['parent']}" if event["parent"] else ""
        console.print(head, visible(f"{job}{where} at {output.moment(event['date_open'])}{often}{because}"))
        for line in (event["message"] or "").splitlines():
            console.print(Text("  "), visible(line), sep="")
        if event["waits_for"]:
            console.print(Text("  Waiting: ", "yellow"), visible(event["waits_for"]), sep="")
    if empty:
        console.print("No events!")


def waiting_bar() -> Progress:
    """A bar on stderr for campaigns that are waited for."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
