"""COPY keeps every character."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from cigri.db.copying import copy_texts

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ODD = st.sampled_from(["", "\\N", "\\.", "\\", "a\tb", "a\nb", "a\r", "\\n", "é à", "\u2028", " "])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT | ODD, max_size=5))
def test_texts_come_as_they_went(books, texts):
    with books.transaction() as session:
        session.execute(text("CREATE TEMP TABLE kept (key integer, line text, n serial) ON COMMIT DROP"))
        assert copy_texts(session, "COPY kept (key, line) FROM STDIN", 7, texts) == len(texts)
        kept = session.execute(text("SELECT key, line FROM kept ORDER BY n")).all()
    assert [tuple(row) for row in kept] == [(7, each) for each in texts]
