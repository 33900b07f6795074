"""Pairing what was sent with what is on the cluster: whatever is seen, each key has one job or is given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cigri.core.settling import Pairing, Sighting, pair

KEYS = frozenset(range(100, 106))


@st.composite
def sightings(draw):
    """Jobs with the submission's name as a cluster may show them: copies, chains, corpses, strangers."""
    ids = draw(st.lists(st.integers(1, 60), unique=True, max_size=14))
    found = []
    for job_id in ids:
        ended = draw(st.booleans())
        found.append(
            Sighting(
                job_id,
                draw(st.sampled_from([None, 99, *sorted(KEYS)])),
                draw(st.sampled_from([0, 0, *ids, 1000])),
                held=not ended and draw(st.booleans()),
                ended=ended,
                succeeded=ended and draw(st.booleans()),
            )
        )
    return found


def kept_ids(pairing):
    return {seen.id for chain in pairing.kept.values() for seen in chain.sightings}


@given(sightings())
def test_every_key_is_kept_or_missing_and_never_both(seen):
    pairing = pair(KEYS, seen)
    assert pairing.kept.keys() | pairing.missing == KEYS
    assert not pairing.kept.keys() & pairing.missing


@given(sightings())
def test_no_job_stands_for_two_keys_or_is_kept_and_deleted(seen):
    pairing = pair(KEYS, seen)
    chains = [job.id for chain in pairing.kept.values() for job in chain.sightings]
    assert len(chains) == len(set(chains))
    assert not kept_ids(pairing) & set(pairing.surplus)


@given(sightings())
def test_whatever_lives_is_kept_or_deleted(seen):
    pairing = pair(KEYS, seen)
    alive = {job.id for job in seen if not job.ended}
    assert alive <= kept_ids(pairing) | set(pairing.surplus)
    assert set(pairing.surplus) <= alive, "what has ended needs no deletion"


@given(sightings())
def test_a_key_keeps_its_own_jobs_only(seen):
    for key, chain in pair(KEYS, seen).kept.items():
        assert {job.key for job in chain.sightings} == {key}


@given(sightings())
def test_what_is_held_is_never_waited_for(seen):
    assert not any(chain.newest.held for chain in pair(KEYS, seen).kept.values())


@given(sightings())
def test_a_key_is_missing_only_when_all_its_jobs_are_corpses(seen):
    missing = pair(KEYS, seen).missing
    for job in seen:
        if job.key in missing and not job.held:
            followers = {other.id for other in seen if other.key == job.key and other.replaces == job.id}
            assert followers, f"{job} could have been kept"


@given(sightings())
def test_links_of_a_chain_replace_each_other(seen):
    for chain in pair(KEYS, seen).kept.values():
        links = list(zip(chain.sightings, chain.sightings[1:], strict=False))
        assert all(newer.replaces == older.id < newer.id for older, newer in links)


@given(sightings())
def test_the_order_of_the_listing_does_not_matter(seen):
    assert pair(KEYS, seen) == pair(KEYS, seen[::-1])


@given(sightings())
def test_another_look_at_what_was_kept_says_the_same(seen):
    first = pair(KEYS, seen)
    again = pair(KEYS, [job for job in seen if job.id in kept_ids(first)])
    assert (again.kept, again.surplus, again.missing) == (first.kept, (), first.missing)


def test_a_whole_array():
    seen = [Sighting(10 + index, key, array_index=index) for index, key in enumerate(sorted(KEYS), 1)]
    pairing = pair(KEYS, seen)
    assert {key: chain.newest.id for key, chain in pairing.kept.items()} == {key: key - 89 for key in KEYS}
    assert (pairing.surplus, pairing.missing) == ((), frozenset())


def test_nothing_there():
    assert pair(KEYS, []) == Pairing({}, (), KEYS)


def test_half_an_array_left_in_hold():
    """Seen on OAR3 when several clients submit at once: jobs without a description, in Hold for ever."""
    seen = [Sighting(11947, 100, held=True), Sighting(11948, 101, held=True), Sighting(11949, 102)]
    pairing = pair({100, 101, 102}, seen)
    assert pairing.kept.keys() == {102} and pairing.surplus == (11947, 11948) and pairing.missing == {100, 101}


def test_of_two_arrays_the_one_that_succeeded_is_kept_though_the_other_is_older():
    seen = [Sighting(1, 100), Sighting(2, 100, ended=True, succeeded=True)]
    pairing = pair({100}, seen)
    assert pairing.kept[100].newest.id == 2 and pairing.surplus == (1,)


def test_of_two_arrays_the_living_one_is_kept():
    pairing = pair({100}, [Sighting(1, 100, ended=True), Sighting(2, 100)])
    assert pairing.kept[100].newest.id == 2 and pairing.surplus == ()


def test_of_two_living_arrays_the_older_is_kept():
    pairing = pair({100, 101}, [Sighting(1, 100), Sighting(2, 101), Sighting(3, 100), Sighting(4, 101)])
    assert [chain.newest.id for chain in pairing.kept.values()] == [1, 2] and pairing.surplus == (3, 4)


def test_a_chain_of_restarts_is_one_job():
    """As recorded: 11927 was restarted as 11928, and that as 11929."""
    seen = [
        Sighting(11929, 100, replaces=11928),
        Sighting(11927, 100, ended=True),
        Sighting(11928, 100, 11927, ended=True),
    ]
    chain = pair({100}, seen).kept[100]
    assert [job.id for job in chain.sightings] == [11927, 11928, 11929] and pair({100}, seen).surplus == ()


def test_what_was_restarted_after_a_success_is_surplus():
    seen = [Sighting(7, 100, ended=True, succeeded=True), Sighting(8, 100, replaces=7)]
    pairing = pair({100}, seen)
    assert pairing.kept[100].newest.id == 7 and pairing.surplus == (8,)


def test_of_a_run_and_its_restart_that_both_succeeded_the_first_counts():
    seen = [Sighting(number, 100, replaces=number - 1, ended=True, succeeded=True) for number in (7, 8)]
    assert [job.id for job in pair({100}, seen).kept[100].sightings] == [7]


def test_a_chain_whose_beginning_is_not_shown_any_more():
    chain = pair({100}, [Sighting(11928, 100, replaces=11927)]).kept[100]
    assert chain.newest.id == 11928


def test_strangers_are_deleted_while_they_live():
    assert pair({100}, [Sighting(1, None), Sighting(2, 7), Sighting(3, 7, ended=True)]).surplus == (1, 2)
