"""What all commands share: how they begin, how they fail, how they end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click

from cigri import __version__, logs
from cigri.client import ApiError, Client
from cigri.config import ClientSettings, load_client
from cigri.errors import CigriError

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

FAILED = 1
USAGE = 2
INTERRUPTED = 130
USUAL_CODES = "0 done; 1 not done, stderr says why; 2 wrong usage; 130 interrupted."


class GridCommand(click.Command):
    """A command that fails with one sentence, never with a traceback, and is quiet when its reader has gone."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        extra |= {"standalone_mode": False, "prog_name": self.name}
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            code = super().main(args, *rest, **extra)
            sys.stdout.flush()
        except click.UsageError as error:
            error.show()
            code = USAGE
        except click.ClickException as error:
            code = failed(error.format_message())
        except CigriError as error:
            code = failed(str(error))
        except BrokenPipeError:
            # Python flushes stdout once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except (KeyboardInterrupt, click.Abort):
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def failed(message: str) -> int:
    """Say what went wrong."""
    click.echo(message if message.startswith("Error") else f"Error: {message}", err=True)
    return FAILED


def grid_command(name: str, *, codes: str = USUAL_CODES) -> Callable[[F], click.Command]:
    """Declare a command with --version, -h and its exit codes in the help."""

    def declare(function: F) -> click.Command:
        versioned = click.version_option(__version__, message=f"{name} v%(version)s")(function)
        return click.command(
            name,
            cls=GridCommand,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            epilog=f"Exit codes: {codes}",
        )(versioned)

    return declare


def connect(*, verbose: bool = False) -> Client:
    """The client that the configuration describes, which logs where that says; `verbose`: requests on stderr, too."""
    settings = load_client()
    _log_to(settings)
    if verbose:
        logs.say("cigri.client")
    return Client(settings)


def _log_to(settings: ClientSettings) -> None:
    """A log that cannot be written keeps no command from its work."""
    try:
        logs.configure(settings.log_level, settings.log_file)
    except OSError as error:
        click.echo(f"Warning: {settings.log_file} (LOG_FILE) cannot be opened: {error.strerror}", err=True)
    for note in settings.notes:
        log.info("%s", note)


def each(things: Sequence[str], act: Callable[[str], str], what: str) -> int:
    """Do something to each, tell how it went; the exit code. `what`: e.g. "cancel campaign"."""
    code = 0
    for thing in things:
        try:
            click.echo(act(thing))
        except ApiError as error:
            if not hasattr(error, "status"):
                raise
            click.echo(f"Failed to {what} {thing}: {error}", err=True)
            code = FAILED
    return code


def on_terminal() -> bool:
    """Whether somebody looks at the output."""
    return sys.stdout.isatty()
