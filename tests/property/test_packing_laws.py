"""Laws of packs and tries for all sequences and budgets."""

import itertools
import math

from hypothesis import assume, given
from hypothesis import strategies as st

from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.trie import build_trie

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple)
SEQUENCES = st.lists(TOKENS, max_size=20)
BUDGETS = st.integers(1, 120)


def size(sequences):
    """Distinct prefixes: what a trie has to compute."""
    return len({sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)})


@given(SEQUENCES, BUDGETS, st.booleans())
def test_every_row_is_in_exactly_one_pack(sequences, budget, shares):
    packs = pack_by_tokens(sequences, budget, shares)
    assert sorted(index for pack in packs for index in pack) == list(range(len(sequences)))


def room(pack, row, budget):
    """Tokens that a pack may have with one more row: beyond the budget only for siblings of a long sequence."""
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(pack[-1], row, strict=False)))
    is_sibling = 2 * shared >= len(row)
    return len(pack[0]) + budget if 2 * len(pack[0]) > budget and is_sibling else budget


@given(SEQUENCES, BUDGETS)
def test_a_pack_holds_the_budget_or_a_long_sequence_with_its_siblings(sequences, budget):
    for pack in pack_by_tokens(sequences, budget):
        rows = [sequences[index] for index in pack]
        for count in range(1, len(rows)):
            assert size(rows[: count + 1]) <= room(rows[:count], rows[count], budget)
    for pack in pack_by_tokens(sequences, budget, shares_prefixes=False):
        assert len(pack) == 1 or len(pack) * max(len(sequences[index]) for index in pack) <= budget


@given(SEQUENCES, BUDGETS)
def test_no_pack_has_room_for_the_row_that_begins_the_next(sequences, budget):
    packs = sorted(pack_by_tokens(sequences, budget), key=lambda pack: (sequences[pack[0]], pack[0]))
    for one, two in itertools.pairwise(packs):
        rows, row = [sequences[index] for index in one], sequences[two[0]]
        assert size([*rows, row]) > room(rows, row, budget)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 30), st.integers(1, 120))
def test_siblings_compute_a_long_prefix_once_for_each_budget_of_new_tokens(prefix, new, count, budget):
    assume(prefix >= new and 2 * (prefix + new) > budget)
    sequences = [(7,) * prefix + (10 + index,) * new for index in range(count)]
    computed = sum(size([sequences[index] for index in pack]) for pack in pack_by_tokens(sequences, budget))
    assert computed == count * new + prefix * math.ceil(count / (1 + budget // new))


@given(SEQUENCES, BUDGETS)
def test_the_largest_pack_comes_first(sequences, budget):
    sizes = [size([sequences[index] for index in pack]) for pack in pack_by_tokens(sequences, budget)]
    assert sizes == sorted(sizes, reverse=True)


@given(SEQUENCES, BUDGETS, st.data())
def test_packs_hold_the_same_sequences_whatever_their_order(sequences, budget, data):
    shuffled = data.draw(st.permutations(sequences))
    packs = [[[rows[i] for i in pack] for pack in pack_by_tokens(rows, budget)] for rows in (sequences, shuffled)]
    assert packs[0] == packs[1]


@given(SEQUENCES)
def test_a_trie_has_a_node_for_every_distinct_prefix_and_no_more(sequences):
    trie = build_trie(sequences)
    assert len(trie.token_ids) == size(sequences) == sum(trie.new_counts)
    for sequence, path in zip(sequences, trie.paths, strict=True):
        assert tuple(trie.token_ids[path]) == sequence
        assert trie.positions[path].tolist() == list(range(len(sequence)))
    prefixes = {}
    for sequence, path in zip(sequences, trie.paths, strict=True):
        for length, node in enumerate(path, start=1):
            assert prefixes.setdefault(sequence[:length], node) == node
