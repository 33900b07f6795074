"""The shipped configuration files and docs/configuration.md, written from the table of keys.

`python -m cigri.config_pages DIRECTORY` writes them into a checkout; a test compares them with the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from cigri.config import ClientSettings, Key, Settings, keys

Kind = type[Settings] | type[ClientSettings]

HEADS = {
    Settings: """\
# cigri.conf: what the daemons, the API server and gridadmin read (CIGRICONFFILE names another file).
# Lines KEY = "value". Every key is here with its default; durations are seconds.
# With a password in it: chmod 640, group cigri.
""",
    ClientSettings: """\
# api-clients.conf: what the users' commands read (CIGRICLIENTCONFFILE names another file).
# Lines KEY = "value". Every key is here with its default; durations are seconds.
""",
}

PAGE = """\
# Configuration

Two files, both of lines `KEY = "value"`. What begins with `#` is a comment, the quotes may be left out, and of a
key that stands there twice the last counts, with a note in the log. An unknown key or a bad value stops the program
at its start, with file and line. Durations are seconds, fractions allowed. The files of the original CiGri 3 load
as they are.

A setting changes when the daemons are told to read the file again (`systemctl reload cigri`) or started anew.
`etc/cigri.conf` and `etc/api-clients.conf` in the source have every key with its default.

## Daemons, API server, gridadmin: `/etc/cigri/cigri.conf`

The environment variable `CIGRICONFFILE` names another file. The file must exist.

{daemons}
What differs from the original: `RUNNER_MIN_CYCLE_DURATION` is 2 seconds (15 there), since the database wakes the
daemons when there is work; the certificates of clusters are verified unless `REST_CLIENT_VERIFY_SSL` says no.
`API_HEADER_USERNAME = "HTTP_X_CIGRI_USER"` means the header `X-Cigri-User`, `OpenSSL::SSL::VERIFY_NONE` means no
verification, `FATAL` and `WARN` are known as levels. A key that is said to have no effect is known so that old files
load, and told once.

## The users' commands: `/etc/cigri/api-clients.conf`

They read the file that `CIGRICLIENTCONFFILE` names, else the one of `CIGRICONFFILE` if that has keys for clients
(its `LOG_FILE` and `LOG_LEVEL` are the daemons' and do not count), else `/etc/cigri/api-clients.conf`, else nothing:
the defaults reach an API server on the same machine.

{clients}"""


def written(entry: Key, value: object) -> str:
    """A value as a file has it."""
    if entry.name == "API_MAX_BODY":
        return "512M"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def sentence(entry: Key) -> str:
    example = f" For example: {entry.example}." if entry.example else ""
    effect = "" if entry.effect or "no effect" in entry.doc else " No effect in this version."
    return f"{entry.doc}{example}{effect}"


def example(kind: Kind) -> str:
    """The shipped file: every key with its default. What has no effect is commented out."""
    return "".join(pieces(kind))


def pieces(kind: Kind) -> Iterator[str]:
    yield HEADS[kind]
    for entry in keys(kind).values():
        if entry.section:
            yield f"\n## {entry.section}\n"
        yield f"\n# {sentence(entry)}\n"
        sign = "" if entry.effect and not (kind is ClientSettings and commented(entry)) else "#"
        yield f'{sign}{entry.name} = "{written(entry, entry.default)}"\n'


def commented(entry: Key) -> bool:
    """A host would switch the socket off."""
    return entry.name in ("API_HOST", "API_PORT")


def table(kind: Kind) -> str:
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for entry in keys(kind).values():
        if entry.section:
            rows.append(f"| **{entry.section}** | | |")
        default = written(entry, entry.default)
        rows.append(f"| {entry.name} | {f'`{default}`' if default else ''} | {sentence(entry)} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """docs/configuration.md."""
    return PAGE.format(daemons=table(Settings), clients=table(ClientSettings))


def pages() -> dict[str, str]:
    """Every generated file by its path in the source."""
    return {
        "etc/cigri.conf": example(Settings),
        "etc/api-clients.conf": example(ClientSettings),
        "docs/configuration.md": page(),
    }


def main() -> None:
    for path, content in pages().items():
        Path(sys.argv[1], path).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
