"""What loads allow: the readings of load sensors and stress factors, and the ceilings that follow from them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from cigri.core.control import STALE
from cigri.db.tables import Cluster, ClusterStatus, LoadSensor

_NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Known:
    """A load as it is known now, and the ceiling that followed from the reading before.

    load: None when it was not read lately. elapsed: seconds from that reading to this one, 0 if it is the same;
    None: no ceiling yet.
    """

    load: float | None
    reference: float
    ceiling: float | None
    elapsed: float | None


@dataclass(frozen=True, slots=True)
class Sensor:
    """A load sensor with the clusters that name it. Where their references differ, the smallest counts."""

    text: str
    clusters: tuple[int, ...]
    known: Known


def sensors(session: Session, period: float) -> list[Sensor]:
    """What is known of the sensors that present clusters name; they are read each `period` seconds."""
    row = LoadSensor
    query = (
        select(
            Cluster.load_sensor,
            func.array_agg(Cluster.id),
            func.min(Cluster.load_reference),
            case((_age(row.read_at) < stale(period), row.load)).label("load"),
            row.ceiling,
            _between(row.ceiling_at, row.read_at).label("elapsed"),
        )
        .outerjoin(row, row.sensor == Cluster.load_sensor)
        .where(Cluster.load_sensor.is_not(None), Cluster.removed_at.is_(None))
        .group_by(Cluster.load_sensor, row.sensor)
        .order_by(Cluster.load_sensor)
    )
    return [
        Sensor(text, tuple(clusters), Known(load, reference, ceiling, elapsed))
        for text, clusters, reference, load, ceiling, elapsed in session.execute(query)
    ]


def stresses(session: Session, limit: float) -> dict[int, Known]:
    """What is known of the stress of present clusters that have a stress factor, or had one a minute ago.

    `reference` is the limit: the cluster's own, or this one.
    """
    status = ClusterStatus
    query = (
        select(
            status.cluster_id,
            status.stress,
            func.coalesce(Cluster.stress_factor, limit),
            status.stress_ceiling,
            _between(status.stress_ceiling_at, status.stress_at),
        )
        .join(Cluster, Cluster.id == status.cluster_id)
        .where(Cluster.removed_at.is_(None), _age(status.stress_at) < STALE)
    )
    return {row[0]: Known(*row[1:]) for row in session.execute(query)}


def stale(period: float) -> float:
    """Seconds after which a reading of a sensor is not believed any more."""
    return max(STALE, 3 * period)


def note_ceiling(session: Session, text: str, ceiling: float) -> None:
    """The ceiling that follows from the sensor's last reading."""
    session.execute(
        update(LoadSensor)
        .where(LoadSensor.sensor == text)
        .values(ceiling=ceiling, ceiling_at=LoadSensor.read_at)
        .execution_options(**_NO_SYNC)
    )


def note_stress_ceiling(session: Session, cluster_id: int, ceiling: float | None) -> None:
    """The ceiling that follows from the cluster's last stress factor; None: it allows all."""
    session.execute(
        update(ClusterStatus)
        .where(ClusterStatus.cluster_id == cluster_id)
        .values(stress_ceiling=ceiling, stress_ceiling_at=ClusterStatus.stress_at)
        .execution_options(**_NO_SYNC)
    )


def named(session: Session) -> list[str]:
    """The sensors that present clusters name."""
    query = select(Cluster.load_sensor).where(Cluster.removed_at.is_(None)).distinct()
    return [text for text in session.scalars(query) if text is not None]


def note(session: Session, text: str, load: float | None, fault: str) -> None:
    """What a sensor said; None: nothing, for this reason."""
    row = LoadSensor
    said = {"fault": fault} if load is None else {"fault": "", "load": load, "read_at": func.now()}
    statement = insert(row).values(sensor=text, **said)
    session.execute(statement.on_conflict_do_update(index_elements=[row.sensor], set_=said))


def forget(session: Session, kept: Collection[str]) -> None:
    """Drop what is known of all sensors but these."""
    session.execute(delete(LoadSensor).where(LoadSensor.sensor.not_in(kept)).execution_options(**_NO_SYNC))


def failing(session: Session, period: float) -> list[tuple[int, str]]:
    """The present clusters whose sensor has been failing for so long that its load is not believed: with the reason."""
    row = LoadSensor
    query = (
        select(Cluster.id, row.fault)
        .join(row, row.sensor == Cluster.load_sensor)
        .where(Cluster.removed_at.is_(None), row.fault != "")
        .where(row.read_at.is_(None) | (_age(row.read_at) >= stale(period)))
        .order_by(Cluster.id)
    )
    return [(number, fault) for number, fault in session.execute(query)]


def of_cluster(session: Session, cluster: Cluster) -> LoadSensor | None:
    """What is known of the cluster's sensor."""
    return session.get(LoadSensor, cluster.load_sensor) if cluster.load_sensor else None


def _age(at: InstrumentedAttribute[Any]) -> ColumnElement[float]:
    return _between(at, func.now())


def _between(earlier: Any, later: Any) -> ColumnElement[float]:
    return func.extract("epoch", later - earlier).cast(Float())
