"""gridnotify, as people and scripts use it."""

from __future__ import annotations

import json

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
        "mail: me@example.org (severity: low)\n"
        "webhook: https://chat.example.org/...7068169674f9 (severity: high)\n"
        "jabber: me@jabber.example.org (severity: medium)\n"
    )
    done = empty.run("gridnotify", "-u", "-m", "me@example.org")
    assert (done.returncode, done.stdout) == (0, "Unsubscribed: no more mail to me@example.org.\n")
    assert "me@example.org" not in empty.run("gridnotify", "-l").stdout
    assert json.loads(empty.run("gridnotify", "-d").stdout)["total"] == 2


def test_an_empty_list_says_what_to_type(empty) -> None:
    assert empty.run("gridnotify", "--list").stdout == "No subscriptions: gridnotify -m ADDRESS adds one.\n"


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
