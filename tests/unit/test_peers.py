"""Which peers a rollout is shown: the rules, the policies, the control, and thinking spans."""

import pytest

from mopd.config import PeersConfig
from mopd.core.types import Peers
from mopd.method.peers import choose_peers, random_peers, strip_thinking, unrelated_peers
from tests.builders import make_group

C, W, T, E = "correct", "wrong", "truncated", "error"


def recipe(successes=1, failures=1, policy="first", **options):
    return PeersConfig(successes=successes, failures=failures, policy=policy, **options)


def shown(group, index, *args, **options):
    """(success texts, failure texts) of one rollout."""
    peers = choose_peers(group, index, recipe(*args, **options))
    return peers.success_texts, peers.failure_texts


def test_a_rollout_is_never_its_own_peer():
    group = make_group("ab", kinds=[C, W])
    assert shown(group, 0) == ((), ("b",))
    assert shown(group, 1) == (("a",), ())


def test_success_is_a_reward_at_or_above_the_threshold():
    group = make_group("abc", [0.5, 0.999, 1.0])
    assert shown(group, 0, 2, 2) == (("c",), ("b",))


def test_peers_have_distinct_texts():
    assert shown(make_group("xaabb", kinds=[W, C, C, W, W]), 0, 2, 2) == (("a",), ("b",))


def test_texts_are_compared_as_they_are_shown():
    group = make_group(["x", "a", " a\n", "<think>1</think>a", "b"], kinds=[W, C, C, C, C])
    assert choose_peers(group, 0, recipe(3, 0), clean=strip_thinking).success_texts == ("a", "b")


def test_the_own_text_is_not_shown_while_another_candidate_exists():
    peers = choose_peers(make_group("aab", kinds=[C, C, C]), 0, recipe(2, 0))
    assert (peers.successes, peers.shows_own_text) == ((2,), False)


def test_the_own_text_is_shown_and_marked_when_no_other_candidate_exists():
    peers = choose_peers(make_group("aab", kinds=[C, C, W]), 0, recipe(2, 0))
    assert (peers.successes, peers.success_texts, peers.shows_own_text) == ((1,), ("a",), True)


def test_the_own_text_is_marked_among_failures_too():
    peers = choose_peers(make_group("aab", kinds=[W, W, C]), 1, recipe(1, 1))
    assert (peers.failures, peers.shows_own_text) == ((0,), True)


@pytest.mark.parametrize("kind", [C, W])
def test_a_text_is_never_shown_both_as_right_and_as_wrong(kind):
    # the same program may pass once and run out of time once
    successes, failures = shown(make_group("xaa", kinds=[kind, C, "timeout"]), 0, 1, 1)
    assert not set(successes) & set(failures)


def test_a_rollout_whose_grader_failed_is_no_peer():
    assert shown(make_group("xab", kinds=[C, E, E]), 0, 2, 2) == ((), ())


def test_a_rollout_whose_grader_failed_is_no_peer_whatever_its_reward():
    assert shown(make_group("xab", [0.0, 1.0, 0.0], kinds=[C, E, E]), 0, 2, 2) == ((), ())


def test_a_truncated_failure_is_a_peer_only_by_option():
    group = make_group("xab", kinds=[C, T, W])
    assert shown(group, 0, 1, 1) == ((), ("b",))
    assert shown(group, 0, 1, 1, truncated_failures=True) == ((), ("a",))


@pytest.mark.parametrize("empty", ["", " \n", "<think>all of it"])
def test_an_empty_text_is_never_shown(empty):
    group = make_group(["x", empty, empty], kinds=[W, C, W])
    assert choose_peers(group, 0, recipe(1, 1), clean=strip_thinking).count == 0


def test_an_empty_rollout_is_not_shown_its_empty_twin():
    peers = choose_peers(make_group(["", ""], kinds=[W, W]), 0, recipe(0, 1))
    assert (peers.count, peers.shows_own_text) == (0, False)


def test_failures_can_be_hidden_where_a_success_is_shown():
    group = make_group("xab", kinds=[W, C, W])
    assert shown(group, 0, show_failures="when_no_success") == (("a",), ())


