"""The tasks of a campaign: from params, a file of the user's, a number, or a stream."""

from __future__ import annotations

import pytest

from cigri.core import jdl, jdl_tasks
from cigri.errors import InvalidJDL


def faults(call) -> list[tuple[str, str]]:
    with pytest.raises(InvalidJDL) as caught:
        call()
    return [(fault.path, fault.message) for fault in caught.value.faults]


def lines(raw, **environ) -> list[str]:
    return list(jdl_tasks.lines(raw, environ))


def parse(raw, **options):
    whole = {"name": "n", "clusters": {"a": {}}, "exec_file": "run", **raw}
    return jdl.parse(whole, known_clusters={"a"}, default_resources="/core=1", default_walltime="1", **options)


def test_params():
    """J4."""
    assert lines({"PARAMS": ["a 1", 2, 2.5, "", "  x "]}) == ["a 1", "2", "2.5", "", "  x "]
    assert lines({"params": []}) == []


@pytest.mark.parametrize(("value", "count"), [(0, 0), (3, 3), ("2", 2)])
def test_nb_jobs(value, count):
    """J4."""
    assert lines({"nb_jobs": value, "params": None}) == [str(n) for n in range(count)]


@pytest.mark.parametrize("value", [-1, "x", 1.5, True, 10**8, []])
def test_nb_jobs_that_are_refused(value):
    assert faults(lambda: parse({"nb_jobs": value})) == [("nb_jobs", "must be a whole number from 0 to 10000000")]


def test_a_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "params.txt"
    path.write_bytes("\ufefffirst 1\r\n\n  second\u00a02 \t\n#third\n\x0cfour\x85th\u2028x".encode())
    expected = ["first 1", "second\u00a02", "#third", "four\x85th\u2028x"]
    assert lines({"param_file": str(path)}) == expected
    assert lines({"param_file": "{HOME}/params.txt"}, HOME=str(tmp_path)) == expected
    assert lines({"param_file": "${HOME}/params.txt"}, HOME=str(tmp_path)) == expected
    assert lines({"param_file": "$D/${N}.txt"}, D=str(tmp_path), N="params") == expected


def test_a_path_beginning_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p").write_text("x\n")
    assert list(jdl_tasks.lines({"param_file": "~/p"})) == ["x"]


def test_faults_in_a_file_name_their_lines(tmp_path):
    path = tmp_path / "p"
    path.write_text("good\n\nit's\n" + "bad \\\n" * 30 + "good\n")
    got: list[str] = []

    def read():
        for line in jdl_tasks.lines({"param_file": str(path)}, {}):
            got.append(line)

    found = faults(read)
    assert got == ["good", "good"]
    assert found[0] == (f"{path} line 3", "has a ' without its partner")
    assert found[1] == (f"{path} line 4", "ends with a backslash")
    assert found[-1] == ("params", "11 more lines have such faults") and len(found) == 21


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    assert faults(lambda: lines({"param_file": str(tmp_path / "none")})) == [
        ("param_file", "cannot be read: No such file or directory")
    ]
    assert faults(lambda: lines({"param_file": str(tmp_path / "binary")})) == [
        ("param_file", "is not a text file in UTF-8")
    ]
    assert faults(lambda: lines({"param_file": "$NOPE/x"})) == [("param_file", "the variable NOPE is not set")]
    assert faults(lambda: lines({"param_file": 5})) == [("param_file", "must be a path")]


def test_sources():
    """J4."""
    assert faults(lambda: lines({})) == [("params", "no tasks: give params, param_file or nb_jobs")]
    message = "tasks come from one source, not from param_file and nb_jobs"
    assert faults(lambda: lines({"param_file": "x", "nb_jobs": 1})) == [("param_file", message), ("nb_jobs", message)]
    assert jdl_tasks.without_sources({"Params": [], "name": "x", "nb_jobs": 1}) == {"name": "x"}


def test_the_server_opens_no_files(tmp_path):
    """J5."""
    path = tmp_path / "p"
    path.write_text("x\n")
    ((key, message),) = faults(lambda: parse({"param_file": str(path)}))
    assert key == "param_file" and "gridsub -f" in message


def test_faulty_params_are_told_with_the_rest():
    found = faults(lambda: parse({"params": ["ok", "it's", "a\nb", None, {"x": 1}, "n\0", "\ud800"], "max_jobs": -1}))
    assert found == [
        ("params[1]", "has a ' without its partner"),
        ("params[2]", "has a line break inside"),
        ("params[3]", "must be a string (or a number)"),
        ("params[4]", "must be a string (or a number)"),
        ("params[5]", "has a NUL character"),
        ("params[6]", "has half of a surrogate pair at character 1"),
        ("max_jobs", "must be a whole number of 1 or more"),
    ]
    assert faults(lambda: parse({"params": "x"})) == [("params", "must be an array of strings, one per task")]


def test_a_streamed_campaign_has_no_source_of_its_own():
    assert parse({}, streamed=True)[0].name == "n"
    assert faults(lambda: parse({"nb_jobs": 1}, streamed=True)) == [
        ("nb_jobs", "the tasks come in the lines that follow: leave it out")
    ]


def test_added_parameters():
    assert jdl_tasks.parameters(["a", 1]) == ["a", "1"]
    assert faults(lambda: jdl_tasks.parameters({"params": []}))[0][0] == "params"
