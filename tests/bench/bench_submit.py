"""gridsub of a million parameters: how long it takes, and what client and server use.

python tests/bench/bench_submit.py [PARAMETERS]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from asking import configuration, serving
from figures import TOP, Figure, report, say
from measured_grid import peak

from cigri.db.migrate import migrate
from cigri.local.postgres import EmbeddedPostgres


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(what: str, environ: dict[str, str], *command: str) -> float:
    """Run a command of the grid and tell its time and memory; the seconds that it took. Raises CalledProcessError."""
    began, before = time.monotonic(), processor()
    with subprocess.Popen([sys.executable, "-m", *command], env=environ, stdout=subprocess.PIPE, cwd=TOP) as process:
        assert process.stdout is not None
        lines = process.stdout.read().decode().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.monotonic() - began
    last = lines[-1][:70] if lines else ""
    say(f"{what}: {seconds:.2f} s, {processor() - before:.2f} s of processor, {usage.ru_maxrss // 1024} MB: {last}")
    return seconds


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name, EmbeddedPostgres(None, durable=True, die_with_parent=True) as server:
        folder = Path(name)
        migrate(server.conninfo)
        with psycopg.connect(server.conninfo) as connection:
            connection.execute(
                "INSERT INTO clusters (name, api_url, api_auth_type, batch) VALUES ('c', 'http://c', 'none', 'oar3')"
            )
        (folder / "params").write_text("".join(f"task{i} --seed {i}\n" for i in range(count)))
        (folder / "jdl").write_text(
            f'{{"name": "bench", "param_file": "{folder}/params", "clusters": {{"c": {{"exec_file": "run"}}}}}}'
        )
        environ = configuration(folder, server.conninfo)
        with serving(folder, environ) as api:
            took = run(f"gridsub of {count}", environ, "cigri.cli.gridsub", "-f", str(folder / "jdl"))
            largest = peak(api)
            say(f"the server has used {largest:.0f} MB")
            run("gridstat", environ, "cigri.cli.gridstat")
            run("gridstat -c 1", environ, "cigri.cli.gridstat", "-c", "1")
            run("gridstat -f at the end", environ, "cigri.cli.gridstat", "1", "-f", "-o", str(max(0, count - 1000)))
            run("gridstat -J", environ, "cigri.cli.gridstat", "1", "-J")
            run("griddel", environ, "cigri.cli.griddel", "1")
            say(f"the server has used {peak(api):.0f} MB")
    most = 10.0 if count == 1_000_000 else None
    report(
        "A large campaign is submitted",
        [
            Figure(f"gridsub of {count} tasks, end to end", took, "s", most=most),
            Figure("memory of the API server after it", largest, "MB"),
        ],
    )


if __name__ == "__main__":
    main()
