"""make bench: run every benchmark, one after the other; one table and one JSON file with all figures.

python tests/bench [NAME...]; a name is what follows bench_ in the names of the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from figures import BUILD, COLLECT, Figure, say, table

from cigri.local.postgres import find_bin

HERE = Path(__file__).parent
SEPARATE = {"large"}  # takes 40 GB of disk: make bench-large


def names(asked: list[str]) -> list[str]:
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    if unknown := set(asked) - set(known):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return asked or [name for name in known if name not in SEPARATE]


def run(name: str, collected: Path) -> bool:
    """Run one benchmark in a process of its own; whether it came to its end."""
    say(f"== {name}")
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, str(HERE / f"bench_{name}.py")], env={**os.environ, COLLECT: str(collected)}
    )
    say(f"   ({time.monotonic() - began:.0f} s{'' if ended.returncode == 0 else f', failed: {ended.returncode}'})")
    return ended.returncode == 0


def figure(record: dict[str, Any]) -> Figure:
    return Figure(**{name: record[name] for name in ("what", "value", "unit", "least", "most", "original")})


def machine() -> dict[str, Any]:
    """What figures of another run must have in common with these to be compared."""
    known = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in known.splitlines() if line.startswith("model name")]
    return {
        "processors": os.cpu_count(),
        "model": models[0] if models else platform.machine(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "postgresql": said(str(find_bin() / "postgres"), "--version"),
        "python": platform.python_version(),
        "commit": said("git", "describe", "--always", "--dirty"),
        "date": time.strftime("%Y-%m-%d"),
    }


def said(*command: str) -> str:
    """What a command printed; nothing where there is no such command, or nothing for it to say."""
    with contextlib.suppress(OSError):
        return subprocess.run(command, cwd=HERE, capture_output=True, text=True).stdout.strip()
    return ""


def main() -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    collected = BUILD / "collected.jsonl"
    collected.unlink(missing_ok=True)
    where = machine()
    failed = [name for name in names(sys.argv[1:]) if not run(name, collected)]
    records = [json.loads(line) for line in collected.read_text().splitlines()] if collected.exists() else []
    (BUILD / "figures.json").write_text(json.dumps({"machine": where, "figures": records}, indent=1) + "\n")
    by_bench: dict[str, list[Figure]] = defaultdict(list)
    for record in records:
        by_bench[record["bench"]].append(figure(record))
    text = "\n\n".join(table(title, found) for title, found in by_bench.items())
    (BUILD / "figures.txt").write_text(text + "\n")
    say(f"\n{text}\n\nwritten: {BUILD / 'figures.json'}, {BUILD / 'figures.txt'}")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
