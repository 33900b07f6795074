"""Lines become commands that a real bash understands as the user meant, whatever the clusters do to them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from cigri.core import shell

ARGUMENTS = "import json, sys, os; print(json.dumps([sys.argv[1:], sys.stdin.read(), os.environ['CIGRI_JOB_ID'],"
ARGUMENTS += " os.environ['CIGRI_CAMPAIGN_ID'], os.environ['HOME'], os.environ['OAR_JOB_ID']]))"

SNIPPETS = [
    *"'\"`$\\#|&;<>(){}*?[]~!%= \t",
    "a",
    "b c",
    "-x",
    "$HOME",
    "${HOME}",
    "$(echo 1 2)",
    "`echo 3`",
    "'it'",
    '"a  b"',
    "\\'",
    "\\\\",
    "\\n",
    "é☃",
    "\r",
    "\x1b",
    "%jobid%",
    " #",
    "&&",
    "$'",
    "$((1+1))",
    "${x:-y}",
]
shell_text = st.lists(st.sampled_from(SNIPPETS), max_size=12).map("".join)


def oar3(command: str, line: str) -> str:
    """What OAR3 gives to the node's shell: $HOME replaced in the command, the rest as a perl string."""
    whole = f"{command.replace('$HOME', '/replaced/too/early')} {line}"
    assert "\\'" not in whole and not whole.endswith("\\"), "this job would kill its node"
    return whole.replace("\\\\", "\\")


def oar2(command: str, line: str) -> str:
    """What OAR2 gives to the node's shell: the line cut at #, the command expanded at submission."""
    assert "$" not in command and "`" not in command
    line = line.partition("#")[0].strip()
    assert line, "a blank line is no job"
    return f"{command} {line}"


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A command that prints its arguments, its standard input and some of its environment."""
    path = tmp_path_factory.mktemp("tool") / "tell"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S -c "{ARGUMENTS}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def run(command: str, home: str) -> tuple[int, str]:
    environment = {"PATH": os.environ["PATH"], "HOME": home, "OAR_JOB_ID": "99", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", command],
        input=b"typed",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=home,
        timeout=20,
    )
    return done.returncode, done.stdout.decode("utf-8", "surrogateescape")


def meant(exec_file: str, line: str) -> str:
    """The promise: bash -c "EXEC_FILE LINE", and a leading # is a character."""
    stripped = line.lstrip(" \t")
    if stripped.startswith("#"):
        line = "'#'" + stripped[1:]
    return f"export CIGRI_CAMPAIGN_ID=7 CIGRI_JOB_ID=123\n{exec_file} {line}"


@pytest.mark.parametrize("cluster", [oar3, oar2])
@pytest.mark.parametrize(
    "line",
    [
        "one two",
        "",
        "'a  b' \"c  d\" $HOME '$HOME' ${HOME}/x",
        "#leading hash # and a comment",
        "  #leading",
        "-leading --dash",
        "it\\'s",
        'a\\\\b \'c\\d\' "e\\"f"',
        "$(echo 1 2) `echo 3` $((1+2))",
        "é☃ \x1b \r tab\there",
        "%jobid% 100%",
        "* ? [a] {1,2} ~ ~/x",
        "$OAR_JOB_ID $CIGRI_JOB_ID $CIGRI_CAMPAIGN_ID",
        "'\"' \"'\"",
        "ends with backslash\\\\",
        "x" * 40000 + " é",
    ],
)
def test_a_task_gets_what_bash_makes_of_its_line(tool, tmp_path, cluster, line):
    assert shell.check_line(line) is None
    sent = cluster(shell.array_command(7), shell.command_line(123, tool, line))
    status, output = run(sent, str(tmp_path))
    assert (status, output) == run(meant(tool, line), str(tmp_path))
    assert json.loads(output)[1:4] == ["typed", "123", "7"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=shell_text, cluster=st.sampled_from([oar2, oar3]))
def test_any_line_survives_any_cluster(tool, tmp_path_factory, line, cluster):
    assume(shell.check_line(line) is None)
    assume("$$" not in line and not set("<>&|;") & set(line))  # no process ids, files, races
    home = str(tmp_path_factory.getbasetemp())
    sent = cluster(shell.array_command(7), shell.command_line(123, tool, line))
    status, output = run(meant(tool, line), home)
    got_status, got = run(sent, home)
    assert (got, bool(got_status)) == (output, bool(status))


