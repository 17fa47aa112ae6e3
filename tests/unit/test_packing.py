"""Packs by hand."""

import pytest

from mopd.packing import pack_by_tokens


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
def test_rows_of_similar_length_come_together(lengths, budget, packs):
    assert pack_by_tokens(lengths, budget) == packs


def test_a_row_longer_than_the_budget_is_a_pack_of_its_own():
    assert pack_by_tokens([20, 1, 1], 10) == [[0], [1, 2]]
