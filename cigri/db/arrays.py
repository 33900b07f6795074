"""Python lists as tables in a statement: what set-based SQL is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Float,
    FromClause,
    Integer,
    String,
    any_,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeDecorator, TypeEngine


def among(column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """Whether a column is one of these whole numbers, however many: IN has a parameter for each, and a limit."""
    found: ColumnElement[bool] = column == any_(_array(BigInteger(), list(ids)))
    return found


def rows(name: str, **columns: tuple[TypeEngine[Any], Sequence[Any]]) -> FromClause:
    """A table `name` whose columns are these lists, all of one length: column=(type, values)."""
    same = {column for column, (_, values) in columns.items() if len(values) > 1 and _alike(values)}
    lists = {column: found for column, found in columns.items() if column not in same}
    if not same or not lists:
        return _unnested(columns, name)
    # What all rows have alike goes once: tens of thousands of jobs have few ways to end.
    table = _unnested(lists, f"{name}_lists")
    told = [
        cast(values[0], kind).label(column) if column in same else table.c[column]
        for column, (kind, values) in columns.items()
    ]
    return select(*told).select_from(table).subquery(name)


def _unnested(columns: dict[str, tuple[TypeEngine[Any], Sequence[Any]]], name: str) -> FromClause:
    arrays = [_array(kind, values) for kind, values in columns.values()]
    return func.unnest(*arrays).table_valued(*columns, name=name).render_derived()


def _alike(values: Sequence[Any]) -> bool:
    return list(values).count(values[0]) == len(values)


def _array(kind: TypeEngine[Any], values: Sequence[Any]) -> ColumnElement[Any]:
    if isinstance(kind, Integer | Float) or type(kind) is String:
        return literal(values, _Text(kind))
    return cast(list(values), ARRAY(kind))


class _Text(TypeDecorator[Sequence[Any]]):
    """An array of numbers or text, sent as PostgreSQL writes it: psycopg takes ten times as long for a list."""

    impl = ARRAY
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Sequence[Any] | None], str]:
        return _written


def _written(values: Sequence[Any] | None) -> str:
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values or ()]) + "}"


def _quoted(value: float | str) -> str:
    if not isinstance(value, str):
        return str(value)
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
