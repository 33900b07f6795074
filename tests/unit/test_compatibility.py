"""docs/compatibility.md and the tests name each other."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "compatibility.md"
ROW = re.compile(r"^\| ([JCREK]\d+) \|.*\| (.*?) \|$", re.MULTILINE)
NEVER_RAISED = ("E14", "E15", "E16", "E17", "E18", "E19", "E20")
NUMBERS = re.compile(r"^((?:[JCREK]\d+(?:, )?)+)[.:]")


def in_the_page() -> dict[str, set[str]]:
    """The tests that each row names; none for what differs."""
    return {row: set(re.findall(r"`([^`]+::[^`]+)`", tests)) for row, tests in ROW.findall(PAGE.read_text())}


def in_the_tests() -> dict[str, set[str]]:
    """The tests whose documentation begins with each number."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
                continue
            if numbers := NUMBERS.match(ast.get_docstring(node) or ""):
                for number in numbers[1].split(", "):
                    found[number].add(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def test_each_row_is_named_by_its_tests_and_each_number_has_a_row():
    page, tests = in_the_page(), in_the_tests()
    assert tests.keys() - page.keys() == set()
    for row, named in page.items():
        assert named or row in NEVER_RAISED, f"{row} has no test"
        assert named <= tests[row], f"{row}: {sorted(named - tests[row])} do not carry the number"


def test_rows_are_numbered_from_one():
    rows = list(in_the_page())
    for letter in "JCREK":
        numbers = [int(row[1:]) for row in rows if row[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1))
