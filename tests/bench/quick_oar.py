"""A server that answers as OAR3's REST API, of jobs that take a given time and no processor: not it is measured.

python quick_oar.py SLOTS SECONDS [ROUND]: jobs last SECONDS, and start in order when one of SLOTS is free, at the next
multiple of ROUND seconds. With SECONDS 0 they have ended when the answer to their submission leaves. It prints its
port. GET /count answers with the number of requests of each kind since the last time: "/jobs?details,states" asked for
that path with these parameters. GET /end lets all jobs end at once. These two are not counted.
"""

from __future__ import annotations

import heapq
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


@dataclass(slots=True)
class Job:
    """One job; when it starts and stops is known from the beginning, but for GET /end."""

    id: int
    array: int
    index: int
    name: str
    user: str
    command: str
    directory: str
    sent: float
    start: float
    stop: float

    def state(self, now: float) -> str:
        return "Terminated" if now >= self.stop else "Running" if now >= self.start else "Waiting"

    def short(self, now: float) -> str:
        """The record in a list, as JSON."""
        state = self.state(now)
        code = '"exit_code":0,"exit_status_code":0,' if state == "Terminated" else ""
        return (
            f'{{"id":{self.id},"name":"{self.name}","state":"{state}","user":"{self.user}",{code}'
            f'"queue_name":"besteffort","submission_time":{int(self.sent)}}}'
        )

    def detailed(self, now: float) -> str:
        state = self.state(now)
        start = int(self.start) if state != "Waiting" else 0
        code = '"exit_code":0,"exit_status_code":0,' if state == "Terminated" else ""
        held = f'[{{"id":{self.id % 1000 + 1}}}]' if start else "[]"
        nodes = f'[{{"network_address":"node{self.id % 100}"}}]' if start else "[]"
        return (
            f'{{"id":{self.id},"array_id":{self.array},"array_index":{self.index},"initial_request":"oarsub",'
            f'"name":"{self.name}","type":"PASSIVE","info_type":"vm:","state":"{state}","reservation":"None",'
            f'"message":"","scheduler_info":"","user":"{self.user}","project":"default","group":"",'
            f'"command":{json.dumps(self.command)},{code}"queue_name":"besteffort","properties":"",'
            f'"launching_directory":"{self.directory}","submission_time":{int(self.sent)},"start_time":{start},'
            f'"stop_time":{int(self.stop) if state == "Terminated" else 0},"accounted":"NO","assigned_moldable_job":1,'
            f'"checkpoint":0,"checkpoint_signal":12,"stdout_file":"OAR.{self.name}.{self.id}.stdout",'
            f'"stderr_file":"OAR.{self.name}.{self.id}.stderr","resubmit_job_id":0,"suspended":"NO",'
            f'"resources":{held},"nodes":{nodes},"events":[],"types":{{"besteffort":true}},"walltime":3600}}'
        )


class Cluster:
    """The jobs of the cluster."""

    def __init__(self, slots: int, seconds: float, round_: float) -> None:
        self.slots, self.seconds, self.round = slots, seconds, round_
        self.free = [0.0] * slots  # when each slot is free
        self.jobs: dict[int, Job] = {}
        self.arrays: dict[int, list[Job]] = {}
        self.live: dict[int, Job] = {}
        self.requests: Counter[str] = Counter()

    def submit(self, body: Json, user: str) -> int:
        now = time.time()
        first = len(self.jobs) + 1
        array = []
        for index, line in enumerate(body["param_file"].split("\n"), 1):
            start = now if not self.seconds else self._rounded(max(now, self.free[0]))
            job = Job(first + index - 1, first, index, body["name"], user, f"{body['command']} {line}",
                      body["directory"], now, start, start + self.seconds)  # fmt: skip
            if self.seconds:
                heapq.heapreplace(self.free, job.stop)
                self.live[job.id] = job
            self.jobs[job.id] = job
            array.append(job)
        self.arrays[first] = array
        return first

    def _rounded(self, instant: float) -> float:
        return math.ceil(instant / self.round) * self.round if self.round else instant

    def living(self, now: float) -> list[Job]:
        for job in [job for job in self.live.values() if job.stop <= now]:
            del self.live[job.id]
        return list(self.live.values())

    def end(self) -> None:
        """All jobs end now."""
        now = time.time()
        for job in self.live.values():
            job.start, job.stop = min(job.start, now), min(job.stop, now)
        self.free = [now] * self.slots

    def listed(self, query: dict[str, list[str]], now: float) -> list[Job]:
        if "job_ids" in query:
            return [self.jobs[int(number)] for number in query["job_ids"] if int(number) in self.jobs]
        if "array" in query:
            return self.arrays.get(int(query["array"][0]), [])
        living = self.living(now)
        if "states" in query:
            return [job for job in living if job.state(now) in query["states"]]
        return living

    def resources(self) -> str:
        one = '{"id":%d,"type":"default","network_address":"node%d","state":"Alive","besteffort":"YES","drain":"NO"}'
        return ",".join(one % (number, number % 100) for number in range(1, self.slots + 1))


def kind(path: str, query: Json) -> str:
    """What a request asks for: its path and the names of its parameters."""
    named = ",".join(sorted(query.keys() - {"limit"}))
    return f"{path}?{named}" if named else path


class Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if where.path == "/count":
            count, self.cluster.requests = self.cluster.requests, Counter()
            return self._reply(json.dumps(count))
        if where.path == "/end":
            self.cluster.end()
            return self._reply("{}")
        query, now = parse_qs(where.query), time.time()
        self.cluster.requests[kind(where.path, query)] += 1
        routes: dict[str, Callable[[], str]] = {
            "/": lambda: f'{{"api_timestamp":{now}}}',
            "/stress_factor": lambda: '{"GLOBAL_STRESS":"0.0"}',
            "/resources": lambda: self._list(self.cluster.slots, self.cluster.resources()),
            "/jobs": lambda: self._jobs(query, now),
        }
        return self._reply(routes[where.path]())

    def do_POST(self) -> None:
        self.cluster.requests[f"POST {self.path}"] += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._reply(f'{{"id":{self.cluster.submit(body, self.headers["x-remote-ident"])}}}')

    def _jobs(self, query: dict[str, list[str]], now: float) -> str:
        found = self.cluster.listed(query, now)
        shape = Job.detailed if "details" in query else Job.short
        limit = int(query.get("limit", ["500"])[0])
        return self._list(len(found), ",".join(shape(job, now) for job in found[:limit]))

    @staticmethod
    def _list(total: int, items: str) -> str:
        return f'{{"total":{total},"offset":0,"items":[{items}]}}'

    def _reply(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    slots, seconds, round_ = int(sys.argv[1]), float(sys.argv[2]), float((sys.argv[3:] or ["0"])[0])
    Handler.cluster = Cluster(slots, seconds, round_)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket.listen(128)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
