"""The original's tap: grows with what it lets through, closes when one job waits."""

from __future__ import annotations

from cigri.core.tap import Tap, TapRule, look, used

RULE = TapRule()


def test_it_grows_with_what_it_lets_through():
    tap, sent = Tap(3.0), []
    for second in range(0, 200, 15):
        tap = look(tap, RULE, waiting=0, now=float(second))
        sent.append(tap.left)
        tap = used(tap, tap.given)
    assert sent[:5] == [3, 4, 6, 10, 15] and sent[-1] == RULE.most


def test_it_does_not_grow_when_nothing_was_sent():
    tap = look(Tap(3.0), RULE, waiting=0, now=0.0)
    assert used(tap, 1).left == 2
    assert look(used(tap, 1), RULE, waiting=0, now=15.0).rate == 3.0


def test_one_job_that_waits_closes_it():
    tap = used(look(Tap(50.0), RULE, waiting=0, now=0.0), 50)
    closed = look(tap, RULE, waiting=1, now=15.0)
    assert (closed.left, closed.rate, closed.closed_at) == (0, 50.0, 15.0)
    assert look(closed, RULE, waiting=0, now=30.0).left == 50, "closed for less than the grace period"
    assert look(closed, RULE, waiting=0, now=80.0).left == 33
    assert look(Tap(3.0, 0.0), RULE, waiting=0, now=99.0).left == 3, "never below the first"