def test_hidden_failures_appear_where_there_is_no_success():
    group = make_group("xab", kinds=[C, W, W])
    assert shown(group, 0, show_failures="when_no_success") == ((), ("a",))


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 2), (2, 1), (3, 3)])
def test_a_recipe_may_ask_for_any_counts(counts):
    peers = choose_peers(make_group("xabcdefgh", kinds=[E, *[C, W] * 4]), 0, recipe(*counts))
    assert (len(peers.successes), len(peers.failures)) == counts


def test_fewer_peers_are_shown_where_the_group_has_no_more():
    peers = choose_peers(make_group("xab", kinds=[W, C, W]), 0, recipe(3, 3))
    assert (peers.successes, peers.failures) == ((1,), (2,))


def test_the_default_recipe_is_two_successes_and_one_failure():
    peers = choose_peers(make_group("xabcdef", kinds=[E, C, C, C, W, W, W]), 0)
    assert (len(peers.successes), len(peers.failures)) == (2, 1)


def test_a_rollout_outside_the_group_is_refused():
    with pytest.raises(IndexError):
        choose_peers(make_group("ab", kinds=[C, W]), 2)


def test_policy_first_takes_the_lowest_indices_in_rollout_order():
    peers = choose_peers(make_group("xabcdef", kinds=[E, C, W, C, W, C, W]), 0, recipe(2, 2))
    assert (peers.successes, peers.failures) == ((1, 3), (2, 4))


def test_policy_first_takes_the_lowest_indices_for_a_rollout_of_its_own_block():
    peers = choose_peers(make_group("abcd", kinds=[C] * 4), 0, recipe(2, 0))
    assert set(peers.successes) == {1, 2}


EIGHT = make_group("abcdefgh", kinds=[C] * 8)


def chosen(group, index, policy, seed=0):
    return choose_peers(group, index, recipe(2, 0, policy), seed).successes


def test_policy_random_differs_between_rollouts():
    others_of_first_two = {chosen(EIGHT, i, "random") for i in range(8)}
    assert len(others_of_first_two) >= 6


@pytest.mark.parametrize("policy", ["random", "group"])
def test_seeded_policies_depend_on_seed_step_and_problem(policy):
    by_seed = {chosen(EIGHT, 0, policy, seed) for seed in range(12)}
    by_step = {chosen(make_group("abcdefgh", kinds=[C] * 8, step=step), 0, policy) for step in range(12)}
    by_problem = {chosen(make_group("abcdefgh", kinds=[C] * 8, problem_id=str(i)), 0, policy) for i in range(12)}
    assert min(len(by_seed), len(by_step), len(by_problem)) >= 6


@pytest.mark.parametrize("policy", ["first", "random", "group"])
def test_a_choice_is_repeatable(policy):
    again = make_group("abcdefgh", kinds=[C] * 8)
    assert [chosen(EIGHT, i, policy) for i in range(8)] == [chosen(again, i, policy) for i in range(8)]


def test_policy_random_takes_every_candidate_sooner_or_later():
    taken = {index for seed in range(40) for index in chosen(EIGHT, 0, "random", seed)}
    assert taken == {1, 2, 3, 4, 5, 6, 7}


def test_policy_group_shows_one_block_and_replaces_a_member_in_its_place():
    outsider = make_group("xabcdefgh", kinds=[E, *[C] * 8])
    block = chosen(outsider, 0, "group")
    first, second = block
    assert all(chosen(outsider, i, "group") == block for i in range(1, 9) if i not in block)
    assert chosen(outsider, first, "group")[1] == second
    assert chosen(outsider, second, "group")[0] == first
    assert chosen(outsider, first, "group")[0] == chosen(outsider, second, "group")[1]


def test_policy_group_differs_between_groups():
    blocks = {chosen(make_group("abcdefgh", kinds=[E, *[C] * 7], problem_id=str(i)), 0, "group") for i in range(10)}
    assert len(blocks) >= 5


