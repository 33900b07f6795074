"""gridnotify, as people and scripts use it."""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture
def empty(grid):
    grid.sql("TRUNCATE subscriptions CASCADE")
    return grid


def test_subscribe_list_and_unsubscribe_each_confirm_in_one_line(empty) -> None:
    """C6."""
    done = empty.run("gridnotify", "-m", "me@example.org")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "Subscribed: mail of low severity and above to me@example.org; but this grid sends no mail"
    )
    assert done.stdout.count("\n") == 1
    done = empty.run("gridnotify", "-w", "-", "-s", "high", stdin="https://chat.example.org/hooks/x\n")
    assert done.stdout == "Subscribed: webhook of high severity to https://chat.example.org/...7068169674f9.\n"
    assert empty.run("gridnotify", "-j", "me@jabber.example.org", "-s", "medium").returncode == 0
    assert empty.run("gridnotify", "-l").stdout == (
        "You have the following notification subscriptions:\n"
        " - mail on me@example.org with severity low\n"
        " - webhook on https://chat.example.org/...7068169674f9 with severity high\n"
        " - jabber on me@jabber.example.org with severity medium\n"
    )
    shown, code = empty.on_terminal("gridnotify", "-l", until="never")
    assert code == 0 and shown.startswith("mail: me@example.org (severity: low)\r\n")
    done = empty.run("gridnotify", "-u", "-m", "me@example.org")
    assert (done.returncode, done.stdout) == (0, "Unsubscribed: no more mail to me@example.org.\n")
    assert "me@example.org" not in empty.run("gridnotify", "-l").stdout
    assert json.loads(empty.run("gridnotify", "-d").stdout)["total"] == 2


def test_an_empty_list_says_what_to_type(empty) -> None:
    """On stderr when piped: the original prints nothing there."""
    done = empty.run("gridnotify", "--list")
    assert (done.stdout, done.stderr) == ("", "No subscriptions: gridnotify -m ADDRESS adds one.\n")


def test_verbose_says_what_is_asked_of_the_api(empty) -> None:
    """C6: but the URL of a webhook is not shown."""
    url = "https://chat.example.org/hooks/x"
    for arguments, request in ((("-w", url), "POST"), (("-u", "-w", url), "DELETE")):
        out, err = empty.start("gridnotify", "-v", *arguments).communicate(timeout=20)
        assert out.endswith(".\n") and url not in out
        assert re.fullmatch(rf"{request} /notifications/webhook: 20\d after \d+ ms\n", err)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "gridnotify -l"),
        (["-u"], 2, "which subscription"),
        (["-s", "huge", "-m", "a@b"], 2, "huge"),
        (["-u", "-s", "low", "-m", "a@b"], 2, "whatever its severity"),
        (["-w", "https://chat.example.org/...7068169674f9"], 1, "the whole web address"),
        (["-m", "nonsense"], 1, "a mail address like name@example.org"),
        (["-u", "-m", "not@there.org"], 1, "You have no subscription of mail to not@there.org"),
    ],
)
def test_what_goes_wrong_is_said_with_its_exit_code(empty, arguments, code, words) -> None:
    done = empty.run("gridnotify", *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert words in done.stderr
