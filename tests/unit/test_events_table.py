"""The table of events holds together, and the rest of the code uses no code that it lacks."""

from __future__ import annotations

import re

import pytest

from cigri.core import events
from cigri.core.events import MEANINGS, Heals, Scope, Severity
from cigri.core.telling import Telling, telling

# Codes that users of the original know, and that this program still gives.
KNOWN_TO_USERS = {
    "TIMEOUT", "CONNECTION_REFUSED", "CONNECTION_RESET", "CLUSTER_API_SERVER_ERROR", "RUNNER_SUBMIT_ERROR",
    "RUNNER_SUBMIT_TOO_LARGE", "EXIT_ERROR", "WORKING_DIRECTORY_ERROR", "UNKNOWN_ERROR", "USER_FRAG", "RESUBMIT",
    "RESUBMIT_END", "REMOTE_WAITING_FRAG", "UNDER_STRESS", "NEW_CAMPAIGN", "FINISHED_CAMPAIGN", "ALMIGHTY_STARTING",
}  # fmt: skip


def test_the_codes_that_users_know_are_there():
    """E12."""
    assert set(MEANINGS) >= KNOWN_TO_USERS


@pytest.mark.parametrize(
    ("severity", "codes"),
    [
        (Severity.LOW, {"NEW_CAMPAIGN"}),
        (Severity.MEDIUM, {"UNDER_STRESS", "CIGRI_WALLTIME"}),
        (Severity.HIGH, {"EXIT_ERROR", "FINISHED_CAMPAIGN", "USER_FRAG", "PAUSED", "RESUMED", "PURGE", "TIMEOUT",
                         "RUNNER_SUBMIT_ERROR", "ALMIGHTY_STARTING", "ALMIGHTY_TERMINATING", "JUDAS_FAILED"}),
    ],
)  # fmt: skip
def test_severities_are_those_of_the_original(severity, codes):
    """E13: who subscribed there goes on being told; TIMEOUT is as grave as the blacklist that comes with it."""
    told = {code for code, sense in MEANINGS.items() if telling(sense) is not Telling.NEVER}
    assert codes <= told and {MEANINGS[code].severity for code in codes} == {severity}


def test_an_unknown_code_is_a_bug_and_not_a_guess():
    with pytest.raises(KeyError):
        events.meaning("NO_SUCH_CODE")


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_meanings_make_sense(code):
    sense = MEANINGS[code]
    if sense.passing:
        assert sense.blacklists is None and sense.heals is None, "what is over keeps nobody waiting"
    if sense.blacklists is not None:
        assert sense.blacklists in (Scope.CLUSTER, Scope.CAMPAIGN) and sense.scope is sense.blacklists
    if sense.scope is Scope.CLUSTER and sense.blacklists and code != "CLUSTER_MANUALLY_DISABLED":
        assert sense.heals is Heals.WHEN_HEALTHY


def test_a_blacklist_is_caused_and_never_recorded_by_itself():
    assert events.BLACKLIST not in MEANINGS


def test_every_code_in_the_program_is_in_the_table(repository):
    used = {}
    for path in sorted((repository / "cigri").rglob("*.py")):
        for code in re.findall(r'News\(\s*"([A-Z_]+)"', path.read_text()):
            used.setdefault(code, path)
    assert used and {code: path for code, path in used.items() if code not in MEANINGS} == {}


def test_every_code_of_the_table_is_recorded_somewhere(repository):
    """E12: a code that is only in the table, the phrases or the translation of old ones promises what nobody does."""
    root = repository / "cigri"
    aside = [root / "core/events.py", root / "notify", root / "admin/cigri3"]
    files = [path for path in root.rglob("*.py") if not any(path.is_relative_to(one) for one in aside)]
    program = "\n".join(path.read_text() for path in files)
    assert [code for code in MEANINGS if not re.search(rf'"{code}"|\bOutcome\.{code}\b', program)] == []
