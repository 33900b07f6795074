"""Looking again and again: gridevents --follow, gridstat --watch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

import click

from cigri.cli import output, printing
from cigri.client import ApiError, ApiRefused, Client

PAUSE = 2.0
# Events get their numbers before others can see them: a lower one may come after a higher one.
LATE = 1000


def follow(client: Client, path: str, query: Mapping[str, object], *, dump: bool, verbose: bool) -> None:
    """Print events, then new ones as they come. Ends by an exception only."""
    seen: set[int] = set()

    def look() -> None:
        after = max(0, max(seen, default=0) - LATE)
        for event in printing.all_events(client, path, **query, after=after):
            if event["id"] not in seen:
                seen.add(event["id"])
                lines = [printing.as_json(event, pretty=False)] if dump else output.event_block(event, verbose=verbose)
                printing.write(lines)
        sys.stdout.flush()
        newest = max(seen, default=0)
        seen.difference_update([key for key in seen if key < newest - LATE])

    again(look)


def watch(draw: Callable[[], bool]) -> None:
    """Draw on a cleared terminal until it says that there is nothing more to come."""

    def look() -> bool:
        click.echo("\033[H\033[2J", nl=False, color=True)
        return draw()

    again(look)


def again(look: Callable[[], object]) -> None:
    """Look until it returns False; wait while the API server is away."""
    told = False
    while True:
        try:
            if look() is False:
                return
            told = False
        except ApiError as error:
            if isinstance(error, ApiRefused) and error.status not in (500, 503):
                raise
            if not told:
                told = True
                click.echo(f"{str(error).splitlines()[0]}; waiting for it", err=True)
        time.sleep(PAUSE)