OWN = make_group("xabc", kinds=[W, C, C, W], problem_id="own")
OTHERS = [
    make_group(["p1", "p2", "p3"], kinds=[C, C, W], problem_id="one"),
    make_group(["q1", "q2", "q3"], kinds=[C, W, W], problem_id="two"),
]


def unrelated(seed=0, index=0, others=(OWN, *OTHERS)):
    peers = choose_peers(OWN, index, recipe(2, 1))
    return unrelated_peers(peers, OWN, others, seed, index, str.strip)


def test_unrelated_peers_are_as_many_as_those_they_replace():
    control = unrelated()
    assert (len(control.success_texts), len(control.failure_texts)) == (2, 1)


def test_unrelated_successes_are_successes_and_failures_failures_of_other_problems():
    control = unrelated()
    assert set(control.success_texts) < {"p1", "p2", "q1"}
    assert set(control.failure_texts) < {"p3", "q2", "q3"}


def test_unrelated_peers_name_the_problems_and_rollouts_they_come_from():
    control = unrelated()
    groups = {group.problem.id: group for group in OTHERS}
    sources = zip(control.problem_ids, control.successes + control.failures, strict=True)
    texts = tuple(groups[problem_id].rollouts[index].text for problem_id, index in sources)
    assert texts == control.success_texts + control.failure_texts


def test_unrelated_peers_are_determined_by_the_seed():
    assert unrelated(seed=4) == unrelated(seed=4)
    assert len({unrelated(seed=seed).success_texts for seed in range(12)}) >= 3


def test_unrelated_peers_differ_between_rollouts():
    peers = choose_peers(OWN, 0, recipe(2, 1))
    drawn = {unrelated_peers(peers, OWN, OTHERS, 0, index, str.strip).success_texts for index in range(12)}
    assert len(drawn) >= 3


def test_no_unrelated_peers_are_shown_where_there_is_no_other_problem():
    assert unrelated(others=[OWN]).count == 0


MANY = make_group(["x", "a", "b", "c", "d", "x", "e", "f", ""], kinds=[W, C, C, W, C, C, T, E, W])


def at_random(seed=0, index=0, group=MANY, **options):
    asked = recipe(2, 1, **options)
    return random_peers(choose_peers(group, index, asked), group, seed, index, str.strip, asked)


def test_random_peers_are_as_many_as_those_they_replace_whatever_their_verdicts():
    drawn = [at_random(seed) for seed in range(40)]
    assert {(len(peers.success_texts), len(peers.failure_texts)) for peers in drawn} == {(2, 1)}
    assert {text for peers in drawn for text in peers.success_texts} == set("abcd")
    assert {text for peers in drawn for text in peers.failure_texts} == set("abcd")
    for peers in drawn:
        shown = peers.success_texts + peers.failure_texts
        assert len(set(shown)) == 3
        assert shown == tuple(MANY.rollouts[index].text for index in peers.successes + peers.failures)


def test_random_peers_are_rollouts_that_could_be_peers_and_never_the_own_text():
    shown = {text for seed in range(40) for text in at_random(seed, truncated_failures=True).success_texts}
    assert shown == set("abcde")  # neither an empty text, nor one whose grader failed, nor the rollout's own twin
    assert at_random(group=make_group("xx", kinds=[C, C])).count == 0


def test_random_peers_are_determined_by_seed_and_rollout():
    assert at_random(4) == at_random(4)
    assert len({at_random(seed).success_texts for seed in range(12)}) >= 3
    assert len({at_random(index=index).success_texts for index in (0, 5, 7)}) >= 2


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no span", "no span"),
        ("<think>a</think>b", "b"),
        ("a<think>b</think>c", "ac"),
        ("<think>a\nb</think>\n\nc", "c"),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("a<think>b", "a"),
        ("<think>a</think>b<think>c", "b"),
        ("a</think>b", "b"),
        ("a</think>b<think>c</think>d", "bd"),
        ("a</think>b<think>c", "b"),
        ("<think>a", ""),
        ("", ""),
    ],
)
def test_thinking_spans_are_removed(text, left):
    assert strip_thinking(text) == left


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a</think>b</think>c", "bc"),
        ("<think>a</think>b</think>c", "bc"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think>a</think>b<think>c", "b"),
        ("x<think>a</think>y", "xy"),
    ],
)
def test_stray_and_nested_thinking_tags_leave_no_thinking_behind(text, kept):
    assert strip_thinking(text) == kept
    assert strip_thinking(strip_thinking(text)) == kept


