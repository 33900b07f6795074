"""The scheduler: what happens to jobs from their submission to their end, in rounds.

A round ends what has ended, carries out kills, starts walltime kills, and fills the free resources: first the
normal jobs, in order of submission, then the best-effort ones. A normal job that finds too little free has
best-effort jobs killed for it, those that started last first. Nothing is sent to the keeper before it is
committed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cigri.local import processes
from cigri.local.minioar import journal
from cigri.local.minioar.forms import Resource
from cigri.local.minioar.job import Event, LiveJob, Need, State
from cigri.local.minioar.keeper import JOURNAL
from cigri.local.minioar.request import JobRequest, Refusal, as_run, is_poison
from cigri.local.minioar.store import Store, live_job

GRACE = 2.0  # seconds between SIGTERM and SIGKILL
NODE_EVENT = "PING_CHECKER_NODE_SUSPECTED"
Order = dict[str, object]


def choose(need: Need, free: Iterable[Resource]) -> list[int] | None:
    """Free resources that satisfy the need, None when there are too few."""
    if not need.nodes:
        numbers = [resource.id for resource in free]
        return numbers[: need.each] if len(numbers) >= need.each else None
    by_node: dict[str, list[int]] = {}
    for resource in free:
        by_node.setdefault(resource.node, []).append(resource.id)
    chosen: list[int] = []
    nodes = 0
    for numbers in by_node.values():
        if nodes < need.nodes and len(numbers) >= (need.each or 1):
            chosen += numbers[: need.each] if need.each else numbers
            nodes += 1
    return chosen if nodes == need.nodes else None


class Engine:
    """The jobs of one minioar. Every public method leaves the store committed."""

    def __init__(self, folder: Path, store: Store, resources: list[Resource]) -> None:
        self.folder = folder
        self.store = store
        self.resources = {resource.id: resource for resource in resources}
        self.send: Callable[[Order], None] = lambda order: None
        self.waiting: dict[bool, dict[int, LiveJob]] = {False: {}, True: {}}  # by besteffort, oldest first
        self.active: dict[int, LiveJob] = {}  # holding resources
        self.held: dict[int, LiveJob] = {}  # in Hold
        self.doomed: dict[int, LiveJob] = {}  # to be ended
        self.busy: dict[int, int] = {}  # resource -> job
        self.hidden: dict[int, float] = {}  # for now in no list (until, monotonic)
        self.denied: dict[int, float] = {}  # for now not shown at all (until, monotonic)
        self.orders: list[Order] = []
        self.journal = folder / JOURNAL
        self.read_to = int(store.fact("journal", "0"))
        self.account = pwd.getpwuid(os.geteuid()).pw_name
        self.nodefiles = folder / "nodes"
        self.nodefiles.mkdir(mode=0o700, exist_ok=True)
        for job in store.live():
            self._place(job)

    def _place(self, job: LiveJob) -> None:
        """Put a job where its state says."""
        if job.state is State.WAITING:
            self.waiting[job.besteffort][job.id] = job
        elif job.state is State.HOLD:
            self.held[job.id] = job
        else:
            self.active[job.id] = job
            for number in job.resources:
                self.busy[number] = job.id
                self.resources.setdefault(number, Resource(number, "gone", 0, "Dead"))
        if job.killed:
            self.doomed[job.id] = job

    def job(self, job_id: int) -> LiveJob | None:
        """A job that has not ended."""
        for jobs in (self.active, self.waiting[False], self.waiting[True], self.held):
            if job_id in jobs:
                return jobs[job_id]
        return None

    # Requests

    def submit(self, request: JobRequest, user: str, *, count: int | None = None, corpse: bool = False) -> int:
        """Take an array of jobs (or its first `count` only); its id. As a corpse it stays in Hold."""
        alive = [resource for resource in self.resources.values() if resource.state == "Alive"]
        if choose(request.need, alive) is None:
            if len(request.commands) > 1:
                raise Refusal(500)
            raise Refusal(400, "There are not enough resources for your request")
        state = State.HOLD if corpse or request.hold else State.WAITING
        wanted = len(request.commands) if count is None else count
        ids = self.store.insert(request, user, int(time.time()), state, wanted)
        besteffort, idempotent = "besteffort" in request.types, "idempotent" in request.types
        for number in ids:
            self._place(LiveJob(number, request.need, request.walltime, besteffort, idempotent, state))
        self.store.commit()
        return ids[0] if ids else 0

    def frag(self, row: sqlite3.Row, user: str) -> None:
        """A user asks for a job's end."""
        self.store.mark_frag(row["id"])
        job = self.job(row["id"])
        event = Event("FRAG_JOB_REQUEST", f"User {user} requested to frag the job {row['id']}")
        if job is None:
            self.store.add_events(row["id"], [event], int(time.time()))
        else:
            self._kill(job, [event])
        self.store.commit()

    def hold(self, job_id: int) -> bool:
        """Keep a waiting job from starting; False if it does not wait."""
        for jobs in self.waiting.values():
            if (job := jobs.pop(job_id, None)) is not None:
                self._move(job, State.HOLD)
                return True
        return False

    def resume(self, job_id: int) -> bool:
        """Let a held job start; False if it is not held."""
        if (job := self.held.pop(job_id, None)) is None:
            return False
        self.store.add_events(job_id, [Event("RESUME_JOB", f"Resume job {job_id}")], int(time.time()))
        self._move(job, State.WAITING)
        return True

    def _move(self, job: LiveJob, state: State) -> None:
        job.state = state
        self.store.set_state(job)
        self._place(job)
        self.store.commit()

    def kill_besteffort(self, count: int) -> list[int]:
        """Kill so many running best-effort jobs, as for a normal job's sake; their ids."""
        victims = self._preemptible()[:count]
        for job in victims:
            self._preempt(job)
        self.store.commit()
        return [job.id for job in victims]

    def resubmit(self, row: sqlite3.Row, hidden_seconds: float) -> int:
        """End a job in Error after a node's failure, and submit it again; the new id."""
        now = int(time.time())
        job = self.job(row["id"])
        new = self._follow(row["id"], NODE_EVENT, now)
        if hidden_seconds > 0:
            self.hidden[new] = time.monotonic() + hidden_seconds
        if job is not None:
            job.follower = str(new)
            self._kill(job, [Event(NODE_EVENT, f"[bipbip] OAR suspects nodes, job: {row['id']}")])
        self.store.commit()
        return new

    def set_node_states(self, nodes: list[str], state: str) -> list[int]:
        """Give the resources of these nodes (all, if none is named) a state; their ids."""
        changed = [item for item in self.resources.values() if not nodes or item.node in nodes]
        for resource in changed:
            resource.state = state
        return [resource.id for resource in changed]

    def hide(self, jobs: Iterable[int], seconds: float, *, wholly: bool) -> None:
        """Leave these jobs out of all lists for so long; `wholly`: do not know them at all."""
        until = dict.fromkeys(jobs, time.monotonic() + seconds)
        self.hidden |= until
        self.denied |= until if wholly else {}

    def unlisted(self) -> list[int]:
        """Jobs that no list shows now."""
        now = time.monotonic()
        self.hidden = {job: until for job, until in self.hidden.items() if until > now}
        return list(self.hidden)

    def unknown(self) -> set[int]:
        """Jobs that are denied now."""
        now = time.monotonic()
        self.denied = {job: until for job, until in self.denied.items() if until > now}
        return set(self.denied)

    # What the keeper tells

    def read_journal(self) -> None:
        """Take note of what the keeper has recorded since the last time."""
        for entry in journal.read(self.journal, self.read_to):
            self.read_to = entry.next
            job = self.active.get(entry.job)
            if job is None:
                continue
            if entry.what == "S":
                job.state, job.mark, job.started = State.RUNNING, entry.text, entry.time
                self.store.set_started(job)
            elif entry.what == "E":
                job.state, job.status = State.FINISHING, int(entry.text)
                self.store.set_state(job)
            else:
                job.trouble = entry.text
        self.store.remember("journal", str(self.read_to))
        self.store.commit()

    def reconcile(self, kept: set[int]) -> None:
        """A keeper is there, with these jobs: find out about all others that should run."""
        self.read_journal()
        for job in list(self.active.values()):
            if job.id in kept or job.trouble or job.state is State.FINISHING:
                continue
            if job.state is State.RUNNING:
                job.orphan = True
                continue
            self._release(job)
            job.resources = ()
            job.state = State.WAITING
            self.store.set_state(job)
        for besteffort in (False, True):
            stopped = [job for job in self.active.values() if job.state is State.WAITING]
            again = {job.id: job for job in stopped if job.besteffort is besteffort}
            self.waiting[besteffort] = dict(sorted((again | self.waiting[besteffort]).items()))
        self.active = {job.id: job for job in self.active.values() if job.state is not State.WAITING}
        self.store.commit()

    # Rounds

    def round(self) -> None:
        """One scheduling round."""
        now = time.time()
        for job in list(self.active.values()):
            if job.orphan and job.state is State.RUNNING and processes.alive(job.mark) is None:
                job.trouble = "EXTERMINATE_JOB"
            if job.state is State.FINISHING or job.trouble:
                self._end(job, now)
            elif job.state is State.RUNNING and not job.killed and now - job.started > job.walltime:
                self._exceed(job, now)
        for job in list(self.doomed.values()):
            self._carry_out(job, now)
        self._schedule(now)
        self.store.commit()
        orders, self.orders = self.orders, []
        for order in orders:
            self.send(order)

    def stop_jobs(self) -> None:
        """The cluster goes down: end what runs, as OAR ends the jobs of nodes that are taken away."""
        for job in list(self.active.values()):
            if job.killed:
                continue
            if job.besteffort:
                self._preempt(job)
            else:
                self._kill(job, [Event("EXTERMINATE_JOB", f"I exterminate the job {job.id}")])
        now = time.time()
        for job in list(self.doomed.values()):
            if job.id in self.active:
                self._carry_out(job, now)
        self.store.commit()
        for order in self.orders:
            self.send(order)
        self.orders.clear()

    def settle(self) -> bool:
        """While the cluster goes down: start nothing, take ends; whether all has ended."""
        now = time.time()
        for job in list(self.active.values()):
            if job.state is State.FINISHING or job.trouble:
                self._end(job, now)
            elif job.killed:
                self._carry_out(job, now)
            else:
                self._kill(job, [])
        self.store.commit()
        for order in self.orders:
            self.send(order)
        self.orders.clear()
        return not self.active

    def _kill(self, job: LiveJob, events: list[Event]) -> None:
        job.killed = True
        self.doomed[job.id] = job
        self.store.add_events(job.id, events, int(time.time()))
        self.store.set_state(job)

    def _preempt(self, job: LiveJob) -> None:
        if job.idempotent and not job.follower:
            job.follower = "idempotent"
        told = f"User oar requested to frag the job {job.id}"
        self._kill(
            job,
            [Event("BESTEFFORT_KILL", f"kill the besteffort job {job.id}"), Event("FRAG_JOB_REQUEST", told)],
        )

    def _exceed(self, job: LiveJob, now: float) -> None:
        told = f"User oar requested to frag the job {job.id}"
        start = int(job.started)
        why = f"Job: {job.id} from {start} with {job.walltime}; current time={int(now)} (Elapsed)"
        self._kill(job, [Event("FRAG_JOB_REQUEST", told), Event("WALLTIME", why)])

    def _carry_out(self, job: LiveJob, now: float) -> None:
        """Bring a job that is to be ended one step nearer to its end."""
        if job.id not in self.active:
            self.store.set_message(job.id, "Job killed by Leon directly")
            self._forget(job)
            job.state = State.ERROR
            self.store.set_ended(job, 0, None)
        elif job.state is State.RUNNING and not job.trouble:
            since = time.monotonic() - job.signalled
            if not job.signalled:
                job.signalled = time.monotonic()
                node = self.resources[job.resources[0]].node
                what = f"Send the kill signal to oarexec on {node} for job {job.id}"
                self.store.add_events(job.id, [Event("SEND_KILL_JOB", what)], int(now))
                self.store.set_state(job)
                self._signal(job, signal.SIGTERM)
            elif since > GRACE:
                self._signal(job, signal.SIGKILL)

    def _signal(self, job: LiveJob, number: signal.Signals) -> None:
        if not job.orphan:
            self.orders.append({"job": job.id, "signal": int(number)})
        elif (pid := processes.alive(job.mark)) is not None:
            os.killpg(pid, number)

    def _end(self, job: LiveJob, now: float) -> None:
        """The command is over, or never began: give the resources back, and say how it went."""
        self._release(job)
        self._forget(job)
        job.state = State.ERROR
        exit_code = None
        if job.trouble == "EXTERMINATE_JOB":
            self.store.set_message(job.id, "Job exterminated by Leon")
            events = [Event(job.trouble, f"I exterminate the job {job.id}")]
        elif job.trouble:
            events = [self._switch(job, "ERROR"), Event(job.trouble, self._explain(job))]
        elif job.signalled:
            events = [self._switch(job, "ERROR")]
        else:
            job.state, exit_code = State.TERMINATED, job.status
            events = [self._switch(job, "TERMINATE")]
        self.store.add_events(job.id, events, int(now))
        self.store.set_ended(job, int(now), exit_code)
        if job.follower == "idempotent" and job.signalled:
            self._follow(job.id, "", int(now))

    def _switch(self, job: LiveJob, word: str) -> Event:
        return Event(f"SWITCH_INTO_{word}_STATE", f"[{job.id}] Ask to change the job state")

    def _explain(self, job: LiveJob) -> str:
        row = self.store.row(job.id)
        folder = "" if row is None else row["directory"]
        node = self.resources[job.resources[0]].node if job.resources else ""
        if job.trouble == "WORKING_DIRECTOR":
            return f"[{job.id}] Cannot go into the working directory {folder} of the job on node {node}"
        if job.trouble == "OUTPUT_FILES":
            return f"[{job.id}] Cannot create .stdout and .stderr files in {folder} on the node {node}"
        return f"[{job.id}] Timeout when launching oarexec on {node}"

    def _follow(self, job_id: int, cause: str, now: int) -> int:
        """Submit the job again; the new id."""
        new = self.store.copy(job_id, now)
        row = self.store.row(new)
        assert row is not None
        if cause:
            why = f"(due to event {cause} & job is neither a reservation nor an interactive job)"
            told = f"Resubmitting job {job_id} => ((0, ''), {new}) {why}"
        else:
            why = f"The job {job_id} is a besteffort and idempotent job so we resubmit it"
            told = f"[{job_id}] {why} (new id = ((0, ''), {new})"
        self.store.add_events(job_id, [Event("RESUBMIT_JOB_AUTOMATICALLY", told)], now)
        self._place(live_job(row))
        return new

    def _release(self, job: LiveJob) -> None:
        for number in job.resources:
            self.busy.pop(number, None)
            self.resources[number].last_job_date = int(time.time())
        (self.nodefiles / str(job.id)).unlink(missing_ok=True)

    def _forget(self, job: LiveJob) -> None:
        for jobs in (self.active, self.doomed, self.held, self.waiting[job.besteffort]):
            jobs.pop(job.id, None)

    def _preemptible(self) -> list[LiveJob]:
        """Running best-effort jobs, those that started last first."""
        running = [
            job for job in self.active.values() if job.besteffort and job.state is State.RUNNING and not job.killed
        ]
        return sorted(running, key=lambda job: job.started, reverse=True)

    def _free(self) -> list[Resource]:
        return [item for item in self.resources.values() if item.id not in self.busy and item.state == "Alive"]

    def _schedule(self, now: float) -> None:
        for besteffort in (False, True):
            queue = self.waiting[besteffort]
            free = self._free()
            while queue and free:
                job = next(iter(queue.values()))
                chosen = choose(job.need, free)
                if chosen is None:
                    break
                self._launch(job, tuple(chosen), now)
                free = [resource for resource in free if resource.id not in self.busy]
            if not besteffort and queue and self._make_room(next(iter(queue.values())), free):
                return  # what is free is kept for it

    def _make_room(self, job: LiveJob, free: list[Resource]) -> bool:
        """Kill best-effort jobs so that this normal job can start soon; False if that would not help."""
        dying = [self.resources[number] for other in self.active.values() if other.killed for number in other.resources]
        soon = [*free, *dying]
        victims: list[LiveJob] = []
        candidates = iter(self._preemptible())
        while choose(job.need, sorted(soon, key=lambda resource: resource.id)) is None:
            victim = next(candidates, None)
            if victim is None:
                return False
            victims.append(victim)
            soon += [self.resources[number] for number in victim.resources]
        for victim in victims:
            self._preempt(victim)
        return True

    def _launch(self, job: LiveJob, resources: tuple[int, ...], now: float) -> None:
        row = self.store.row(job.id)
        assert row is not None
        del self.waiting[job.besteffort][job.id]
        job.resources = resources
        job.state = State.LAUNCHING
        self._place(job)
        message = f"R={len(resources)},W={job.walltime + 60},J=P,Q={row['queue']}"
        self.store.set_assigned(job, message, int(now))
        if is_poison(row["command"]):
            job.trouble = "LAUNCHING_OAREXEC_TIMEOUT"
            return
        self.orders.append(
            {
                "job": job.id,
                "command": as_run(row["command"]),
                "directory": row["directory"],
                "stdout": row["stdout"],
                "stderr": row["stderr"],
                "environment": self._environment(row, job),
            }
        )

    def _environment(self, row: sqlite3.Row, job: LiveJob) -> dict[str, str]:
        nodefile = self.nodefiles / str(job.id)
        nodefile.write_text("".join(f"{self.resources[number].node}\n" for number in job.resources))
        directory = row["directory"]
        return {
            "HOME": str(Path.home()),
            "USER": self.account,
            "LOGNAME": self.account,
            "SHELL": shutil.which("bash") or "/bin/bash",
            "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "OAR_JOB_ID": str(job.id),
            "OAR_JOBID": str(job.id),
            "OAR_ARRAY_ID": str(row["array_id"]),
            "OAR_ARRAYID": str(row["array_id"]),
            "OAR_ARRAY_INDEX": str(row["array_index"]),
            "OAR_ARRAYINDEX": str(row["array_index"]),
            "OAR_JOB_NAME": row["name"] or "",
            "OAR_PROJECT_NAME": row["project"],
            "OAR_JOB_WALLTIME_SECONDS": str(job.walltime),
            "OAR_NODEFILE": str(nodefile),
            "OAR_NODE_FILE": str(nodefile),
            "OAR_FILE_NODES": str(nodefile),
            "OAR_RESOURCE_FILE": str(nodefile),
            "OAR_USER": row["user"],
            "OAR_WORKDIR": directory,
            "OAR_WORKING_DIRECTORY": directory,
            "OAR_O_WORKDIR": directory,
            "OAR_STDOUT": os.path.join(directory, row["stdout"]),
            "OAR_STDERR": os.path.join(directory, row["stderr"]),
        }
