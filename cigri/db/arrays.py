"""Python lists as tables in a statement: what set-based SQL is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, TableValuedAlias, any_, cast, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine


def among(column: Any, ids: Iterable[int]) -> ColumnElement[bool]:
    """Whether a column is one of these whole numbers, however many: IN has a parameter for each, and a limit."""
    found: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(BigInteger())))
    return found


def rows(name: str, **columns: tuple[TypeEngine[Any], Sequence[Any]]) -> TableValuedAlias:
    """A table `name` whose columns are these lists, all of one length: column=(type, values)."""
    arrays = [cast(list(values), ARRAY(kind)) for kind, values in columns.values()]
    return func.unnest(*arrays).table_valued(*columns, name=name).render_derived()
