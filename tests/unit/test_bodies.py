"""Bodies of a line per task: cut into lines, and what a glance at many of them takes for good."""

from __future__ import annotations

import io
from itertools import product

import pytest

from cigri.api.bodies import BLOCK, LINE_MOST, Body
from cigri.api.errors import ApiError
from cigri.api.submissions import EASY_LINES
from cigri.core.shell import check_line


def body(content: bytes) -> Body:
    return Body(io.BytesIO(content), len(content), "", is_lines=True)


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["no end", "an end"])
@pytest.mark.parametrize(
    "lines",
    [
        [b"a"],
        [b"a", b"", b"b"],
        [b"", b"", b"a"],
        [b"x" * BLOCK, b"y", b"z" * (BLOCK - 1), b"w" * (3 * BLOCK)],
        [b"%d" % number for number in range(100_000)],
    ],
    ids=["one", "empty between", "empty first", "long", "many"],
)
def test_lines_are_cut_where_they_end(lines, end):
    assert list(body(b"\n".join(lines) + end).lines()) == lines
    assert list(body(b"\r\n".join(lines) + b"\r" + end).lines()) == lines
    assert b"".join(body(b"\n".join(lines) + end).blocks()) == b"\n".join(lines) + end


def test_nothing_has_no_lines():
    assert list(body(b"").lines()) == []


def test_the_line_that_is_too_long_is_named():
    content = b"a\nb\n" + b"x" * (LINE_MOST + 1) + b"\nc\n"
    for short in (content, content[: LINE_MOST + 6]):
        with pytest.raises(ApiError, match="line 3 of the body"):
            list(body(short).lines())


def test_what_a_glance_takes_the_check_of_lines_takes():
    taken = 0
    for first, second in product(map(chr, range(256)), repeat=2):
        for line in (first, first + second, f"a {first}{second} b"):
            if EASY_LINES.fullmatch(b'"' + line.encode("latin-1") + b'"\n'):
                taken += 1
                assert check_line(line) is None, line
    assert taken > 10_000
