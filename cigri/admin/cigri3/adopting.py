"""Jobs of a CiGri 3 that are on their clusters: looked at there, and paired with their tasks by what they run.

CiGri 3 paired the jobs of an array with its tasks by the text of the parameters being somewhere in the command, so
that `1` may have got the job of `10`: its numbers of jobs are not believed, only that they are a campaign's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from cigri.admin.cigri3.plan import Job, Plan
from cigri.admin.cigri3.source import Row
from cigri.clusters.base import Cluster, RemoteJob, RemoteState
from cigri.core import adopted
from cigri.errors import CigriError

BATCH = "several tasks in one job: CiGri 3 alone knows how to follow them"


class Unmatched(CigriError):
    """Some jobs cannot be followed; the message has a line for each kind."""


def sort_out(plan: Plan, live: Sequence[Row], clients: dict[int, Cluster]) -> None:
    """Fill `adopted` and `held` of the plan. Raises Unmatched where a job would be forgotten, ClusterError."""
    brought = {row["id"] for row, _ in plan.campaigns}
    faults: list[str] = []
    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    seen: set[int] = set()
    for row in live:
        if row["campaign_id"] not in brought:
            plan.left_out.append(
                f"job {row['id']} ({row['remote_id']} there) of campaign {row['campaign_id']}, which is not brought: "
                "it is followed by nobody, delete it on its cluster"
            )
        elif row["tag"] or row["param"] is None:
            faults.append(
                f"job {row['id']}: {row['tag'] or 'no task'}: {BATCH if row['tag'] == 'batch' else 'no task'}"
            )
        elif row["param_id"] in seen:
            faults.append(f"job {row['id']}: another job of the same task is there, too")
        elif row["remote_id"] is None:
            plan.held.append(row)
        else:
            groups[row["cluster_id"], row["campaign_id"]].append(row)
        seen.add(row["param_id"])
    for (cluster_id, campaign_id), rows in groups.items():
        if cluster_id not in clients:
            faults.append(f"{len(rows)} jobs of campaign {campaign_id}: their cluster cannot be asked")
            continue
        there = clients[cluster_id].jobs([row["remote_id"] for row in rows])
        faults += _pair(plan, campaign_id, rows, there)
    if faults:
        raise Unmatched(
            "\n".join(["these jobs cannot be adopted; wait for them (--wait-drained), or end them:", *faults])
        )


def _pair(plan: Plan, campaign_id: int, rows: Sequence[Row], there: Iterable[RemoteJob]) -> list[str]:
    """Give each task of a campaign on a cluster the job that has its parameters; what is wrong."""
    by_command: dict[str, RemoteJob] = {}
    for remote in there:
        said = adopted.parameters(remote.command, campaign_id)
        if said is not None and remote.name == adopted.remote_name(campaign_id):
            by_command[said.rstrip()] = remote
    # All jobs of a campaign on a cluster run one program: it is what is left of each command before the parameters.
    programs = {_before(said, row["param"]) for said in by_command for row in rows[:1]} - {None}
    paired = [
        [by_command.get(f"{program} {row['param']}".rstrip()) for row in rows] for program in sorted(map(str, programs))
    ]
    whole = [jobs for jobs in paired if all(jobs)]
    if len(whole) != 1:
        best = max(paired, key=lambda jobs: sum(job is not None for job in jobs), default=[None] * len(rows))
        lacking = [row["id"] for row, job in zip(rows, best, strict=True) if job is None]
        return [f"jobs {lacking} of campaign {campaign_id}: the cluster shows no jobs that run these tasks"]
    for row, job in zip(rows, whole[0], strict=True):
        assert job is not None
        login = plan.login(row["grid_user"], row["cluster_id"])
        running = job.state is RemoteState.RUNNING or job.state.final
        known = {**row, "remote_id": job.id}
        plan.adopted.append(Job(known, login, job.command, job.array_id, running, job.start_time))
    return []


def _before(said: str, parameters: str) -> str | None:
    """The program of a command that ends with these parameters."""
    end = f" {parameters}".rstrip()
    return said.removesuffix(end) if said.endswith(end) else None
