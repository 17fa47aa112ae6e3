"""Packs and tries by hand."""

import pytest

from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.trie import build_trie, common_prefix


def rows(*lengths):
    """Sequences that share nothing, of the given lengths."""
    return [tuple(range(100 * index, 100 * index + length)) for index, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("lengths", "budget", "packs"),
    [
        ([], 10, []),
        ([3], 10, [[0]]),
        ([5, 5, 5], 10, [[0, 1], [2]]),
        ([1, 4, 2, 4], 8, [[1, 3], [2, 0]]),
        ([1, 1, 1, 1], 4, [[0, 1, 2, 3]]),
        ([2, 9, 2], 4, [[1], [0, 2]]),
    ],
)
def test_without_shared_prefixes_rows_of_similar_length_come_together(lengths, budget, packs):
    assert pack_by_tokens(rows(*lengths), budget, shares_prefixes=False) == packs


def test_a_shared_prefix_counts_once():
    sequences = [(1, 2, 3, 4), (1, 2, 3, 5), (9, 9, 9, 9), (1, 2, 3, 6)]
    assert pack_by_tokens(sequences, 6) == [[0, 1, 3], [2]]
    assert pack_by_tokens([(1, 2, 3, 4 + index) for index in range(6)], 8) == [[0, 1, 2, 3, 4], [5]]
    assert pack_by_tokens(sequences, 10) == [[0, 1, 3, 2]]


def computed(sequences, budget):
    return sum(len(build_trie([sequences[i] for i in pack]).token_ids) for pack in pack_by_tokens(sequences, budget))


@pytest.mark.parametrize(("prompt", "tokens"), [(600, 1000), (450, 850), (300, 700), (200, 600 + 200)])
def test_eight_short_completions_of_a_long_prompt_compute_the_prompt_once(prompt, tokens):
    """Or twice, where packs close at the budget of 512: a prompt that a microbatch has room for."""
    sequences = [(1,) * prompt + (2 + index,) * 50 for index in range(8)]
    assert computed(sequences, 512) == tokens


def test_a_long_sequence_takes_siblings_up_to_the_budget_and_no_strangers():
    siblings = [(1,) * 600 + (2 + index,) * 50 for index in range(16)]
    packs = pack_by_tokens([*siblings, (99,) * 20], 512)
    assert sorted(map(len, packs)) == [1, 5, 11]  # 600 + 11 x 50 at most, then the prompt once more


@pytest.mark.parametrize("shares_prefixes", [True, False])
def test_a_row_longer_than_the_budget_is_a_pack_of_its_own(shares_prefixes):
    assert sorted(pack_by_tokens(rows(20, 1, 1), 10, shares_prefixes)) == [[0], [1, 2]]


def test_a_trie_has_every_shared_prefix_once():
    trie = build_trie([(5, 6, 7), (5, 8), (5, 6, 9), (5, 6, 7)])
    assert trie.token_ids.tolist() == [5, 6, 7, 9, 8]
    assert trie.positions.tolist() == [0, 1, 2, 2, 1]
    assert [path.tolist() for path in trie.paths] == [[0, 1, 2], [0, 4], [0, 1, 3], [0, 1, 2]]
    assert trie.new_counts == (3, 1, 1, 0)


def test_common_prefixes_by_hand():
    assert common_prefix((), (1,)) == 0
    assert common_prefix((1, 2, 3), (1, 2)) == 2
    assert common_prefix((1, 2, 3), (1, 4, 3)) == 1
