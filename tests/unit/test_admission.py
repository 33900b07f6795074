"""Admission rules: read when they change, tried in order, and refusing everything when one cannot be believed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cigri.admission import Broken, Context, Refuse, Rules

JDL = {"name": "x", "clusters": {"tiger": {"type": "best-effort"}, "lion": {"type": "best-effort"}}}
NORMAL = {"name": "x", "clusters": {"tiger": {"type": "normal"}, "lion": {"type": "best-effort"}}}


@pytest.fixture
def directory(tmp_path):
    place = tmp_path / "admission.d"
    place.mkdir(mode=0o755)
    return place


@pytest.fixture
def rules(directory):
    return Rules(str(directory))


def write(directory: Path, name: str, text: str, mode: int = 0o644) -> Path:
    file = directory / name
    file.write_text(text)
    file.chmod(mode)
    return file


def rule(*lines: str) -> str:
    return "\n".join(["def admit(jdl, user, context):", *(f"    {line}" for line in lines), ""])


def admit(rules, jdl=JDL, user="alice", **known):
    return rules.admit(jdl, user, Context(**{"tasks": 1, **known}))


def test_no_directory_and_no_rule_accept_everything(rules):
    assert admit(Rules("")) == JDL == admit(rules)


def test_rules_are_tried_in_order_and_see_what_those_before_changed(directory, rules):
    write(directory, "20-second.py", rule("jdl['name'] += '2'", "return jdl"))
    write(directory, "10-first.py", rule("return {**jdl, 'name': jdl['name'] + '1'}"))
    write(directory, "30-in-place.py", rule("jdl['name'] += '3'"))
    assert admit(rules)["name"] == "x123" and JDL["name"] == "x"


def test_refusing(directory, rules):
    write(directory, "10-no.py", rule("if user == 'bob':", "    raise Refuse('Not you, ' + user)"))
    write(directory, "20-named.py", "from cigri.admission import Refuse\n" + rule("raise Refuse('nobody')"))
    with pytest.raises(Refuse, match="Not you, bob"):
        admit(rules, user="bob")
    with pytest.raises(Refuse, match="^nobody$"):
        admit(rules)


def test_what_is_no_rule_is_left_alone(directory, rules):
    for name in ("README", ".10-x.py.swp", ".#10-x.py", "10-x.py~", "10-x.py.dpkg-old"):
        write(directory, name, "no Python at all", 0o666)
    (directory / "__pycache__").mkdir()
    assert admit(rules) == JDL


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("10-x.py", "def admit(:", "SyntaxError"),
        ("10-x.py", "import no_such_module", "ModuleNotFoundError"),
        ("10-x.py", "raise SystemExit(0)", "SystemExit"),
        ("10-x.py", "\0", "null bytes|SyntaxError"),
        ("10-x.py", "", "no function admit"),
        ("10-x.py", "admit = 7", "no function admit"),
        ("10-x.py", "def admit(jdl): pass", "no function admit"),
        ("10-x.py", "def admit(jdl, user, context): 1 / 0", "ZeroDivisionError"),
        ("10-x.py", "def admit(jdl, user, context): exit(1)", "SystemExit"),
        ("10-x.py", "def admit(jdl, user, context): return True", "neither None nor a JDL"),
        ("limits.py", rule("pass"), "two digits"),
        ("100-x.py", rule("pass"), "two digits"),
    ],
)
def test_a_broken_rule_refuses_everything(directory, rules, name, text, why):
    file = write(directory, name, text)
    write(directory, "99-good.py", rule("pass"))
    with pytest.raises(Broken, match=why) as caught:
        admit(rules)
    assert caught.value.file == file
    assert caught.value.told() == f"the grid's admission rules are broken, tell the administrator: {file}"
    with pytest.raises(Broken):
        admit(rules)
    file.unlink()
    assert admit(rules) == JDL


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_what_others_can_write_is_not_believed(directory, rules, mode):
    write(directory, "10-x.py", rule("pass"), mode)
    with pytest.raises(Broken, match="chmod go-w"):
        admit(rules)
    (directory / "10-x.py").chmod(0o640)
    assert admit(rules) == JDL


def test_nor_is_a_directory_that_others_can_write_nor_one_above(directory, rules):
    write(directory, "10-x.py", rule("pass"))
    assert admit(rules) == JDL
    for place in (directory, directory.parent):
        mode = place.stat().st_mode
        place.chmod(0o775)
        with pytest.raises(Broken, match=f"{place} can be written by others"):
            admit(rules)
        place.chmod(mode)
    assert admit(rules) == JDL


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_others_are_not_believed(directory, rules):
    file = write(directory, "10-x.py", rule("pass"))
    for place in (file, directory):
        os.chown(place, 12345, -1)
        with pytest.raises(Broken, match="belongs to uid 12345: chown root"):
            admit(rules)
        os.chown(place, 0, -1)
    assert admit(rules) == JDL


def test_links_and_pipes_are_not_followed(directory, rules, tmp_path):
    (directory / "10-x.py").symlink_to(write(tmp_path, "elsewhere.py", rule("pass")))
    with pytest.raises(Broken, match="symbolic link"):
        admit(rules)
    (directory / "10-x.py").unlink()
    os.mkfifo(directory / "10-x.py", 0o600)
    with pytest.raises(Broken, match="not a regular file"):
        admit(rules)


def test_a_directory_that_is_missing_refuses(directory, rules):
    directory.rmdir()
    with pytest.raises(Broken, match="No such file or directory"):
        admit(rules)
    assert admit(Rules("")) == JDL


def test_rules_are_read_again_when_they_change_only(directory, rules, tmp_path):
    counter = tmp_path / "loads"
    text = f"with open({str(counter)!r}, 'a') as file: file.write('x')\n" + rule("pass")
    write(directory, "10-x.py", text)
    for _ in range(3):
        admit(rules)
    assert counter.read_text() == "x"
    write(directory, "10-x.py", text + "# changed\n")
    admit(rules)
    write(directory, "20-no.py", rule("raise Refuse('no')"))
    with pytest.raises(Refuse):
        admit(rules)
    assert counter.read_text() == "xxx"


# --- the shipped ones


@pytest.fixture
def shipped(repository, directory):
    for file in sorted((repository / "etc/admission.d").glob("*.py")):
        write(directory, file.name, file.read_text())
    return Rules(str(directory))


def test_the_shipped_rules_let_ordinary_campaigns_through(shipped):
    assert [each.path.name for each in shipped.current()] == ["10-user-lists.py", "20-limits.py"]
    assert admit(shipped, tasks=10**6, unfinished=1000) == JDL


def test_user_lists(shipped, tmp_path, repository):
    """K7."""
    file = tmp_path / "user_lists"
    for _ in range(2):  # without a file; with the shipped one
        with pytest.raises(Refuse, match="not authorized to launch non best-effort jobs on cluster tiger!"):
            admit(shipped, NORMAL, user_lists_file=str(file))
        shutil.copyfile(repository / "etc/user_lists", file)
        file.chmod(0o644)
    write(tmp_path, "user_lists", '{"normal_authorized": {"tiger": ["alice"], "lion": ["bob"]}}')
    assert admit(shipped, NORMAL, user_lists_file=str(file)) == NORMAL
    with pytest.raises(Refuse):
        admit(shipped, NORMAL, "bob", user_lists_file=str(file))


def test_bad_user_lists_refuse_what_needs_them(shipped, tmp_path):
    for text, mode, why in (("{", 0o644, "line 1"), ("[]", 0o644, "JSON object"), ("{}", 0o666, "chmod go-w")):
        file = write(tmp_path, "user_lists", text, mode)
        with pytest.raises(Broken, match=why) as caught:
            admit(shipped, NORMAL, user_lists_file=str(file))
        assert caught.value.file == file
        assert admit(shipped, user_lists_file=str(file)) == JDL


def test_limits_name_themselves(shipped):
    limits = {"max_tasks": 100, "max_campaigns": 3, "administrators": ("root",)}
    assert admit(shipped, tasks=100, unfinished=2, **limits) == JDL
    with pytest.raises(Refuse, match=r"100 tasks here \(MAX_TASKS_PER_CAMPAIGN\), this one would have 101"):
        admit(shipped, tasks=101, **limits)
    with pytest.raises(Refuse, match=r"3 unfinished campaigns here \(MAX_CAMPAIGNS_PER_USER\), and you have 3"):
        admit(shipped, unfinished=3, **limits)
    assert admit(shipped, unfinished=3, opens=False, **limits) == JDL
    assert admit(shipped, user="root", tasks=101, unfinished=3, **limits) == JDL
