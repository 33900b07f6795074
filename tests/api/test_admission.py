"""Campaigns before the admission rules: refused with a sentence, changed as they say, never let through by a fault."""

from __future__ import annotations

import logging
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from cigri.db.engine import transaction
from cigri.db.tables import Campaign, Task

JDL = {"name": "test", "clusters": {"tiger": {"exec_file": "run"}}}


@pytest.fixture
def directory(tmp_path):
    place = tmp_path / "admission.d"
    place.mkdir(mode=0o755)
    return place


@pytest.fixture
def ruled(start, directory, repository):
    """A server with rules; `limits` are configuration keys."""

    def begin(*shipped, **limits):
        for name in shipped:
            write(directory, name, (repository / "etc/admission.d" / name).read_text())
        return start(admission_rules_directory=str(directory), **limits)

    return begin


def write(directory, name, text):
    file = directory / name
    file.write_text(text)
    file.chmod(0o644)
    return file


def rule(line):
    return f"def admit(jdl, user, context):\n    {line}\n"


def stored(engine, table=Campaign):
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(table))


def refusal(answer):
    told = answer.json()
    assert (answer.status, told["status"], told["title"]) == (400, 400, "Admission rule error")
    return told["message"]


def test_a_rule_refuses(ruled, directory, engine):
    """K7."""
    api = ruled()
    write(
        directory, "10-x.py", rule("if user == 'alice': raise Refuse(f'{context.tasks} tasks are too many, ' + user)")
    )
    for path in ("/campaigns", "/campaigns?dry_run"):
        assert refusal(api.ask("POST", path, JDL | {"nb_jobs": 3})) == "3 tasks are too many, alice"
    assert stored(engine) == 0 == stored(engine, Task)
    assert api.submit("a", user="bob")


def test_a_rule_changes_what_is_stored(ruled, directory):
    api = ruled()
    write(directory, "10-x.py", rule("jdl['clusters']['lion'] = {**jdl['clusters'].pop('tiger'), 'max_jobs': 7}"))
    write(directory, "20-x.py", rule("return {**jdl, '_site': sorted(jdl['clusters'])}"))
    dry = api.ask("POST", "/campaigns?dry_run", JDL | {"nb_jobs": 2}).json()
    key = api.submit("a", "b")
    found = api.get(f"/campaigns/{key}/jdl")
    assert found["params"] == ["a", "b"] and found["_site"] == ["lion"] and list(found["clusters"]) == ["lion"]
    assert (found["clusters"]["lion"]["exec_file"], found["clusters"]["lion"]["max_jobs"]) == ("run", 7)
    assert dry["jdl"] == {name: value for name, value in found.items() if name != "params"}
    assert [use["cluster_name"] for use in api.get(f"/campaigns/{key}")["clusters"].values()] == ["lion"]


def test_broken_rules_refuse_everything(ruled, directory, engine, caplog):
    api = ruled()
    key = api.submit("a")
    file = write(directory, "30-x.py", rule("return 1 / 0"))
    sentence = f"the grid's admission rules are broken, tell the administrator: {file}"
    with caplog.at_level(logging.ERROR):
        assert refusal(api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1})) == sentence
        assert refusal(api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1}, user="root")) == sentence
        assert refusal(api.ask("POST", f"/campaigns/{key}/jobs", ["b"])) == sentence
    assert "ZeroDivisionError" in caplog.text and str(file) in caplog.text
    file.chmod(0o666)
    assert refusal(api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1})) == sentence
    write(directory, "30-x.py", rule("jdl['clusters'] = {}"))
    assert str(directory) in refusal(api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1}))
    assert (stored(engine), stored(engine, Task)) == (1, 1)
    file.unlink()
    api.submit("b")


def test_a_missing_directory_refuses_and_is_told_at_the_start(start, tmp_path, caplog):
    with caplog.at_level(logging.ERROR):
        api = start(admission_rules_directory=str(tmp_path / "none"))
    assert "every campaign is refused" in caplog.text
    assert str(tmp_path / "none") in refusal(api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1}))


def test_the_cap_on_tasks_counts_those_that_are_added(ruled):
    api = ruled("20-limits.py", max_tasks_per_campaign=3)
    key = api.submit("a", "b")
    assert api.ask("POST", f"/campaigns/{key}/jobs", ["c"]).status == 201
    assert "would have 4" in refusal(api.ask("POST", f"/campaigns/{key}/jobs", ["d"]))
    assert api.get(f"/campaigns/{key}")["total_jobs"] == 3


def test_the_cap_on_campaigns_holds_for_many_at_once(ruled, engine):
    api = ruled("20-limits.py", max_campaigns_per_user=3)

    def submit(number):
        return api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1, "name": f"c{number}"}).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(submit, range(8))) == [201] * 3 + [400] * 5
    assert api.submit("a", user="bob"), "each user has a cap of their own"
    first = api.get("/campaigns")["items"][0]["id"]
    assert api.ask("POST", f"/campaigns/{first}/jobs", ["x"]).status == 201, "it is open already"
    api.ask("DELETE", f"/campaigns/{first}", user="boss")
    api.submit("again")


def test_who_may_submit_normal_jobs(ruled, tmp_path):
    """J11."""
    lists = write(tmp_path, "user_lists", '{"normal_authorized": {"tiger": ["bob"]}}')
    api = ruled("10-user-lists.py", user_lists_file=str(lists))
    normal = {"clusters": {"tiger": {"exec_file": "run", "type": "normal"}}}
    told = refusal(api.ask("POST", "/campaigns", JDL | normal | {"nb_jobs": 1}))
    assert told.startswith("You are not authorized to launch non best-effort jobs on cluster tiger!")
    api.submit("a")
    key = api.submit("a", user="bob", **normal)
    assert api.get(f"/campaigns/{key}/jdl")["clusters"]["tiger"]["type"] == "normal"
    write(tmp_path, "user_lists", "{}")
    assert api.ask("POST", f"/campaigns/{key}/jobs", ["b"], user="boss").status == 400, (
        "the owner counts, and is asked again"
    )


def test_test_mode_is_for_everybody_unless_a_rule_of_the_grid_says_otherwise(ruled, directory, repository):
    """J15: docs/admission.md has the exception, and the rule that takes it away."""
    api = ruled("10-user-lists.py")
    trial = {"clusters": {"tiger": {"exec_file": "run", "test_mode": "true"}}}
    api.submit("a", **trial)
    page = (repository / "docs/admission.md").read_text()
    found = page[page.index("    # 11-test-mode.py") : page.index("**20-limits.py**")]
    write(directory, "11-test-mode.py", textwrap.dedent(found))
    told = refusal(api.ask("POST", "/campaigns", JDL | trial | {"nb_jobs": 1}))
    assert told == "Jobs in test mode are not best-effort: you may not have them on cluster tiger"
    api.submit("a")


def test_a_request_that_is_sent_again_is_not_counted_twice(ruled):
    api = ruled("20-limits.py", max_campaigns_per_user=1)
    first, again = (
        api.ask("POST", "/campaigns", JDL | {"nb_jobs": 1}, Idempotency_Key="one").json()["id"] for _ in range(2)
    )
    assert first == again
