"""Options that several commands have, each declared once."""

from __future__ import annotations

import re

import click


def identifier(text: str) -> str:
    """The id of a campaign or of a job."""
    text = text.strip()
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII):
        raise click.BadParameter(f"{text!r} is no id: a whole number is expected")
    return text


def identifiers(text: str) -> list[str]:
    """Ids between commas."""
    return [identifier(word) for word in text.split(",") if word.strip()]


dump = click.option("-d", "--dump", is_flag=True, help="Print the API's JSON.")
pretty = click.option("-p", "--pretty", is_flag=True, help="Indent the JSON.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Say on stderr what is asked of the API server.")
