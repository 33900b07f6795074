"""gridadmin admission check: what the rules would say."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from cigri.admin.gridadmin import gridadmin

JDL = {"name": "sample", "clusters": {"tiger": {"exec_file": "run"}}, "nb_jobs": 5}


@pytest.fixture
def check(tmp_path, database, repository):
    """The command, on the shipped rules."""
    rules = tmp_path / "admission.d"
    shutil.copytree(repository / "etc/admission.d", rules, ignore=shutil.ignore_patterns("__pycache__"))
    for place in (rules, *rules.iterdir()):
        place.chmod(0o755)
    config = tmp_path / "cigri.conf"
    config.write_text(
        f'DATABASE_HOST = "{database.host}"\nDATABASE_PORT = "{database.port}"\nDATABASE_NAME = "{database.name}"\n'
        f'DATABASE_USER_NAME = "postgres"\nADMISSION_RULES_DIRECTORY = "{rules}"\nMAX_TASKS_PER_CAMPAIGN = "5"\n'
    )

    def check(*arguments, jdl=None, status=0):
        if jdl is not None:
            (tmp_path / "jdl").write_text(json.dumps(jdl))
            arguments = (str(tmp_path / "jdl"), *arguments)
        done = CliRunner().invoke(gridadmin, ["--config", str(config), "admission", "check", *arguments])
        assert done.exit_code == status, done.output
        return done

    check.rules = rules
    CliRunner().invoke(
        gridadmin,
        [
            "--config",
            str(config),
            "cluster",
            "add",
            "tiger",
            "--batch",
            "oar3",
            "--api-url",
            "http://x",
            "--auth",
            "none",
        ],
    )
    return check


def test_the_rules_alone(check):
    assert check().stdout == "10-user-lists.py: can be used\n20-limits.py: can be used\n"
    (check.rules / "20-limits.py").write_text("def admit(")
    told = check(status=1).stderr
    assert (
        told.startswith("gridadmin: admission rules are broken, every campaign is refused: ") and "SyntaxError" in told
    )


def test_a_campaign(check):
    assert check("--user", "alice", jdl=JDL).stdout.endswith("accepted: campaign sample of 5 tasks, for alice\n")
    told = check("--user", "alice", jdl=JDL | {"nb_jobs": 6}, status=1).stderr
    assert told.startswith("gridadmin: refused: A campaign may have 5 tasks here (MAX_TASKS_PER_CAMPAIGN)")
    (check.rules / "30-x.py").write_text(
        "def admit(jdl, user, context):\n    jdl['clusters']['tiger']['project'] = user\n"
    )
    assert "changed: clusters.tiger.project from '' to 'alice'\n" in check("--user", "alice", jdl=JDL).stdout
    assert "did you mean" in check(jdl=JDL | {"clusters": {"tiger": {"exec_fil": "x"}}}, status=1).stderr