@settings(max_examples=250, deadline=None)
@given(line=shell_text)
@example(line="'a")
@example(line="$(echo ')')")
@example(line='"$(echo \')")')
@example(line="${x:-it's}")
@example(line='"${x:-it\'s}"')
@example(line="a | # b")
@example(line="x 2>&1 >&- &>f |& cat")
@example(line="$$'\\'")
def test_what_is_refused_is_no_command_for_bash_either(line):
    fault = shell.check_line(line)
    assume(fault is not None and "backslash" not in fault)
    script = shell.script("x", line)
    checked = subprocess.run(["bash", "-n", "-c", script], capture_output=True, timeout=20)
    assert checked.returncode != 0 or b"unexpected end of file" in checked.stderr, fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a 'b", "has a ' without its partner"),
        ('a "b', 'has a " without its partner'),
        ("a `b", "has a ` without its partner"),
        ("a $(b", "has a $( without its )"),
        ('a "$(b)', 'has a " without its partner'),
        ("a ${b", "has a ${ without its }"),
        ("a $'b\\'", "has a $' without its partner"),
        ("#it's", "has a ' without its partner"),
        ("a \\", "ends with a backslash"),
        ("a |", "ends with |"),
        ("a && ", "ends with &&"),
        ("a >", "ends with >"),
        ("a\0b", "has a NUL character"),
        ("a\nb", "has a line break inside"),
        ("a \ud800", "has half of a surrogate pair at character 3"),
        ("é" * 40000, "is 80000 bytes long, more than 65536: put it in a file on the cluster"),
    ],
)
def test_impossible_lines_are_refused(line, fault):
    assert shell.check_line(line) == fault


@pytest.mark.parametrize(
    "line",
    [
        "",
        "it\\'s",
        "x #it's a comment",
        '"it\'s"',
        "a & ",
        "a | b > c 2>&1",
        "(a)",
        "case x in x) b;; esac",
        "$#",
        "a\\\\",
    ],
)
def test_possible_lines_are_accepted(line):
    assert shell.check_line(line) is None


@pytest.mark.parametrize("plain", ["a 1 2", "$HOME/run.sh 'a b' \"$X\" > out", "x `date` $(id) %jobid%"])
def test_plain_commands_travel_as_they_are(plain):
    assert shell.command_line(5, "exec", plain) == f"CIGRI_JOB_ID=5; exec {plain}"


@pytest.mark.parametrize("odd", ["a#b", "é", "a\tb", "\\'", "a\\", "\r", "x ", "\x7f"])
def test_what_clusters_mangle_travels_encoded(odd):
    command = shell.command_line(5, "exec", odd)
    assert command.isascii() and command.isprintable() and not set("\\#'") & set(command)
    code = command.partition("echo ")[2].partition("|")[0]
    assert base64.b64decode(code).decode() == f"exec {odd}"


@pytest.mark.parametrize("code", [0, 1, 3, 66, 127, 255])
@pytest.mark.parametrize("line", ["{}", "{} # é"])
def test_the_exit_status_comes_back(tmp_path, code, line):
    assert run(f"{shell.array_command(7)} {shell.command_line(1, 'exit', line.format(code))}", str(tmp_path))[0] == code


@pytest.mark.parametrize("missing", ["base64", "bash"])
def test_a_node_that_cannot_decode_fails_the_job(tmp_path, missing):
    for name in {"base64", "bash"} - {missing}:
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/bash", "-c", f"{shell.array_command(7)} {shell.command_line(1, 'echo', 'é')}"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
    )
    assert done.returncode == 127 and done.stdout == b""


def test_the_key_is_read_back_from_the_command_only_where_we_put_it():
    command = f"{shell.array_command(7)} {shell.command_line(123, 'run', 'CIGRI_JOB_ID=5; x')}"
    assert (shell.job_key(command), shell.campaign_of(command)) == (123, 7)
    for foreign in [
        "",
        "run 1",
        f" {command}",
        f"x; {command}",
        "export CIGRI_CAMPAIGN_ID=7 CIGRI_JOB_ID=12",
    ]:
        assert shell.job_key(foreign) is None and shell.campaign_of(foreign) is None
    assert shell.job_key("export CIGRI_CAMPAIGN_ID=7 CIGRI_JOB_ID=١; x") is None


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("", "is empty"),
        ("run 'x", "has a ' without its partner"),
        ("run # x", "has a comment: the parameters would become part of it"),
        ("a\nb", "has a line break inside"),
        ("x" * 16385, "is 16385 bytes long, more than 16384: put it in a file on the cluster"),
        ("cd x &&", None),
        ("#", "has a comment: the parameters would become part of it"),
        ("$HOME/run.sh --a 'b c'", None),
        ("cd x && ./run", None),
    ],
)
def test_exec_file_must_be_a_command(command, fault):
    assert shell.check_exec_file(command) == fault


def test_macros():
    """J8."""
    assert shell.expand_macros("{HOME}/x ~ {CAMPAIGN_ID}", 7) == "$HOME/x ~ 7"
    assert shell.expand_macros("~/x", 7) == "$HOME/x"
    assert shell.expand_macros("~", 7) == "$HOME"
    assert shell.expand_macros("~alice/x", 7) == "~alice/x"


def test_what_stands_after_a_dollar_is_no_macro():
    """J8."""
    assert shell.expand_macros("${HOME}/x ${CAMPAIGN_ID} \\${HOME} {HOME}", 7) == (
        "${HOME}/x ${CAMPAIGN_ID} \\${HOME} $HOME"
    )


def test_the_longest_task_still_fits_in_one_argument(tmp_path):
    exec_file, line = f"echo {'x' * (shell.LONGEST_COMMAND - 5)}", "é" * (shell.LONGEST // 2)
    assert shell.check_exec_file(exec_file) is shell.check_line(line) is None
    status, output = run(f"{shell.array_command(7)} {shell.command_line(1, exec_file, line)}", str(tmp_path))
    assert status == 0 and output.endswith("é\n") and len(output.encode()) > 80000
