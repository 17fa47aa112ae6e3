"""Where a rollout goes wrong, what contexts do besides telling, and which lines of a log are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopd.page.places import LEAST, alike_and_apart, first_wrong, nearest
from mopd.page.sampling import LONGEST_TEXT, Budget, dumped, shown, spread
from mopd.runs.lines import Lines

NATS = st.floats(-20, 20)


def test_a_rollout_goes_wrong_at_the_first_token_that_is_doubted_by_half_of_the_strongest_doubt():
    assert first_wrong([0.0, 0.1, 2.0, 0.0, 3.5]) == 2
    assert first_wrong([0.0, 1.0, 2.0, 0.0, 5.0]) == 4
    assert first_wrong([]) is None


def test_a_teacher_that_holds_no_other_token_twice_as_probable_does_not_say_where():
    assert first_wrong([0.0, LEAST * 0.99, 0.2]) is None
    assert first_wrong([0.0, LEAST, 0.2]) == 1


def test_the_nearest_success_begins_like_the_rollout_for_longest():
    assert nearest("abcd", {3: "abxx", 5: "abcx", 6: "abcy"}) == (5, 3)
    assert nearest("abcd", {}) is None


@given(st.lists(st.tuples(NATS, NATS), max_size=20))
def test_what_is_alike_and_what_is_apart_add_up_to_the_larger_movement(pairs):
    alike, apart = alike_and_apart([a for a, _ in pairs], [b for _, b in pairs])
    assert alike + apart == pytest.approx(sum(max(abs(a), abs(b)) for a, b in pairs))


def test_equal_movements_are_style_and_opposite_ones_content():
    assert alike_and_apart([2.0, -1.0], [2.0, -1.0]) == (3.0, 0.0)
    assert alike_and_apart([2.0, -1.0], [-2.0, 1.0]) == (0.0, 3.0)


@given(st.integers(0, 300))
def test_every_line_is_chosen_once(count):
    assert sorted(spread(count)) == list(range(count))


@given(st.integers(2, 3000), st.data())
def test_every_beginning_of_the_order_lies_evenly(count, data):
    taken = data.draw(st.integers(1, count))
    order = spread(count)
    chosen = sorted(next(order) for _ in range(taken))
    gaps = [b - a for a, b in zip([0, *chosen], [*chosen, count], strict=True)]
    assert max(gaps) <= 4 * math.ceil(count / taken)


def test_lines_that_cannot_be_read_are_counted_and_the_others_found_again(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"a": 1}\n{"a": \n\xff\xfe\n[1]\n{"a": 2}\n{"a"')
    found = Lines.scan(log, lambda row: row["a"])
    assert [found.read(i) for i in range(len(found.offsets))] == [{"a": 1}, {"a": 2}]
    assert found.damaged == 4
    assert len(Lines.scan(tmp_path / "none.jsonl", lambda row: row).offsets) == 0


def test_a_budget_of_rollouts_and_bytes_is_kept():
    budget = Budget(rollouts=3, bytes=100)
    assert budget.takes("x" * 50, 2)
    assert not budget.takes("x" * 10, 2)
    assert not budget.takes("x" * 60, 1)
    assert budget.takes("x" * 10, 1)


def test_no_text_of_a_model_ends_a_script_or_hides_in_the_page():
    hostile = "</script><!-- \x1b[31m \u202egnp.exe \ud800 \x00 <b>🙂"
    written = dumped({"text": shown(hostile), "number": math.nan})
    assert b"<" not in written
    assert "\\\\u202e" in written.decode()
    assert "\\\\x1b" in written.decode()
    assert "🙂" in written.decode()
    assert b'"number":null' in written


def test_of_a_long_text_the_middle_is_left_out_and_counted():
    text = shown("a" * LONGEST_TEXT + "b" * 80_000)
    assert len(text) < LONGEST_TEXT + 100
    assert "80,000 characters are left out" in text
    assert text.startswith("aaa")
    assert text.endswith("bbb")
