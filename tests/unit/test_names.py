"""Names of submissions are unique, short, and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.core import names

nonces = st.binary(min_size=names.RANDOM_BYTES, max_size=names.RANDOM_BYTES)


@given(st.integers(1, 2**31 - 1), nonces)
def test_a_name_reads_back(campaign, random):
    name = names.make("00c0ffee", campaign, random)
    parts = names.parse(name)
    assert parts is not None and (parts.grid_id, parts.campaign_id, str(parts)) == ("00c0ffee", campaign, name)
    assert len(name) <= names.LONGEST and name.startswith(names.prefix("00c0ffee"))


@given(nonces, nonces)
def test_other_random_bytes_another_name(one, other):
    assert (names.make("0" * 8, 1, one) == names.make("0" * 8, 1, other)) == (one == other)


def test_the_longest_name_is_short_enough():
    assert len(names.make("0" * 8, 2**63 - 1, bytes(10))) <= names.LONGEST


@pytest.mark.parametrize(
    "name", ["", "cigri.1.1", "cigri.0000000g.1.aaaaaaaaaaaaaaaa", "cigri.00000000.0.aaaaaaaaaaaaaaaa"]
)
def test_foreign_names(name):
    assert names.parse(name) is None


@pytest.mark.parametrize("bad", [("xyz", 1, bytes(10)), ("0" * 8, 0, bytes(10)), ("0" * 8, 1, bytes(9))])
def test_no_bad_name_is_made(bad):
    with pytest.raises(ValueError):
        names.make(*bad)
