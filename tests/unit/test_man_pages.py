"""The man pages say what --help says, and roff has nothing against them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from cigri import man_pages
from cigri.admin.gridadmin import gridadmin
from cigri.cli.gridsub import gridsub

PAGES = man_pages.pages()


def plain(text: str) -> str:
    return text.replace("\\-", "-").replace("\\fB", "").replace("\\fP", "").replace("\\&", "")


def test_every_command_has_a_page_in_its_section():
    users = {"gridsub", "gridstat", "griddel", "gridevents", "gridclusters", "gridcluster", "gridnotify", "gridtoken"}
    assert {f"man1/{name}.1" for name in users | {"gridclean"}} <= PAGES.keys()
    assert {"man8/gridadmin.8", "man8/cigri-almighty.8", "man8/cigri-api.8"} <= PAGES.keys()
    assert {f"man8/gridadmin-{name}.8" for name in gridadmin.commands} <= PAGES.keys()
    assert "man8/gridadmin-cluster-add.8" in PAGES and not any("cigri-local" in path for path in PAGES)


def test_every_option_and_the_exit_codes_are_there():
    page = plain(PAGES["man1/gridsub.1"])
    for option in gridsub.params:
        assert all(word in page for word in option.opts if word.startswith("-")), option
    assert "gridsub - Submit the campaigns that JDL files describe" in page and "\n.SH EXIT STATUS\n0 done" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("path", PAGES)
def test_roff_prints_them_without_a_warning(path):
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii"], input=PAGES[path], capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and "SYNOPSIS" in re.sub(".\b", "", done.stdout)
