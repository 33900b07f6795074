"""Man pages of the commands, made of what --help says.

`python -m cigri.man_pages DIRECTORY` writes them into DIRECTORY/man1 and man8; `make install` does. Needs click-man.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
from click_man.man import ManPage

from cigri import __version__

ADMINISTRATORS = frozenset({"gridadmin", "cigri-almighty", "cigri-api"})
TRIED_OUT_WITH = "cigri-local"  # belongs to a checkout and is not installed


def pages() -> dict[str, str]:
    """The pages of all installed commands and their subcommands: path below the directory of manuals -> content."""
    found = {}
    for program in entry_points(group="console_scripts"):
        if program.module.startswith("cigri.") and program.name != TRIED_OUT_WITH:
            command = program.load()
            if isinstance(command, click.Command):
                section = 8 if program.name in ADMINISTRATORS else 1
                for context in _contexts(program.name, command):
                    name = context.command_path.replace(" ", "-")
                    found[f"man{section}/{name}.{section}"] = _page(context, section)
    return found


def _contexts(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A command and all below it that are shown."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            if not each.hidden:
                yield from _contexts(below, each, context)


def _page(context: click.Context, section: int) -> str:
    command = context.command
    page = ManPage(context.command_path)
    page.short_help = _safe(_summary(command))
    page.description = _safe(inspect.cleandoc(command.help or ""))
    page.synopsis = " ".join(command.collect_usage_pieces(context))
    records = [each.get_help_record(context) for each in command.get_params(context) if isinstance(each, click.Option)]
    page.options = [(option, _safe(words)) for option, words in filter(None, records)]
    if isinstance(command, click.Group):
        below = command.commands.items()
        page.commands = [(name, _safe(_summary(each))) for name, each in below if not each.hidden]
    _, text = str(page).split("\n", 1)
    name = context.command_path.replace(" ", "-").upper()
    text = f'.TH "{name}" "{section}" "{page.date}" "CiGri {__version__}" "CiGri"\n' + text
    text = text.replace("(1)\\fP", f"({section})\\fP")
    if command.epilog and (codes := command.epilog.removeprefix("Exit codes: ")) != command.epilog:
        text += f".SH EXIT STATUS\n{_safe(codes)}\n"
    return text


def _summary(command: click.Command) -> str:
    """The first sentence of its help, without the full stop."""
    return command.get_short_help_str(limit=200).removesuffix(".")


def _safe(text: str) -> str:
    """Text that roff prints as it is."""
    return re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\b\n", "").replace("\\", "\\e"))


def main() -> None:
    (folder,) = sys.argv[1:]
    for path, text in pages().items():
        file = Path(folder, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
