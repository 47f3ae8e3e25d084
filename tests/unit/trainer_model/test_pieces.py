"""How the texts of a batch are cut into pieces: every text once, no piece too large, and no cheaper cut."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune_trainer.train.pieces import cheapest_pieces


def cost(pieces: list[list[int]], lengths: list[int], own_cost: int) -> int:
    return sum(len(piece) * max(lengths[i] for i in piece) + own_cost for piece in pieces)


def size(piece: list[int], lengths: list[int]) -> int:
    return len(piece) * max(lengths[i] for i in piece)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=9),
    st.integers(20, 120),
    st.integers(0, 60),
)
def test_no_cut_of_the_sorted_texts_is_cheaper(lengths: list[int], most: int, own_cost: int) -> None:
    pieces = cheapest_pieces(lengths, most=most, own_cost=own_cost)
    assert sorted(i for piece in pieces for i in piece) == list(range(len(lengths)))
    assert all(size(piece, lengths) <= most or len(piece) == 1 for piece in pieces)
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    every_cut = (
        [order[a:b] for a, b in zip((0, *cuts), (*cuts, len(order)), strict=True)]
        for count in range(len(order))
        for cuts in combinations(range(1, len(order)), count)
    )
    allowed = (cut for cut in every_cut if all(size(piece, lengths) <= most or len(piece) == 1 for piece in cut))
    assert cost(pieces, lengths, own_cost) == min(cost(cut, lengths, own_cost) for cut in allowed)


def test_the_longest_texts_come_first() -> None:
    assert cheapest_pieces([3, 90, 4, 80], most=200, own_cost=10) == [[1, 3], [2, 0]]


@pytest.mark.parametrize(("own_cost", "count"), [(0, 3), (1000, 1)])
def test_a_piece_that_costs_much_of_its_own_is_made_seldom(own_cost: int, count: int) -> None:
    assert len(cheapest_pieces([10, 20, 30], most=100, own_cost=own_cost)) == count


def test_nothing_is_cut_into_nothing() -> None:
    assert cheapest_pieces([], most=100, own_cost=10) == []
