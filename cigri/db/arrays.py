"""Python lists as tables in a statement: what set-based SQL is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    TableValuedAlias,
    TypeDecorator,
    any_,
    bindparam,
    column,
    func,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine


class Array(TypeDecorator[Sequence[Any]]):
    """An array of numbers, words or text, sent as PostgreSQL writes it: psycopg takes ten times as long for a list."""

    impl = ARRAY
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Sequence[Any] | None], str]:
        return _written


class Rows:
    """A table `name` whose columns are lists, for statements that are built once: the lists come with each execution.

    Whoever builds a statement of this size anew each time spends more on it than on what it does.
    """

    def __init__(self, name: str, **columns: TypeEngine[Any]) -> None:
        self._name = name
        arrays = [bindparam(f"{name}_{column}", type_=Array(kind)) for column, kind in columns.items()]
        self.table = _table(name, columns, arrays)
        self.c = self.table.c

    def given(self, **lists: Sequence[Any]) -> dict[str, Sequence[Any]]:
        """The parameters of a statement: a list for each column, all of one length."""
        return {f"{self._name}_{column}": values for column, values in lists.items()}


def among(of: Any, ids: Iterable[int] | str) -> ColumnElement[bool]:
    """Whether a column is one of these whole numbers, however many: IN has a parameter for each, and a limit.

    `ids` may be the name of the parameter with which they come.
    """
    kind = Array(BigInteger())
    found: ColumnElement[bool] = of == any_(
        bindparam(ids, type_=kind) if isinstance(ids, str) else literal(list(ids), kind)
    )
    return found


def rows(name: str, **columns: tuple[TypeEngine[Any], Sequence[Any]]) -> TableValuedAlias:
    """A table `name` whose columns are these lists, all of one length: column=(type, values)."""
    kinds = {column: kind for column, (kind, _) in columns.items()}
    return _table(name, kinds, [literal(values, Array(kind)) for kind, values in columns.values()])


def _table(name: str, kinds: Mapping[str, TypeEngine[Any]], arrays: Sequence[ColumnElement[Any]]) -> TableValuedAlias:
    columns = [column(name_of, kind) for name_of, kind in kinds.items()]
    return func.unnest(*arrays).table_valued(*columns, name=name).render_derived()


def _written(values: Sequence[Any] | None) -> str:
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values or ()]) + "}"


def _quoted(value: float | str) -> str:
    if not isinstance(value, str):
        return str(value)
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