TAGS_THAT_ARE_TEXT = [
    "The tag `<think>` opens thoughts: 7",
    "The tags `<think>` and `</think>`: 7",
    "The `<think>`s are 7",
    "标签`</think>`表示7",
    "It is called '</think>', or \"<think>\".",
    "``print(`x`) </think>`` is 7",
    "`print('</think>')` is 7",
    "```python\nprint('<think>')\n```\n7",
    "1. so:\n\n   ~~~\n   </think>\n   ~~~\n7",
    "````\n```\n<think>\n```\n````\n7",
    'Action: say\nAction Input: {"t": "use </think> here"}',
    '<tool_call>{"name": "say", "arguments": {"t": ["<think>", "a \\"</think>\\" b"]}}</tool_call>',
    '[\n  "<think>",\n  "x"\n]',
    "The pattern r'<think>(.*?)</think>' finds 7",
    're.sub("<think>.*?</think>", "", s) gives 7',
    "It prints “<think>hm</think>”: 7",
    r"\boxed{\texttt{<think>}}",
    "It opens with (<think>) and ends with [ </think> ]: 7",
    "<answer></think></answer>",
    "> ```\n> <think>\n> ```\n7",
    "- a\n- ```\n  </think>\n  ```\n7",
    "> 1. ~~~xml\n>    <think>\n>    ~~~\n\n7",
]


@pytest.mark.parametrize("text", TAGS_THAT_ARE_TEXT)
@pytest.mark.parametrize("before", ["", "<think>a</think>", "a</think>", "<think>`a` and </think>\n"])
def test_a_tag_that_is_named_and_not_used_is_text(text, before):
    """Named alone, behind a span, and within one, where it does not end it."""
    assert strip_thinking(before + text) == text
    assert strip_thinking(f"{before}{text}\n<think>b</think>") == text
    assert strip_thinking(f"<think>{text}\n</think>7") == "7"
    assert strip_thinking(f"{text}\n</think>\n7") == "7"
    assert strip_thinking(f"<think>{text}") == ""


@pytest.mark.parametrize(
    ("thinking", "answer"),
    [
        ("a stray ` here", "It is `7`, not ` 8"),
        ("don`t", "It`s 7"),
        ('a 5" pipe', 'a 7" pipe'),
        ('"yes"', '"no"'),
        ("`yes`", "`no`"),
        ("```python\nx = 1", "```python\nprint(7)\n```"),
        ("```\nx = 1\n", "7"),
        ("~~~\nx", "```\n7\n```"),
        ('{"a": "b', '{"a": "c"}'),
        ("it's", "it's"),
    ],
)
def test_what_is_left_open_in_thinking_does_not_hide_its_end(thinking, answer):
    assert strip_thinking(f"<think>{thinking}</think>{answer}") == answer
    assert strip_thinking(f"{thinking}</think>{answer}") == answer


def test_a_block_left_open_in_an_answer_runs_to_its_end():
    assert strip_thinking("a</think>```xml\n<think>\n") == "```xml\n<think>"


def test_the_control_never_shows_a_text_both_as_right_and_as_wrong():
    own = make_group(["x", "y"], rewards=[1, 0], problem_id="own")
    others = [
        make_group(["a", "b"], rewards=[1, 0], problem_id="one"),
        make_group(["a", "c"], rewards=[0, 1], problem_id="two"),
    ]
    for seed in range(40):
        drawn = unrelated_peers(Peers((0,), (1,), ("x",), ("y",)), own, [own, *others], seed, 0)
        assert drawn.success_texts
        assert not set(drawn.success_texts) & set(drawn.failure_texts)
