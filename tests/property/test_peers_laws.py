"""Laws of peers for all groups and recipes."""

import re
import time

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mopd.config import PeersConfig
from mopd.core.types import VERDICT_KINDS
from mopd.method.peers import choose_peers, strip_thinking, unrelated_peers
from tests.builders import make_group

LAW = settings(deadline=None, max_examples=100)
TEXTS = st.sampled_from(["", " ", "a", "a ", "b", "c", "d", "<think>e</think>f", "<think>g"])


@st.composite
def groups(draw, problem_id="p", texts=TEXTS):
    rollouts = draw(st.lists(st.tuples(texts, st.sampled_from(VERDICT_KINDS)), min_size=2, max_size=9))
    return make_group([text for text, _ in rollouts], kinds=[kind for _, kind in rollouts], problem_id=problem_id)


RECIPES = st.builds(
    PeersConfig,
    successes=st.integers(0, 4),
    failures=st.integers(0, 4),
    policy=st.sampled_from(["first", "random", "group"]),
    show_failures=st.sampled_from(["always", "when_no_success"]),
    truncated_failures=st.booleans(),
)


def all_peers(group, recipe, seed=0):
    return [choose_peers(group, i, recipe, seed, strip_thinking) for i in range(len(group.rollouts))]


def cleaned(group):
    return [strip_thinking(rollout.text) for rollout in group.rollouts]


def candidates(group, own, recipe):
    """Texts that rule out nothing but the rollout itself: (successes, failures)."""
    texts = cleaned(group)
    others = [i for i in range(len(texts)) if i != own and texts[i]]
    passed = {texts[i] for i in range(len(texts)) if group.is_success(i)}
    failures = [i for i in others if group.is_failure(i) and texts[i] not in passed]
    if not recipe.truncated_failures:
        failures = [i for i in failures if not group.rollouts[i].is_truncated]
    return [texts[i] for i in others if group.is_success(i)], [texts[i] for i in failures]


@LAW
@given(groups(), RECIPES)
def test_a_rollout_is_never_its_own_peer(group, recipe):
    for index, peers in enumerate(all_peers(group, recipe)):
        assert index not in peers.successes + peers.failures


@LAW
@given(groups(), RECIPES)
def test_peers_of_a_kind_have_distinct_texts_that_are_not_empty(group, recipe):
    for peers in all_peers(group, recipe):
        for texts in (peers.success_texts, peers.failure_texts):
            assert len(set(texts)) == len(texts)
            assert all(texts)


@LAW
@given(groups(), RECIPES)
def test_peers_are_candidates_and_their_texts_are_those_of_their_rollouts(group, recipe):
    texts = cleaned(group)
    for index, peers in enumerate(all_peers(group, recipe)):
        successes, failures = candidates(group, index, recipe)
        assert set(peers.success_texts) <= set(successes)
        assert set(peers.failure_texts) <= set(failures)
        assert peers.success_texts == tuple(texts[i] for i in peers.successes)
        assert peers.failure_texts == tuple(texts[i] for i in peers.failures)


@LAW
@given(groups(), RECIPES)
def test_the_own_text_is_shown_only_where_its_kind_has_no_other_candidate_and_is_then_marked(group, recipe):
    texts = cleaned(group)
    for index, peers in enumerate(all_peers(group, recipe)):
        own = texts[index]
        offered = zip((peers.success_texts, peers.failure_texts), candidates(group, index, recipe), strict=True)
        showing = [(shown, offer) for shown, offer in offered if own in shown]
        assert peers.shows_own_text == bool(showing)
        for shown, offer in showing:
            assert shown == (own,)
            assert set(offer) == {own}


@LAW
@given(groups(), RECIPES)
def test_as_many_peers_are_shown_as_the_recipe_asks_and_the_group_offers(group, recipe):
    texts = cleaned(group)
    for index, peers in enumerate(all_peers(group, recipe)):
        successes, failures = (
            len(set(offer) - {texts[index]}) or min(1, len(offer)) for offer in candidates(group, index, recipe)
        )
        assert len(peers.successes) == min(recipe.successes, successes)
        hidden = recipe.show_failures == "when_no_success" and peers.successes
        assert len(peers.failures) == (0 if hidden else min(recipe.failures, failures))


@LAW
@given(groups(), RECIPES)
def test_policy_first_shows_the_first_candidates(group, recipe):
    recipe = recipe.model_copy(update={"policy": "first"})
    texts = cleaned(group)
    for index, peers in enumerate(all_peers(group, recipe)):
        successes, _ = candidates(group, index, recipe)
        others = [text for text in dict.fromkeys(successes) if text != texts[index]]
        if others:
            assert set(peers.success_texts) == set(others[: recipe.successes])


@LAW
@given(groups(), RECIPES, st.integers(0, 99))
def test_a_choice_depends_neither_on_earlier_choices_nor_on_their_order(group, recipe, seed):
    backwards = [choose_peers(group, i, recipe, seed, strip_thinking) for i in reversed(range(len(group.rollouts)))]
    assert all_peers(group, recipe, seed) == backwards[::-1]


