"""Raw wait statuses in words; compared with what real processes leave."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cigri.core import exit_status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "no exit status known"),
        (0, "exit code 0"),
        (256, "exit code 1"),
        (9, "killed by signal 9 (SIGKILL, often out of memory)"),
        (15, "killed by signal 15 (SIGTERM)"),
        (139, "killed by signal 11 (SIGSEGV, a fault of the program), core dumped"),
        (32512, "exit code 127 (command not found: does exec_file exist on the cluster?)"),
        (32256, "exit code 126 (the command was found but cannot be executed: is it chmod +x?)"),
        (137 << 8, "exit code 137 (its last command was killed by signal 9 (SIGKILL, often out of memory))"),
        (65280, "exit code 255"),
        (63, "killed by signal 63"),
    ],
)
def test_words(status, words):
    assert exit_status.describe(status) == words


@pytest.mark.parametrize(
    ("script", "code", "number"), [("exit 3", 3, None), ("kill -9 $$", None, 9), ("exit 255", 255, None)]
)
def test_real_processes(script, code, number):
    waiter = "import os, sys; print(os.waitpid(os.spawnlp(os.P_NOWAIT, 'sh', 'sh', '-c', sys.argv[1]), 0)[1])"
    done = subprocess.run([sys.executable, "-c", waiter, script], capture_output=True, text=True, env=os.environ)
    status = int(done.stdout)
    assert (exit_status.exit_code(status), exit_status.ending_signal(status)) == (code, number)
