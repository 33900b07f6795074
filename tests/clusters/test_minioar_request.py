"""What minioar reads out of a request, and which resources it chooses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cigri.local.minioar.engine import choose
from cigri.local.minioar.forms import Resource
from cigri.local.minioar.job import Need
from cigri.local.minioar.request import DEFAULT_WALLTIME, Refusal, read_resources, read_walltime


@pytest.mark.parametrize(
    ("asked", "need", "walltime"),
    [
        ([], Need(1), DEFAULT_WALLTIME),
        (["/resource_id=1"], Need(1), DEFAULT_WALLTIME),
        (["/core=3,walltime=1"], Need(3), 3600),
        (["core=3, walltime=0:2:0"], Need(3), 120),
        (["walltime=0:3"], Need(1), 180),
        (["/nodes=2"], Need(0, 2), DEFAULT_WALLTIME),
        (["/nodes=2/core=3,walltime=00:5:00"], Need(3, 2), 300),
        (["/network_address=1/cpu=1/core=2", "/core=9"], Need(2, 1), DEFAULT_WALLTIME),
    ],
)
def test_resources(asked: list[str], need: Need, walltime: int) -> None:
    assert read_resources(asked)[:2] == (need, walltime)


@pytest.mark.parametrize("word", ["", "abc", "1:2:3:4", "1:"])
def test_a_bad_walltime_breaks_oar(word: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_walltime(word)
    assert refused.value.status == 500


@given(
    st.lists(st.integers(0, 3), max_size=12),
    st.integers(0, 5),
    st.integers(0, 4),
)
def test_what_is_chosen_is_free_and_enough(nodes: list[int], each: int, wanted: int) -> None:
    free = [Resource(number, f"node{node}", node) for number, node in enumerate(nodes)]
    counts = [nodes.count(node) for node in set(nodes)]
    chosen = choose(Need(each, wanted), free)
    if wanted:
        assert (chosen is not None) == (sum(count >= max(each, 1) for count in counts) >= wanted)
    else:
        assert (chosen is not None) == (len(free) >= each)
    if chosen is not None:
        assert len(set(chosen)) == len(chosen) and set(chosen) <= {resource.id for resource in free}
        used = [nodes[number] for number in chosen]
        if wanted:
            assert len(set(used)) == wanted
            assert all(used.count(node) == (each or nodes.count(node)) for node in used)
        else:
            assert len(chosen) == each