@LAW
@given(groups(), RECIPES, st.integers(0, 99))
def test_under_policy_group_rollouts_outside_the_block_are_shown_the_same_block(group, recipe, seed):
    recipe = recipe.model_copy(update={"policy": "group", "show_failures": "always"})
    for texts_of in ("success_texts", "failure_texts"):
        block, shown = block_and_shown(group, recipe, seed, texts_of)
        for own, texts in shown:
            if own not in block:
                assert texts == block


@LAW
@given(groups(), RECIPES, st.integers(0, 99))
def test_under_policy_group_a_block_member_is_replaced_in_its_place(group, recipe, seed):
    recipe = recipe.model_copy(update={"policy": "group", "show_failures": "always"})
    for texts_of in ("success_texts", "failure_texts"):
        block, shown = block_and_shown(group, recipe, seed, texts_of)
        for own, texts in shown:
            others = tuple(text for text in block if text != own)
            if own in block and others:
                assert tuple(text for text in texts if text in block) == others
                assert len(texts) < len(block) or texts.index(*(set(texts) - set(block))) == block.index(own)


def block_and_shown(group, recipe, seed, texts_of):
    """The block that a rollout with a text of its own is shown, and (own text, shown texts) of every rollout.

    The last rollout is made such an observer: its grader failed, so it is nobody's peer.
    """
    texts = [rollout.text for rollout in group.rollouts]
    kinds = [verdict.kind for verdict in group.verdicts]
    group = make_group([*texts[:-1], "observer"], kinds=[*kinds[:-1], "error"])
    *peers, observer = all_peers(group, recipe, seed)
    return getattr(observer, texts_of), zip(cleaned(group), (getattr(p, texts_of) for p in peers), strict=False)


@LAW
@given(groups(), groups("q", st.sampled_from(["p", "q", "r"])), groups("r", st.sampled_from("stu")), RECIPES, st.data())
def test_unrelated_peers_come_from_other_problems_and_are_as_many_as_there_are(group, one, two, recipe, data):
    index = data.draw(st.integers(0, len(group.rollouts) - 1))
    peers = choose_peers(group, index, recipe, clean=strip_thinking)
    control = unrelated_peers(peers, group, [one, group, two], 0, index, strip_thinking)
    assert set(control.problem_ids) <= {"q", "r"}
    successes = {r.text for g in (one, two) for r in g.rollouts if g.is_success(r.index)}
    failures = {r.text for g in (one, two) for r in g.rollouts if g.is_failure(r.index)}
    assert len(control.success_texts) == min(len(peers.success_texts), len(successes))
    assert set(control.success_texts) <= successes
    assert set(control.failure_texts) <= failures


@LAW
@given(groups(), groups("q"), RECIPES, st.integers(0, 99))
def test_unrelated_peers_are_a_function_of_the_seed(group, other, recipe, seed):
    peers = choose_peers(group, 0, recipe, seed, strip_thinking)
    assume(peers.count)
    drawn = [unrelated_peers(peers, group, [group, other], seed, 0, strip_thinking) for _ in range(2)]
    assert drawn[0] == drawn[1]


WORDS = st.text("ab \n", max_size=5)


@LAW
@given(st.lists(st.tuples(WORDS, WORDS), max_size=4), WORDS, st.booleans())
def test_only_what_stands_outside_thinking_spans_is_left(spans, rest, is_closed):
    text = "".join(f"{outside}<think>{inside}</think>" for outside, inside in spans) + rest
    expected = "".join(outside for outside, _ in spans) + rest
    assert strip_thinking(text if is_closed else text + "<think>unclosed") == expected.strip()


@LAW
@given(WORDS, WORDS)
def test_a_span_opened_in_the_prompt_ends_at_its_closing_tag(inside, outside):
    assert strip_thinking(f"{inside}</think>{outside}") == outside.strip()


@LAW
@given(st.lists(st.sampled_from(["<think>", "</think>", "a", "b\n"]), max_size=30).map("".join))
def test_of_any_tags_in_any_order_pairs_are_spans_and_only_a_first_tag_that_closes_ends_the_templates(text):
    left, before = text, None
    while before != left:
        before, left = left, re.sub(r"<think>(?:(?!</?think>).)*</think>", "", left, flags=re.DOTALL)
    if (re.findall("</?think>", text) or [""])[0] == "</think>":
        left = left.partition("</think>")[2]
    assert strip_thinking(text) == left.replace("</think>", "").partition("<think>")[0].strip()


def test_ten_megabytes_of_thinking_tags_are_no_trouble():
    began = time.process_time()
    for text in ("<think>" * 700_000 + "</think>" * 700_000, "<think>" * 1_400_000, "</think>x" * 1_100_000):
        assert set(strip_thinking(text)) <= {"x"}
    assert time.process_time() - began < 20.0
