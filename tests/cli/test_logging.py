"""The logs of the commands: LOG_FILE and LOG_LEVEL of their configuration."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def configured(grid, tmp_path):
    """Run gridstat with these lines in the clients' file: stdout, stderr, exit code."""

    def gridstat(*lines):
        socket = grid.environ["CIGRICONFFILE"].replace("cigri.conf", "api.sock")
        file = tmp_path / "clients.conf"
        file.write_text("\n".join([f'API_SOCKET = "{socket}"', *lines, ""]))
        process = grid.start("gridstat", CIGRICLIENTCONFFILE=str(file))
        return *process.communicate(timeout=20), process.returncode

    return gridstat


def test_nothing_is_logged_when_nothing_is_asked_for(configured, tmp_path):
    out, err, code = configured(f'LOG_FILE = "{tmp_path}/log"')
    assert out.startswith("Campaign id Name") and (err, code) == ("", 0)
    assert (tmp_path / "log").read_text() == ""


def test_requests_are_logged_at_level_debug(configured, tmp_path):
    """K2."""
    log = tmp_path / "log"
    quiet = configured('LOG_LEVEL = "WARN"')
    assert configured(f'LOG_FILE = "{log}"', 'LOG_LEVEL = "DEBUG"') == quiet
    assert re.search(r" DEBUG cigri\.client\[\d+\] GET /campaigns: 200 after \d+ ms\n", log.read_text())
    out, err, code = configured('LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"')
    assert (out, code) == (quiet[0], 0) and "LOG_LEVEL again: it replaces line 2" in err and "GET /campaigns" in err


def test_a_log_that_cannot_be_opened_keeps_no_command_from_its_work(configured):
    out, err, code = configured('LOG_FILE = "/no/such/place/log"', 'LOG_LEVEL = "DEBUG"')
    assert out.startswith("Campaign id Name") and code == 0
    assert err == "Warning: /no/such/place/log (LOG_FILE) cannot be opened: No such file or directory\n"
