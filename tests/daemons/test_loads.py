"""The outer loop with real sensors: commands and URLs that the updater reads, ceilings that the metascheduler keeps."""

from __future__ import annotations

import dataclasses
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text, update

from cigri.config import Settings
from cigri.core.ceiling import FEW
from cigri.core.control import Load
from cigri.core.states import FINAL
from cigri.daemons.throttling import Throttle
from cigri.db import clusters
from cigri.db.engine import transaction
from cigri.db.tables import Cluster, ClusterStatus, Event, Job, LoadSensor

SETTINGS = Settings()
MANY = Load(0, 0, 1000, 0, 0.0)


class Books:
    """A database with clusters, and the outer loop over them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.throttle = Throttle(SETTINGS)

    def cluster(self, name: str, **fields: object) -> int:
        with transaction(self.engine) as session:
            declared = clusters.declare(session, name, api_url="http://c", api_auth_type="none", batch="oar3", **fields)
            return declared.id

    def reads(self, sensor: str, load: float, ago: float = 0.0) -> None:
        """The sensor was read so many seconds ago."""
        with transaction(self.engine) as session:
            session.execute(
                text(
                    "INSERT INTO load_sensors (sensor, load, read_at) VALUES (:sensor, :load,"
                    " now() - make_interval(secs => :ago)) ON CONFLICT (sensor) DO UPDATE SET load = :load,"
                    " read_at = excluded.read_at"
                ),
                {"sensor": sensor, "load": load, "ago": ago},
            )

    def stress(self, cluster_id: int, stress: float | None, ago: float = 0.0) -> None:
        with transaction(self.engine) as session:
            at = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, ago)
            clusters.note(session, cluster_id, stress=stress, **({} if stress is None else {"stress_at": at}))

    def orders(self, there: dict[int, int], wanted: int = 1000) -> dict[int, int]:
        """What each of these clusters is sent when it wants so many; all is claimed."""
        with transaction(self.engine) as session:
            loads = dict.fromkeys(there, MANY)
            found = self.throttle.lowered(session, loads, dict.fromkeys(there, wanted), there)
            self.throttle.dealt(there, found)
            return found

    def ceiling(self, sensor: str) -> float:
        with transaction(self.engine) as session:
            return float(session.execute(select(LoadSensor.ceiling).where(LoadSensor.sensor == sensor)).scalar_one())

    def stress_ceiling(self, cluster_id: int) -> float | None:
        with transaction(self.engine) as session:
            return session.scalar(select(ClusterStatus.stress_ceiling).where(ClusterStatus.cluster_id == cluster_id))


@pytest.fixture
def books(engine: Engine) -> Books:
    return Books(engine)


def test_without_a_sensor_orders_are_as_they_were(books) -> None:
    one = books.cluster("one")
    assert books.orders({one: 0}) == {one: 1000}
    books.stress(one, 0.5)
    assert books.orders({one: 300}) == {one: 1000}, "stress is below its reference"


def test_a_sensor_begins_with_few_and_allows_more_with_each_reading(books) -> None:
    one = books.cluster("one", load_sensor="/bin/load", load_reference=10.0)
    assert books.orders({one: 0}) == {one: FEW}, "never read"
    books.reads("/bin/load", 1.0, ago=50)
    assert books.orders({one: 0}) == {one: FEW} and books.orders({one: FEW}) == {one: 0}
    books.reads("/bin/load", 1.0)
    found = books.orders({one: FEW})[one]
    assert 1 <= found <= FEW, "more, by a bounded factor"
    assert books.orders({one: FEW + found}) == {one: 0}, "one reading is one step"
    books.reads("/bin/load", 100.0)
    books.orders({one: FEW + found})
    assert books.ceiling("/bin/load") <= FEW + found + 1


def test_another_process_goes_on_where_the_first_was(books) -> None:
    one = books.cluster("one", load_sensor="/bin/load", load_reference=10.0)
    books.reads("/bin/load", 10.0, ago=30)
    books.orders({one: 0})
    with transaction(books.engine) as session:
        session.execute(update(LoadSensor).values(ceiling=200.0))
    books.throttle = Throttle(SETTINGS)
    books.reads("/bin/load", 10.0)
    assert books.orders({one: 150}) == {one: 50} and books.ceiling("/bin/load") == 200


def test_a_sensor_that_is_silent_allows_few_until_it_speaks_again(books) -> None:
    one = books.cluster("one", load_sensor="/bin/load", load_reference=10.0)
    books.reads("/bin/load", 10.0, ago=59)
    with transaction(books.engine) as session:
        session.execute(update(LoadSensor).values(ceiling=200.0, ceiling_at=LoadSensor.read_at))
    assert books.orders({one: 0}) == {one: 200}
    books.reads("/bin/load", 10.0, ago=61)
    assert books.orders({one: 0}) == {one: FEW} and books.orders({one: 200}) == {one: 0}
    books.reads("/bin/load", 10.0)
    assert books.orders({one: 120}) == {one: 80}, "it has not been forgotten"


def test_clusters_that_share_a_sensor_share_what_it_allows(books) -> None:
    one = books.cluster("one", load_sensor="/bin/load", load_reference=10.0)
    two = books.cluster("two", load_sensor="/bin/load", load_reference=20.0)
    other = books.cluster("other", load_sensor="/bin/other", load_reference=10.0)
    books.reads("/bin/load", 10.0)
    books.reads("/bin/other", 10.0)
    found = books.orders({one: 0, two: 0, other: 0})
    assert found == {one: FEW / 2, two: FEW / 2, other: FEW}
    assert books.orders({one: 2, two: 7, other: 3}) == {one: 1, two: 0, other: 7}
    assert books.orders({one: 8}) == {one: 2}
    with transaction(books.engine) as session:
        session.execute(update(LoadSensor).values(ceiling_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 30)))
    books.orders({one: 5, two: 5})
    assert books.ceiling("/bin/load") == FEW, "the smaller of the references counts: the load is where it should be"


def test_stress_lowers_orders_before_the_limit_and_lets_go_when_it_sinks(books) -> None:
    one = books.cluster("one")
    books.stress(one, 0.7, ago=40)
    assert books.orders({one: 100}) == {one: 0} and books.stress_ceiling(one) == 100
    books.stress(one, 0.7, ago=20)
    assert books.orders({one: 95})[one] < 5, "lower with each reading"
    lower = books.stress_ceiling(one)
    assert lower is not None and 95 < lower < 100
    books.stress(one, None)
    assert books.orders({one: 50}) == {one: int(lower) - 50}, "a reading that fails changes nothing"
    books.stress(one, 0.1)
    assert books.orders({one: 50}, 10) == {one: 10}, "the ceiling was reached: it goes up"
    assert (books.stress_ceiling(one) or 0) > lower
    books.stress(one, 0.1)
    books.orders({one: 50}, 10)
    books.stress(one, 0.1)
    assert books.orders({one: 50}) == {one: 1000} and books.stress_ceiling(one) is None
    books.stress(one, 0.75)
    books.orders({one: 50})
    books.stress(one, 0.75, ago=70)
    assert books.orders({one: 50}) == {one: 1000}, "a site that has no stress factor any more"


# --- the updater and the whole grid


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/hangs":
            self.server.stop.wait(100)  # type: ignore[attr-defined]
        body = b"load: 12.5\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        server.stop = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.stop.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def sensor(grid, text: str, reference: float = 1.0) -> None:
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(load_sensor=text, load_reference=reference))


def known(grid) -> dict[str, LoadSensor]:
    with transaction(grid.engine) as session:
        return {row.sensor: row for row in session.scalars(select(LoadSensor))}


def look(grid, done) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, grid.story()
        grid.updater.cycle()
        time.sleep(0.02)


def live(grid) -> int:
    return sum(job.state not in FINAL for job in grid.rows(Job))


def test_a_load_holds_jobs_back_and_lets_them_go(grid) -> None:
    grid.settings = dataclasses.replace(grid.settings, load_sensor_period=0.05, load_sensor_lag=0.2)
    (grid.home / "load").write_text("load 1.0 of the server")
    sensor(grid, f"/bin/cat {grid.home}/load")
    look(grid, lambda: known(grid))
    with transaction(grid.engine) as session:
        session.execute(update(LoadSensor).values(ceiling=2.0, ceiling_at=LoadSensor.read_at))
        session.execute(update(ClusterStatus).values(start_delay=0.0))  # steps are as large as the loop is quick
    campaign = grid.campaign(list("abcdefgh"), "while [ ! -e go ]; do sleep 0.1; done; true")
    most = []

    def rounds(done) -> None:
        grid.until(lambda: grid.updater.cycle() and False or most.append(live(grid)) or done())

    rounds(lambda: most[-1] == 2)
    before = known(grid)[f"/bin/cat {grid.home}/load"].read_at
    rounds(lambda: len(most) > 10 and known(grid)[f"/bin/cat {grid.home}/load"].read_at > before)
    assert max(most) == 2, "the load is at its reference, so are the jobs at their ceiling"
    (grid.home / "load").write_text("load 0.1 of the server")
    rounds(lambda: most[-1] > 4)
    (grid.home / "go").touch()
    rounds(lambda: grid.tasks(campaign) == {"done": 8})


def test_sensors_that_hang_keep_nobody(grid, url, tmp_path: Path) -> None:
    grid.settings = dataclasses.replace(grid.settings, load_sensor_period=600.0)
    sensor(grid, f"{url}/load")
    hanging = tmp_path / "hanging"
    hanging.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid; exec sleep 600\n")
    hanging.chmod(0o755)
    fields = {"api_url": "http://127.0.0.1:1", "api_auth_type": "none", "batch": "oar3", "load_reference": 1.0}
    with transaction(grid.engine) as session:
        clusters.declare(session, "a-command", load_sensor=str(hanging), **fields)
        clusters.declare(session, "a-url", load_sensor=f"{url}/hangs", **fields)
    began = time.monotonic()
    look(grid, lambda: f"{url}/load" in known(grid) and (tmp_path / "pid").exists())
    assert time.monotonic() - began < 60
    assert {text: row.load for text, row in known(grid).items()} == {f"{url}/load": 12.5}
    with transaction(grid.engine) as session:
        mini = clusters.by_name(session, "mini")
        assert mini and (status := clusters.status(session, mini.id)) and status.resources_at is not None
    pid = int((tmp_path / "pid").read_text())
    grid.forget("updater")
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_sensor_that_fails_for_long_is_told(grid) -> None:
    def told() -> list[str]:
        return [event.message for event in grid.rows(Event, code="LOAD_SENSOR_FAILED", state="open")]

    grid.settings = dataclasses.replace(grid.settings, load_sensor_period=0.05)
    sensor(grid, "/bin/echo 3")
    look(grid, lambda: known(grid))
    broken = grid.home / "broken"
    broken.write_text("#!/bin/sh\necho no mount >&2; exit 4\n")
    broken.chmod(0o755)
    sensor(grid, str(broken))
    look(grid, told)
    assert told() == ["its load sensor gives no load: exit status 4: no mount"]
    assert list(known(grid)) == [str(broken)], "what nobody names any more is forgotten"
    broken.write_text("#!/bin/sh\necho 2.5\n")
    look(grid, lambda: not told())
    assert known(grid)[str(broken)].load == 2.5 and known(grid)[str(broken)].fault == ""
    with transaction(grid.engine) as session:
        session.execute(update(Cluster).values(load_sensor=None, load_reference=None))
    look(grid, lambda: not known(grid))


def sense(grid, stress: str) -> None:
    """The updater looks at a cluster that has this stress factor."""
    grid.knob("stress", {"value": stress})
    grid.forget("updater")
    grid.updater.cycle()


def test_a_stress_factor_that_cannot_be_read_any_more_lets_nobody_in(grid) -> None:
    """The last one counts. When it has grown old, nobody knows what the cluster stands: two may wait there."""
    grid.updater.cycle()
    grid.campaign(["60"] * 50, "sleep")
    sense(grid, "0.95")
    grid.faults({"on": "GET /stress_factor", "kind": "truncate"})
    sense(grid, "0.1")
    assert len(grid.rows(Event, code="UNDER_STRESS", state="open")) == 1
    grid.metascheduler.cycle()
    grid.runner.cycle()
    assert live(grid) == 0
    grid.faults()
    sense(grid, "0.1")
    assert not grid.rows(Event, code="UNDER_STRESS", state="open")
    grid.faults({"on": "GET /stress_factor", "kind": "truncate"})
    sense(grid, "0.1")
    with transaction(grid.engine) as session:
        session.execute(update(ClusterStatus).values(stress_at=func.now() - text("interval '2 min'")))
    grid.metascheduler.cycle()
    grid.runner.cycle()
    assert live(grid) == 2
