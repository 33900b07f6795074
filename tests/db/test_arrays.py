"""Lists as tables: what goes in comes out, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Integer, String, select
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

from cigri.core.states import TaskState
from cigri.db.arrays import Rows, among, rows
from cigri.db.tables import Task

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ROW = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False),
    st.none() | TEXT | st.sampled_from(['"', "\\", "{}", "a,b", "NULL", "null", "", " ", '\\"', "\n", "{a,{b}}"]),
    st.sampled_from(TaskState),
)
KINDS = {"number": BigInteger(), "amount": DOUBLE_PRECISION(), "text": String(), "state": Task.state.type}
GIVEN = Rows("given", **KINDS)
STATEMENT = select(*(GIVEN.c[name] for name in KINDS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, max_size=5))
def test_what_goes_in_comes_out(books, found):
    columns = dict(zip(KINDS, zip(*found, strict=True) if found else [()] * len(KINDS), strict=True))
    literally = rows("given", **{name: (kind, columns[name]) for name, kind in KINDS.items()})
    with books.transaction() as session:
        assert [tuple(row) for row in session.execute(STATEMENT, GIVEN.given(**columns))] == found
        assert [tuple(row) for row in session.execute(select(*(literally.c[name] for name in KINDS)))] == found


@pytest.mark.parametrize("many", [0, 1, 100_000])
def test_among_takes_any_number(books, cluster, campaign, many):
    books.allow(cluster, campaign, 2)
    (first, _), (second, _) = books.claim(cluster, campaign).lines
    tasks = [books.task_of(job_id).id for job_id in (first, second)]
    others = range(10**9, 10**9 + many)
    with books.transaction() as session:
        assert set(session.scalars(select(Task.id).where(among(Task.id, [*tasks, *others])))) == set(tasks)
        named = select(Task.id).where(among(Task.id, "wanted"))
        assert session.scalars(named, {"wanted": [tasks[0], *others]}).all() == tasks[:1]


def test_a_list_of_words_has_the_type_of_its_column(books):
    one = Rows("one", id=Integer(), state=Task.state.type)
    with books.transaction() as session:
        row = session.execute(select(one.c.state), one.given(id=[1], state=[TaskState.DONE])).one()
    assert row.state is TaskState.DONE
