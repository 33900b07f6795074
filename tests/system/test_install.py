"""`make install` in a DESTDIR: the grid runs from there as user cigri, and other users reach it over the socket."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cigri.local.minioar.launch import Minioar
from cigri.local.postgres import EmbeddedPostgres

SYSTEM_PYTHON = "/usr/bin/python3"


def usable_python() -> bool:
    """Whether the machine has a Python that every account may run."""
    code = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    return os.path.exists(SYSTEM_PYTHON) and not subprocess.run([SYSTEM_PYTHON, "-c", code], check=False).returncode


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners are part of it"),
    pytest.mark.skipif(not usable_python(), reason="needs Debian's python3 and python3-venv"),
    pytest.mark.timeout(300),
]


def make(repository: Path, target: str, folder: Path) -> str:
    words = ["make", "-C", str(repository), target, f"DESTDIR={folder}", "PREFIX=/usr", f"PYTHON={SYSTEM_PYTHON}"]
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def account() -> Iterator[str]:
    """The account that the daemons run as."""
    try:
        pwd.getpwnam("cigri")
        made = False
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "cigri"]
        subprocess.run(command, check=True)
        made = True
    yield "cigri"
    if made:
        subprocess.run(["userdel", "cigri"], check=False, capture_output=True)


@pytest.fixture(scope="module")
def installed(repository: Path, account: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cigri-dest-"))
    folder.chmod(0o755)
    make(repository, "install", folder)
    yield folder
    shutil.rmtree(folder)


def run_as(user: str, environment: dict[str, str], *words: object) -> str:
    """The output of a program run by another account."""
    account = pwd.getpwnam(user)
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def until(done: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_configuration_has_its_owners_and_is_never_overwritten(installed: Path, repository: Path) -> None:
    conf = installed / "etc/cigri/cigri.conf"
    assert conf.stat().st_mode & 0o777 == 0o640
    assert (conf.owner(), conf.group()) == ("root", "cigri")
    assert (installed / "etc/cigri/admission.d").owner() == "root"
    conf.write_text(conf.read_text() + "# mine\n")
    subprocess.run(
        [repository / "etc/install/configuration", installed / "etc/cigri", "cigri", str(installed)],
        cwd=repository,
        check=True,
    )
    assert conf.read_text().endswith("# mine\n")


def test_every_program_that_is_installed_has_its_manual(installed: Path) -> None:
    programs = {path.name for path in (installed / "usr/bin").iterdir()}
    manuals = {path.name.partition(".")[0] for path in installed.glob("usr/share/man/man[18]/*")}
    assert programs <= manuals and "gridadmin-cluster-add" in manuals


def test_the_grid_runs_from_there(installed: Path, account: str) -> None:
    programs = installed / "usr/bin"
    home = installed / "tmp"
    home.mkdir(mode=0o1777)
    home.chmod(0o1777)
    (installed / "run/cigri").mkdir(parents=True)
    shutil.chown(installed / "run/cigri", account, account)
    with (
        EmbeddedPostgres(installed / "data", durable=True, die_with_parent=True) as server,
        Minioar(installed / "mini", slots=4, die_with_parent=True) as cluster,
    ):
        server.data.chmod(0o711)  # this account's socket is in it
        conf = installed / "etc/cigri/cigri.conf"
        settings = {
            "DATABASE_HOST": server.data,
            "DATABASE_NAME": "postgres",
            "DATABASE_USER_NAME": "postgres",
            "DATABASE_USER_PASSWORD": "",
            "API_SOCKET": installed / "run/cigri/api.sock",
            "ADMISSION_RULES_DIRECTORY": installed / "etc/cigri/admission.d",
            "USER_LISTS_FILE": installed / "etc/cigri/user_lists",
            "RUNNER_MIN_CYCLE_DURATION": "0.3",
            "DAEMON_PERIOD": "1",
        }
        conf.write_text("".join(f'{key} = "{value}"\n' for key, value in settings.items()))
        clients = installed / "etc/cigri/api-clients.conf"
        clients.write_text(f'API_SOCKET = "{settings["API_SOCKET"]}"\n')
        daemons = {"PATH": "/usr/bin:/bin", "CIGRICONFFILE": str(conf)}
        users = {"PATH": "/usr/bin:/bin", "CIGRICLIENTCONFFILE": str(clients)}
        run_as(account, daemons, programs / "gridadmin", "db", "init")
        add = ("cluster", "add", "mini", "--batch", "oar3", "--api-url", cluster.url, "--auth", "none")
        run_as(account, daemons, programs / "gridadmin", *add)
        entry = pwd.getpwnam(account)
        started = [
            subprocess.Popen(
                [programs / name], env=daemons, cwd="/", user=entry.pw_uid, group=entry.pw_gid, extra_groups=[]
            )
            for name in ("cigri-almighty", "cigri-api")
        ]
        try:
            until(lambda: Path(settings["API_SOCKET"]).exists())
            jdl = {
                "name": "installed",
                "exec_file": "touch",
                "exec_directory": str(home),
                "params": ["a", "b", "c"],
                "clusters": {"mini": {}},
            }
            said = run_as("daemon", users, programs / "gridsub", "-j", json.dumps(jdl), "--wait")
            assert "CAMPAIGN_ID=1" in said
            assert sorted(path.name for path in home.glob("?")) == ["a", "b", "c"]
            assert "daemon" in run_as("daemon", users, programs / "gridstat", "-c", "1")
            owners = {pwd.getpwuid(os.stat(f"/proc/{each.pid}").st_uid).pw_name for each in started}
            assert owners == {account}
        finally:
            for process in started:
                process.terminate()
            assert [process.wait(15) for process in started] == [0, 0]


def test_uninstall_leaves_the_configuration(installed: Path, repository: Path) -> None:
    make(repository, "uninstall", installed)
    assert not list((installed / "usr/bin").iterdir())
    assert not (installed / "usr/lib/cigri").exists()
    assert (installed / "etc/cigri/cigri.conf").exists()
