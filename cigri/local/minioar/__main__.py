"""python -m cigri.local.minioar: run a small OAR3-compatible cluster in the foreground."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import click

from cigri.errors import CigriError
from cigri.local.minioar.server import Settings, serve
from cigri.local.minioar.tokens import LIFETIME, Desk


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dir", "folder", type=click.Path(path_type=Path), required=True, help="Where its state is kept.")
@click.option("--slots", type=click.IntRange(1), required=True, help="How many resources it has.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="How many nodes share them.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on loopback; 0: any free one.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Every request must bring the word in this file, as `Authorization: Bearer WORD`.",
)
@click.option(
    "--jwt-secret-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Each user has a token, signed (HS256) with the word in this file, as on a real OAR3.",
)
@click.option("--jwt-lifetime", type=float, default=LIFETIME, show_default=True, help="Seconds of a renewed token.")
@click.option("--closed", is_flag=True, help="With tokens of users: ask for one at every request, as some sites do.")
@click.option("--round", "seconds", type=float, default=0.2, show_default=True, help="Seconds between two rounds.")
@click.option("--kill-jobs", is_flag=True, help="When stopped, end the running jobs as preempted ones.")
@click.option("--verbose", is_flag=True, help="Log every request.")
def minioar(
    folder: Path,
    slots: int,
    nodes: int,
    port: int,
    token_file: Path | None,
    jwt_secret_file: Path | None,
    jwt_lifetime: float,
    closed: bool,
    seconds: float,
    kill_jobs: bool,
    verbose: bool,
) -> None:
    """Run a small cluster that answers like OAR3 and runs each job as a process group of yours.

    It listens on loopback; its address is in DIR/url and its pid in DIR/pid once it does. SIGTERM stops it; jobs
    that run go on (but see --kill-jobs), and their ends are known when it is started again.
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s minioar: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    token = None if token_file is None else token_file.read_text().strip()
    desk = None if jwt_secret_file is None else Desk(jwt_secret_file.read_text().strip(), jwt_lifetime)
    if token is not None and desk is not None:
        raise click.UsageError("--token-file is one token for all, --jwt-secret-file one for each user: not both")
    settings = Settings(folder.absolute(), slots, min(nodes, slots), port, token, seconds, kill_jobs, desk, closed)
    try:
        asyncio.run(serve(settings))
    except CigriError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    minioar()
