"""Laws of contexts for all peers and budgets."""

import random
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from mopd.config import TemplateConfig
from mopd.core.types import Context
from mopd.method.contexts import render_context

LAW = settings(deadline=None, max_examples=150)
TEMPLATE = TemplateConfig(success="<S{text}>", failure="<F{text}>", feedback="<V{text}>", turn="{problem}:{blocks}!end")
LONG = st.integers(1, 60).map(lambda length: ("abc {text} {problem} " * 3)[:length])
TEXTS = st.lists(st.text("ab {}textproblems", min_size=1, max_size=20) | LONG, max_size=4)
PROBLEMS = st.text("xyz{problem}{blocks}", min_size=1, max_size=12)
ORDERS = st.sampled_from(["failures_first", "successes_first", "shuffled"])
POLICIES = st.sampled_from(["shorten", "drop"])
FEEDBACK = st.sampled_from(["", "no", "{text}", "a longer word of feedback"])


def characters(messages):
    return sum(len(message["content"]) for message in messages)


def whole_words(messages):
    """A count that is not proportional to characters, as those of real tokenizers."""
    return sum(1 + len(message["content"].split()) + len(message["content"]) // 3 for message in messages)


def render(problem, successes, failures, feedback="", budget=None, count=characters, order="failures_first", **options):
    return render_context(
        [{"role": "user", "content": problem}],
        successes,
        failures,
        template=TEMPLATE,
        order=order,
        feedback=feedback,
        budget=budget,
        encode=lambda messages: range(count(messages)),
        rng=random.Random(0),
        **options,
    )


def shown(context):
    return [(block.kind, block.text) for block in context.blocks]


def expected_turn(problem, context):
    letters = {"success": "S", "failure": "F", "feedback": "V"}
    return f"{problem}:" + "".join(f"<{letters[kind]}{text}>" for kind, text in shown(context)) + "!end"


@LAW
@given(PROBLEMS, TEXTS, TEXTS, FEEDBACK, ORDERS)
def test_every_block_is_shown_verbatim_once_and_only_the_order_differs(problem, successes, failures, feedback, order):
    context = render(problem, successes, failures, feedback, order=order)
    blocks = [("success", text) for text in successes] + [("failure", text) for text in failures]
    blocks += [("feedback", feedback)] if feedback else []
    assert Counter(shown(context)) == Counter(blocks)
    assert context.messages[-1]["content"] == expected_turn(problem, context)


@dataclass
class Case:
    """One context without a budget and the same with one."""

    problem: str
    whole: Context
    context: Context
    budget: int


def make_case(problem, successes, failures, feedback, room, policy, count):
    """The budget is `room` tokens more than the problem alone needs."""
    budget = count(render(problem, (), ()).messages) + room
    whole = render(problem, successes, failures, feedback, count=count)
    context = render(problem, successes, failures, feedback, budget, count, over_budget=policy)
    assert context.token_count == count(context.messages)
    return Case(problem, whole, context, budget)


def survivors(case):
    """The whole context's blocks that are left: failures go first, then feedback, then successes."""
    whole, worth = shown(case.whole), ["success", "feedback", "failure"]
    ranked = sorted(range(len(whole)), key=lambda i: worth.index(whole[i][0]))
    return [whole[i] for i in sorted(ranked[: len(case.context.blocks)])]


ROOM = st.integers(0, 120)
COUNTS = st.sampled_from([characters, whole_words])
CASES = st.builds(make_case, PROBLEMS, TEXTS, TEXTS, FEEDBACK, ROOM, POLICIES, COUNTS)


@LAW
@given(CASES)
def test_the_budget_is_held(case):
    assert case.context.token_count <= case.budget


@LAW
@given(CASES)
def test_problem_and_closing_instruction_survive_any_budget(case):
    assert case.context.messages[-1]["content"] == expected_turn(case.problem, case.context)


@LAW
@given(CASES)
def test_a_context_that_fits_is_not_touched(case):
    assert case.whole.token_count > case.budget or case.context == case.whole


@LAW
@given(CASES)
def test_nothing_is_cut_or_left_out_without_being_counted(case):
    before, after = shown(case.whole), shown(case.context)
    assert case.context.dropped_count == len(before) - len(after)
    assert case.context.shortened_count == sum(a != b for a, b in zip(survivors(case), after, strict=True))


@LAW
@given(CASES)
def test_a_context_over_budget_is_counted_as_shortened_or_dropped(case):
    changed = case.context.shortened_count + case.context.dropped_count
    assert (changed > 0) == (case.whole.token_count > case.budget)


@LAW
@given(CASES)
def test_a_shortened_text_is_a_head_and_a_tail_around_the_marker(case):
    for (kind, before), (same_kind, after) in zip(survivors(case), shown(case.context), strict=True):
        assert kind == same_kind
        if after != before:
            head, marker, tail = after.partition(TEMPLATE.marker)
            assert marker
            assert before.startswith(head)
            assert before.endswith(tail)
            assert 0 <= len(head) - len(tail) <= 1
            assert len(after) < len(before)


@LAW
@given(PROBLEMS, TEXTS, TEXTS, FEEDBACK, ROOM, COUNTS)
def test_policy_drop_leaves_out_failures_first_and_shortens_none(problem, successes, failures, feedback, room, count):
    case = make_case(problem, successes, failures, feedback, room, "drop", count)
    assert case.context.shortened_count == 0
    assert shown(case.context) == survivors(case)


@LAW
@given(PROBLEMS, TEXTS, TEXTS, ROOM)
def test_shortening_uses_the_room_there_is(problem, successes, failures, room):
    case = make_case(problem, successes, failures, "", room, "shorten", characters)
    if case.context.shortened_count:
        # one more character for each block would not fit
        assert case.budget - case.context.token_count < len(case.context.blocks)


@LAW
@given(PROBLEMS, TEXTS, TEXTS, FEEDBACK, ROOM, POLICIES)
def test_more_room_never_drops_more(problem, successes, failures, feedback, room, policy):
    less = make_case(problem, successes, failures, feedback, room, policy, characters)
    more = make_case(problem, successes, failures, feedback, room + 5, policy, characters)
    assert more.context.dropped_count <= less.context.dropped_count
