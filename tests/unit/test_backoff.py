"""Delays before the next start of something that keeps dying, or the next look at something that goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cigri.core.backoff import (
    CALM,
    FIRST_DELAY,
    FIRST_SILENCE,
    LONGEST_DELAY,
    LONGEST_SILENCE,
    Restart,
    look_again,
    restart,
    silence,
)

deaths = st.integers(0, 10**6)
short_lives = st.floats(0, CALM, exclude_max=True)


def test_delays_double_up_to_the_longest():
    delays, died = [], 0
    for _ in range(10):
        again = restart(died, 0.1)
        died = again.deaths
        delays.append(again.delay)
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0] and delays[-1] == LONGEST_DELAY


@given(deaths, short_lives)
def test_delays_grow_and_are_bounded(count, lived):
    one, next_one = restart(count, lived), restart(count + 1, lived)
    assert FIRST_DELAY <= one.delay <= next_one.delay <= LONGEST_DELAY
    assert one.deaths == count + 1


@given(deaths, st.floats(CALM, 1e9))
def test_a_calm_life_forgives(count, lived):
    assert restart(count, lived) == Restart(FIRST_DELAY, 1)


def test_what_goes_on_is_looked_at_ever_more_seldom():
    looks = [age for age in range(0, 100_000, 10) if look_again(float(age), 10.0)]
    assert looks == [600, 1200, 2400, 4800, 9600, 19200, 38400, 76800]
    assert not look_again(-5.0, 60.0)


def test_what_dies_each_minute_is_told_of_ever_less_often():
    told, quiet, last = [], 0.0, float("-inf")
    for now in range(0, 7 * 86400, 60):
        if (found := silence(quiet, now - last)) is not None:
            quiet, last = found, float(now)
            told.append(now)
    assert told[:4] == [0, 60, 180, 420] and len(told) < 20
    assert told[-1] > 6 * 86400, "never for good"


def test_a_death_long_after_the_last_is_the_first_again():
    assert silence(0.0, float("inf")) == silence(LONGEST_SILENCE, 2 * LONGEST_SILENCE) == FIRST_SILENCE
