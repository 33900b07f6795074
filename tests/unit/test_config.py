"""Configuration files are read into typed settings; faults name file and line."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri import config, config_pages
from cigri.config import Address, ClientSettings, Settings, load, load_client
from cigri.core import walltime
from cigri.errors import ConfigError

SOURCE = Path(__file__).parents[2]

ORIGINAL = """\
# Database settings
DATABASE_TYPE = "PostgreSQL"\x20
DATABASE_HOST = "127.0.0.1"
DATABASE_USER_PASSWORD = "cigri3"
DATABASE_SSL_MODE = "require"
INSTALL_PATH = "/usr/local/share/cigri/"
REMOTE_WAITING_TIMEOUT = "900"
STRESS_FACTOR="0.8"
LOG_FILE = "/var/log/cigri.log"
LOG_LEVEL = FATAL
LOG_JOBS = "0"
STDERR_TAIL = 5
REST_CLIENT_CERTIFICATE_FILE="/etc/cigri/ssl/cigri.crt"
REST_CLIENT_VERIFY_SSL="OpenSSL::SSL::VERIFY_NONE"
RUNNER_MIN_CYCLE_DURATION = "15"
RUNNER_TEMPORAL_GROUPING_DURATION = "90"
API_HEADER_USERNAME="HTTP_X_CIGRI_USER"
#NOTIFICATIONS_SMTP_SERVER="smtp.example.org"
GRID_USAGE_UPDATE_PERIOD="60"
GRID_USAGE_SYNC_TIME="10"
"""


@pytest.fixture
def write(tmp_path):
    def write(content: str, name: str = "cigri.conf") -> str:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        path.chmod(0o600)
        return str(path)

    return write


def test_an_empty_file_gives_the_defaults(write):
    path = write("")
    assert load(path) == Settings(path=path)


def test_the_originals_file_loads_as_it_is(write):
    """K1."""
    settings = load(write(ORIGINAL))
    assert settings.database_ssl_mode == "require"
    assert (settings.log_file, settings.log_level) == ("/var/log/cigri.log", "CRITICAL")
    assert settings.stderr_tail == 5
    assert settings.rest_client_verify_ssl is False
    assert settings.runner_min_cycle_duration == 15.0
    assert settings.api_header_username == "X-Cigri-User"
    told = [note.partition(": ")[2] for note in settings.notes]
    useless = ["INSTALL_PATH", "LOG_JOBS", "RUNNER_TEMPORAL_GROUPING_DURATION", "GRID_USAGE_SYNC_TIME"]
    assert told == [f"{name} has no effect" for name in useless]


def test_every_kind_of_value(write):
    settings = load(
        write(
            'API_LISTEN = "127.0.0.1:8000" # a comment\n'
            "API_TRUSTED_USERS = www-data, apache   # another\n"
            'API_TRUSTED_ADDRESSES = "10.0.0.0/8 ::1"\n'
            'API_PRIVATE = "yes"\n'
            "  API_MAX_BODY=2G\r\n"
            'DATABASE_USER_PASSWORD = "a"b # c"\n'
            'AUTOFIX_DELAY = "0.5"\n'
            "API_SOCKET = none\n"
            "PID_FILE ="
            '"/x y/p.pid"'
        )
    )
    assert settings.api_listen == Address("127.0.0.1", 8000)
    assert settings.api_trusted_users == ("www-data", "apache")
    assert settings.api_trusted_addresses == ("10.0.0.0/8", "::1")
    assert settings.api_private is True
    assert settings.api_max_body == 2 << 30
    assert settings.database_user_password == 'a"b # c'
    assert settings.autofix_delay == 0.5
    assert settings.api_socket == ""
    assert settings.pid_file == "/x y/p.pid"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('API_SOKET = "/x"', "API_SOKET is not a key (did you mean API_SOCKET?)"),
        ('log_level = "INFO"', "log_level is not a key (did you mean LOG_LEVEL?)"),
        ('QQ = "1"', "QQ is not a key"),
        ("nonsense", 'this is no line KEY = "value"'),
        ('LOG_FILE = "/x', "the value of LOG_FILE has no closing quote"),
        ('DATABASE_TYPE = "Mysql"', 'DATABASE_TYPE must be one of PostgreSQL, not "Mysql"'),
        ('DATABASE_PORT = "0"', 'DATABASE_PORT must be a whole number from 1 to 65535, not "0"'),
        ('AUTOFIX_DELAY = "30s"', 'AUTOFIX_DELAY must be a number of seconds above 0, not "30s"'),
        ('REMOTE_WAITING_TIMEOUT = "-1"', 'REMOTE_WAITING_TIMEOUT must be a number of seconds of 0 or more, not "-1"'),
        (
            'DEFAULT_JOB_WALLTIME = "120"',
            "DEFAULT_JOB_WALLTIME must be h, h:mm or h:mm:ss; a bare number is hours (did you mean 0:120:00?),"
            ' not "120"',
        ),
        ('DEFAULT_JOB_WALLTIME = "0:00:00"', 'DEFAULT_JOB_WALLTIME must be longer than nothing, not "0:00:00"'),
        ('LOG_FILE = "x.log"', 'LOG_FILE must be an absolute path, STDOUT or STDERR, not "x.log"'),
        ('LOG_LEVEL = "LOUD"', 'LOG_LEVEL must be one of DEBUG, INFO, WARN, ERROR, FATAL, not "LOUD"'),
        ('API_LISTEN = "8000"', 'API_LISTEN must be HOST:PORT, for example 127.0.0.1:8000, or none, not "8000"'),
        ('API_TRUSTED_ADDRESSES = "x"', 'API_TRUSTED_ADDRESSES must be addresses and networks; x is neither, not "x"'),
        ('API_PRIVATE = "maybe"', 'API_PRIVATE must be true or false, not "maybe"'),
        ('DEFAULT_JOB_WALLTIME = "1h"', 'DEFAULT_JOB_WALLTIME must be h, h:mm or h:mm:ss, not "1h"'),
        ('API_MAX_BODY = "0"', 'API_MAX_BODY must be a number of bytes above 0, for example 512M, not "0"'),
    ],
)
def test_a_fault_names_file_and_line(write, line, fault):
    path = write(f"# first\n\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:3: {fault}"


def test_all_faults_come_at_once(write):
    path = write("X1 = 1\nLOG_LEVEL = x\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["1", "2"]


def test_of_a_repeated_key_the_last_counts_and_it_is_told(write):
    path = write('RUNNER_CHUNK = "5"\nRUNNER_CHUNK = "6"\n')
    settings = load(path)
    assert settings.runner_chunk == 6
    assert settings.notes == (f"{path}:2: RUNNER_CHUNK again: it replaces line 1",)


def test_a_password_that_everybody_can_read_is_told(write):
    path = write('DATABASE_USER_PASSWORD = "secret"\n')
    Path(path).chmod(0o644)
    (note,) = load(path).notes
    assert "chmod o=" in note and "secret" not in note


def test_a_missing_or_garbled_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load(str(tmp_path / "none.conf"))
    path = tmp_path / "latin.conf"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 5"):
        load(str(path))


def test_the_environment_names_the_file(write):
    """K1."""
    path = write('RUNNER_CHUNK = "7"\n')
    assert load(environ={"CIGRICONFFILE": path}).runner_chunk == 7


def test_secrets_are_not_shown(write):
    settings = load(write('DATABASE_USER_PASSWORD = "geheim"\nNOTIFICATIONS_XMPP_PASSWORD = "geheim"\n'))
    assert "geheim" not in repr(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.runner_chunk = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"host": "127.0.0.1", "port": 5432, "username": "cigri3", "password": None, "database": "cigri3"}),
        (
            {"database_host": "/tmp/a b", "database_port": 5551, "database_user_password": "p@s/w?r:d# %é"},
            {"host": None, "password": "p@s/w?r:d# %é", "query": {"host": "/tmp/a b", "port": "5551"}},
        ),
        ({"database_host": "::1", "database_name": "a/b"}, {"host": "::1", "database": "a/b"}),
        ({"database_host": ""}, {"host": None, "query": {"port": "5432"}}),
    ],
)
def test_the_database_url_is_what_sqlalchemy_understands(values, expected):
    from sqlalchemy.engine import make_url

    url = make_url(dataclasses.replace(Settings(), **values).database_url())
    assert url.drivername == "postgresql+psycopg"
    query = dict(url.query)
    assert query.pop("sslmode") == "prefer"
    for key, value in expected.items():
        assert (query if key == "query" else getattr(url, key)) == value


def test_clients_read_their_own_file_first(write):
    own = write('API_HOST="grid"\nAPI_PORT="8080"\nAPI_BASE="cigri-api/"\n', "clients.conf")
    common = write('API_SOCKET="/c.sock"\n')
    settings = load_client(environ={"CIGRICLIENTCONFFILE": own, "CIGRICONFFILE": common})
    assert (settings.api_host, settings.api_port, settings.api_base) == ("grid", 8080, "/cigri-api")
    assert settings.api_socket == ""  # a host is named, so the socket's default does not hold


def test_clients_read_the_common_file_if_it_is_meant_for_them(write):
    common = write('API_SOCKET="/c.sock"\nLOG_FILE="/var/log/cigri.log"\nRUNNER_CHUNK="9"\nLOG_JOBS="1"\n')
    settings = load_client(environ={"CIGRICONFFILE": common})
    assert (settings.api_socket, settings.log_file, settings.notes) == ("/c.sock", "STDERR", ())
    assert load(common).runner_chunk == 9


def test_the_originals_client_file_loads_as_it_is(write):
    """K2."""
    settings = load_client(
        write(
            'API_HOST="localhost"\nAPI_PORT="80"\nAPI_TIMEOUT="60"\nAPI_BASE=""\nAPI_SSL="true"\n'
            'API_VERIFY_SSL="OpenSSL::SSL::VERIFY_NONE"\n'
        )
    )
    assert (settings.api_ssl, settings.api_verify_ssl, settings.api_timeout) == (True, False, 60.0)


@pytest.mark.parametrize("common", ["", 'API_HEADER_USERNAME="X-Me"\n'])
def test_without_keys_for_clients_the_defaults_hold(write, monkeypatch, tmp_path, common):
    monkeypatch.setattr(config, "CLIENT_FILE", str(tmp_path / "none"))
    assert load_client(environ={"CIGRICONFFILE": write(common)}) == ClientSettings()


def test_a_socket_wins_over_a_host(write):
    assert load_client(write('API_HOST="grid"\nAPI_SOCKET="/s"\n')).api_socket == "/s"


def test_the_shipped_files_are_the_table():
    for path, content in config_pages.pages().items():
        found = (SOURCE / path).read_text(encoding="utf-8")
        assert found == content, f"run: python -m cigri.config_pages . (for {path})"


def test_the_shipped_files_say_the_defaults(tmp_path):
    path = str(SOURCE / "etc/cigri.conf")
    assert dataclasses.replace(load(path), path="", notes=()) == Settings()
    path = str(SOURCE / "etc/api-clients.conf")
    assert dataclasses.replace(load_client(path), path="") == ClientSettings()
    uncommented = (SOURCE / "etc/cigri.conf").read_text().replace("\n#", "\n").replace("\n# ", "\n")
    for name in config.keys(Settings):
        assert f"\n{name} = " in uncommented


def test_every_default_passes_its_own_reader():
    for kind in (Settings, ClientSettings):
        for entry in config.keys(kind).values():
            assert entry.read(config_pages.written(entry, entry.default)) == entry.default, entry.name
            assert entry.doc.endswith(".")
    walltime.parse(Settings().default_job_walltime)


def test_reading_costs_commands_no_foreign_package():
    code = "import sys, cigri.config, cigri.logs; print({'pydantic', 'sqlalchemy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE).stdout == "set()\n"


@given(st.from_regex(r"[0-9]{1,3}(:[0-9]{1,3}){0,2}", fullmatch=True))
def test_the_default_walltime_is_one_that_a_jdl_could_have(value):
    def taken(read):
        try:
            return bool(read(value))
        except ValueError:
            return False

    assert taken(config.walltime) == taken(walltime.parse)
