"""Secrets that a command is given: out of what `ps` shows, or typed unseen."""

from __future__ import annotations

import sys

import click

TYPED = "-"  # in place of the secret: it comes from the terminal or a pipe


def given(option: str | None, prompt: str) -> str | None:
    """The value of an option that holds a secret; TYPED reads it. What was on the command line is hidden at once."""
    if option is None:
        return None
    if option == TYPED:
        return str(click.prompt(prompt, hide_input=True, err=True)) if sys.stdin.isatty() else sys.stdin.read().strip()
    from setproctitle import setproctitle

    setproctitle(click.get_current_context().info_name or "grid")
    return option
