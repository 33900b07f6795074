"""What an administrator says of a cluster: each thing once, for `cluster add` and `cluster set`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from cigri.core import sensor

NONE = "none"


class LimitOrNone(click.ParamType):  # type: ignore[type-arg]
    """A number above 0, or `none`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == NONE:
            return NONE
        return click.FloatRange(min=0, min_open=True).convert(value, param, ctx)


class CountOrNone(click.ParamType):  # type: ignore[type-arg]
    """A whole number above 0, or `none`."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == NONE:
            return NONE
        return click.IntRange(1, 2**31 - 1).convert(value, param, ctx)


class SensorOrNone(click.ParamType):  # type: ignore[type-arg]
    """A command or a URL that tells a load, or `none`."""

    name = "command|url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == NONE:
            return NONE
        try:
            sensor.parse(value)
        except sensor.NotASensor as fault:
            self.fail(str(fault), param, ctx)
        return value


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the clusters table that an administrator sets. `none` empties an optional one."""

    column: str
    option: str
    type: click.ParamType[Any]
    help: str
    required: bool = False
    optional: bool = False


FIELDS = (
    Field("batch", "--batch", click.Choice(["oar3", "oar2_5", "g5k"]), "The batch scheduler.", required=True),
    Field("api_url", "--api-url", click.STRING, "URL of its REST API.", required=True),
    Field(
        "api_auth_type",
        "--auth",
        click.Choice(["none", "jwt", "cert", "password"]),
        "How the grid makes itself known: `none` is the identity header alone, `jwt` each user's own token (or one"
        " for all from --token-file), `password` HTTP basic, `cert` the certificate of the configuration.",
        required=True,
    ),
    Field("token_file", "--token-file", click.STRING, "File with one token for all, mode 0600 (jwt).", optional=True),
    Field("api_username", "--username", click.STRING, "The grid's name there (password).", optional=True),
    Field("api_auth_header", "--auth-header", click.STRING, "Header with the user's name [X-Remote-Ident]."),
    Field("resource_unit", "--resource-unit", click.STRING, "OAR property to count resources by [resource_id]."),
    Field("power", "--power", click.IntRange(min=1), "How fast a resource is, beside other clusters' [1]."),
    Field("properties", "--properties", click.STRING, "OAR properties that every job asks for.", optional=True),
    Field("stress_factor", "--stress-factor", LimitOrNone(), "Stress at which no new job comes.", optional=True),
    Field("max_jobs", "--max-jobs", CountOrNone(), "Most jobs of the grid there at a time.", optional=True),
    Field("max_per_minute", "--max-per-minute", CountOrNone(), "Most jobs sent there in a minute.", optional=True),
    Field(
        "load_sensor",
        "--load-sensor",
        SensorOrNone(),
        "Command (absolute path) or URL that tells the load of what the jobs there use, a file server for instance.",
        optional=True,
    ),
    Field("load_reference", "--load-reference", LimitOrNone(), "Load that it is kept at.", optional=True),
    Field("ssh_host", "--ssh-host", click.STRING, "Its front end, shown to users.", optional=True),
    Field("api_chunk_size", "--api-chunk-size", click.IntRange(1, 10000), "Most job ids in one request [100]."),
    Field("api_limit", "--api-limit", click.IntRange(min=1), "Records asked for first of a long list [100]."),
)

Command = Callable[..., Any]


def options(*, adding: bool) -> Callable[[Command], Command]:
    """The fields as options of a command."""

    def decorate(command: Command) -> Command:
        for field in reversed(FIELDS):
            command = click.option(
                field.option, field.column, type=field.type, required=adding and field.required, help=field.help
            )(command)
        return command

    return decorate


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that were named, as the table takes them."""
    return {
        field.column: _stored(field, values[field.column]) for field in FIELDS if values.get(field.column) is not None
    }


def assignments(pairs: tuple[str, ...], context: click.Context) -> dict[str, Any]:
    """KEY=VALUE arguments, where KEY is a column or the name of an option. Raises UsageError."""
    known = {field.column: field for field in FIELDS} | {_key(field.option): field for field in FIELDS}
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        field = known.get(_key(key))
        if not equals:
            raise click.UsageError(f"{pair} is not KEY=VALUE", context)
        if field is None:
            close = difflib.get_close_matches(_key(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(f.column for f in FIELDS)}"
            raise click.UsageError(f"{key} is nothing to set ({hint})", context)
        try:
            found[field.column] = field.type.convert(value, None, context)
        except click.BadParameter as error:
            raise click.UsageError(f"{key}: {error.message}", context) from None
    return found


def _key(word: str) -> str:
    return word.strip().lstrip("-").replace("-", "_").lower()


def _stored(field: Field, value: Any) -> Any:
    if field.optional and value in (NONE, ""):
        return "" if field.column == "properties" else None
    return value.rstrip("/") if field.column == "api_url" else value
