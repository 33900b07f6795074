"""What tokens say of themselves, and when something is done about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core import tokens
from cigri.local.minioar.tokens import issue

SECRET = "a secret of the cluster, long enough for HS256"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)


def test_user_and_end_are_read_without_the_clusters_key():
    said = tokens.claims(issue(SECRET, "alice", 3600, now=NOW.timestamp()))
    assert (said.user, said.expires) == ("alice", NOW + timedelta(hours=1))
    assert tokens.claims(issue(SECRET, "bob", None)).expires is None
    assert tokens.claims(issue(SECRET, "late", -10)).user == "late"


@pytest.mark.parametrize(
    "token",
    ["", "abc", "a.b.c", "x" * 9000, jwt.encode({"user": "a b"}, SECRET), jwt.encode({"user": 7}, SECRET)]
    + [jwt.encode({"user": "alice\n"}, SECRET), issue(SECRET, "alice")[5:]],
)
def test_what_is_no_token_is_refused_without_showing_it(token):
    with pytest.raises(ValueError) as caught:
        tokens.claims(token)
    assert len(token) < 4 or token not in str(caught.value)


def test_dates_that_are_none_are_refused():
    for end in ("never", 1e300, [1]):
        token = jwt.api_jws.PyJWS().encode(f'{{"user":"a","exp":{end!r}}}'.replace("'", '"').encode(), SECRET)
        with pytest.raises(ValueError, match="exp|no token"):
            tokens.claims(token)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text):
    try:
        tokens.claims(text)
    except ValueError as error:
        assert len(str(error)) < 100


def test_renewal_comes_with_a_third_of_the_time_left_or_a_week():
    year = NOW + 365 * DAY
    assert not tokens.renewal_due(NOW, NOW, year)
    assert not tokens.renewal_due(NOW + 240 * DAY, NOW, year)
    assert tokens.renewal_due(NOW + 245 * DAY, NOW, year)
    assert tokens.renewal_due(NOW + 5 * DAY, NOW, NOW + 11 * DAY)
    assert not tokens.renewal_due(NOW + timedelta(hours=2), NOW, NOW + 6 * DAY)
    assert tokens.renewal_due(NOW + timedelta(minutes=41), NOW, NOW + timedelta(hours=1))


def test_the_owner_is_told_in_good_time():
    year = NOW + 365 * DAY
    assert not tokens.owner_is_told(NOW + 300 * DAY, NOW, year)
    assert tokens.owner_is_told(year - 6 * DAY, NOW, year)
    assert tokens.next_try(NOW, year) == timedelta(hours=6)
    assert tokens.next_try(NOW, NOW + timedelta(hours=1)) == timedelta(minutes=1)


def test_personal_tokens_are_random_and_kept_as_a_digest():
    made = {tokens.make_api_token() for _ in range(50)}
    assert len(made) == 50 and all(tokens.API_TOKEN.fullmatch(one) for one in made)
    assert all(len(tokens.digest(one)) == 64 and one[6:] not in tokens.digest(one) for one in made)
