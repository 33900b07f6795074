"""What JSON is, is read as json does; beyond it comments, odd escapes and repeated keys."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core import lenient_json
from cigri.errors import InvalidJDL

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values, st.booleans())
def test_json_reads_as_json(value, ascii_only):
    assert lenient_json.loads(json.dumps(value, ensure_ascii=ascii_only)) == (value, [])


@given(values)
def test_comments_change_nothing(value):
    text = json.dumps(value, indent=1)
    commented = "/* a \" */ // it's\n" + text + "// end"
    assert lenient_json.loads(commented) == (value, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\$HOME \x \\x \' \" \é \u0041"', "$HOME x \\x ' \" é A"),
        ('"// no /* comment */" // c', "// no /* comment */"),
        ('\ufeff{"a": /* "b": */ 1}', {"a": 1}),
        (r'"a\\\$b"', "a\\$b"),
        ("[1, 2]/**/", [1, 2]),
    ],
)
def test_leniencies(text, value):
    """J1."""
    assert lenient_json.loads(text)[0] == value


def test_of_repeated_keys_the_last_wins_with_a_warning():
    value, warnings = lenient_json.loads('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3, /**/ "a": 4}')
    assert value == {"a": 4, "b": {"c": 2}}
    assert warnings == [f'"{key}" stands here several times: the last one counts' for key in "ca"]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"a": 1,}', "line 1, column 9", "there is a comma too many before this bracket"),
        ('{\n  "a": tru\n}', "line 2, column 8", "not JSON: expecting value"),
        ('{\n  "a": "\\$\\x" // c\n  "b": 1}', "line 3, column 3", "not JSON: expecting ',' delimiter"),
        ('{"a": "\\$\\$" 5}', "line 1, column 14", "not JSON: expecting ',' delimiter"),
        ('{"a": "b\nc"}', "line 1, column 9", "a line ends or a control character stands inside a string"),
        ('{"a": ', "line 1, column 7", "the text ends too early: a quote or a bracket is not closed"),
        ("", "line 1, column 1", "the text ends too early: a quote or a bracket is not closed"),
        ("[" * 100000, "line 1, column 1", "brackets are nested too deeply"),
        ('{"a": NaN}', "line 1, column 1", "NaN is no number of JSON"),
        ("/* x", "line 1, column 1", "not JSON: expecting value"),
        ('{"a": 1} x', "line 1, column 10", "not JSON: extra data"),
    ],
)
def test_faults_name_line_and_column(text, path, message):
    with pytest.raises(InvalidJDL) as caught:
        lenient_json.loads(text)
    (fault,) = caught.value.faults
    assert (fault.path, fault.message) == (path, message)


def test_a_number_too_long_for_python_is_a_fault():
    with pytest.raises(InvalidJDL):
        lenient_json.loads("9" * 10000)


@given(st.text('{}[]",:/*\\ab1 \n'))
def test_garbage_is_a_fault_and_nothing_else(text):
    try:
        lenient_json.loads(text)
    except InvalidJDL as error:
        assert len(error.faults) == 1
