"""Laws of packs for all lengths and budgets."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mopd.packing import pack_by_tokens

LENGTHS = st.lists(st.integers(1, 40), max_size=30)
BUDGETS = st.integers(1, 120)


@given(LENGTHS, BUDGETS)
def test_every_row_is_in_exactly_one_pack(lengths, budget):
    assert sorted(index for pack in pack_by_tokens(lengths, budget) for index in pack) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS)
def test_a_pack_of_several_rows_holds_the_budget_with_its_padding(lengths, budget):
    for pack in pack_by_tokens(lengths, budget):
        assert pack
        assert len(pack) == 1 or len(pack) * max(lengths[index] for index in pack) <= budget


@given(LENGTHS, BUDGETS, st.data())
def test_packs_have_the_same_lengths_whatever_the_order_of_rows(lengths, budget, data):
    shuffled = data.draw(st.permutations(lengths))
    sizes = [[[row[index] for index in pack] for pack in pack_by_tokens(row, budget)] for row in (lengths, shuffled)]
    assert sizes[0] == sizes[1]


@given(LENGTHS, BUDGETS)
def test_no_pack_has_room_for_the_next_packs_longest_row(lengths, budget):
    packs = pack_by_tokens(lengths, budget)
    for one, two in itertools.pairwise(packs):
        assert (len(one) + 1) * max(lengths[index] for index in one + two) > budget


@given(LENGTHS)
def test_a_budget_for_all_rows_needs_one_pack(lengths):
    assert len(pack_by_tokens(lengths, len(lengths) * max(lengths, default=1))) == min(1, len(lengths))
