"""After the database was restored or promoted nothing is submitted until somebody has looked."""

from __future__ import annotations

import requests
from sqlalchemy import text

from cigri.core import names
from cigri.db import grid as identity
from cigri.db.engine import transaction
from cigri.db.tables import Job, Submission


def test_a_replaced_database_holds_submissions_until_it_is_recovered_and_swept(grid) -> None:
    with transaction(grid.engine) as session:
        session.execute(text("UPDATE grid SET timeline = timeline + 1"))
        prefix = names.prefix(identity.grid_id(session))
    stray = {
        "name": f"{prefix}9.{'a' * 16}",
        "command": "export CIGRI_CAMPAIGN_ID=9",
        "param_file": "CIGRI_JOB_ID=77; sleep 60",
        "type": ["besteffort"],
        "directory": str(grid.home),
    }
    reply = requests.post(f"{grid.minioar.url}/jobs", json=stray, headers={"X-Remote-Ident": "alice"}, timeout=5)
    lost = reply.json()["id"]
    campaign = grid.campaign(["a"])
    for _ in range(3):
        grid.cycles()
    assert grid.rows(Submission) == []

    with transaction(grid.engine) as session:
        before = session.execute(text("SELECT nextval('jobs_id_seq')")).scalar_one()
        identity.recovered(session)
        # Alice submitted before the backup: nikita looks where the grid's users are.
        session.execute(
            text(
                "INSERT INTO submissions"
                " (name, campaign_id, cluster_id, login, url_generation, state, size, remote_clock, settled_at)"
                " SELECT 'old', :campaign, id, 'alice', 1, 'settled', 1, 1, now() FROM clusters"
            ),
            {"campaign": campaign},
        )
    grid.runner.cycle()
    assert len(grid.rows(Submission)) == 1, "the cluster is not swept yet"
    grid.finish(campaign)
    assert grid.rows(Job)[0].id > before + 1_000_000
    grid.until(lambda: grid.minioar_job(lost)["state"] == "Error")
