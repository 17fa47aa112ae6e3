"""What the teacher reads: turns, blocks and their order, literal templates, and the token budget."""

import random

import pytest

from mopd.config import TemplateConfig
from mopd.core.errors import ProblemError
from mopd.method.contexts import ENGLISH, PEERS_AS_TURNS, render_context

PLAIN = TemplateConfig(success="[S {text}]", failure="[F {text}]", feedback="[V {text}]", turn="{problem}:{blocks}!")
ASK = [{"role": "user", "content": "21"}]


def characters(messages):
    """Tokens of rendered messages: their characters and a header of 3."""
    return sum(len(message["content"]) for message in messages) + 3


def turn(successes=(), failures=(), messages=ASK, template=PLAIN, **options):
    """The last user turn as the teacher reads it."""
    return render_context(messages, successes, failures, template=template, **options).messages[-1]["content"]


def fit(successes, failures, budget, over_budget="shorten", **options):
    return render_context(
        ASK,
        successes,
        failures,
        template=PLAIN,
        budget=budget,
        over_budget=over_budget,
        encode=lambda messages: range(characters(messages)),
        **options,
    )


def test_system_and_earlier_turns_are_kept():
    earlier = [
        {"role": "system", "content": "{problem}"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    context = render_context([*earlier, *ASK], ["12"], [], template=PLAIN)
    assert list(context.messages) == [*earlier, {"role": "user", "content": "21:[S 12]!"}]


def test_the_messages_given_are_not_changed():
    messages = [{"role": "user", "content": "21"}]
    render_context(messages, ["12"], [])
    assert messages == ASK


def test_failures_come_first_by_default():
    assert turn(["a", "b"], ["c", "d"]) == "21:[F c][F d][S a][S b]!"


def test_successes_can_come_first():
    assert turn(["a", "b"], ["c", "d"], order="successes_first") == "21:[S a][S b][F c][F d]!"


def test_shuffled_order_needs_a_generator():
    with pytest.raises(ValueError, match="rng"):
        turn(["a"], ["b"], order="shuffled")


def test_shuffled_order_is_determined_by_its_generator():
    turns = [turn("abc", "def", order="shuffled", rng=random.Random(seed)) for seed in (1, 1, 2)]
    assert turns[0] == turns[1] != turns[2]


def test_shuffled_order_takes_every_order():
    turns = {turn(["a", "b"], ["c"], order="shuffled", rng=random.Random(seed)) for seed in range(60)}
    assert len(turns) == 6


@pytest.mark.parametrize("order", ["failures_first", "successes_first", "shuffled"])
def test_feedback_comes_after_all_peers(order):
    for seed in range(8):
        written = turn(["a"], ["b"], order=order, feedback="no", rng=random.Random(seed))
        assert written.endswith("[V no]!")


def test_without_feedback_there_is_no_feedback_block():
    assert turn(["a"], [], feedback="") == "21:[S a]!"


def test_blocks_are_told_in_the_order_shown():
    context = render_context(ASK, ["a"], ["b"], feedback="no")
    assert [(block.kind, block.text) for block in context.blocks] == [
        ("failure", "b"),
        ("success", "a"),
        ("feedback", "no"),
    ]


PLACEHOLDERS = ["{problem}", "{text}", "{blocks}", "{blocks}{problem}{text}", "{0} {} {{text}} %s \\1 \\g<0> $1"]


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_peer_that_looks_like_a_template_is_shown_verbatim(text):
    assert turn([text], [text, "c"], feedback=text) == f"21:[F {text}][F c][S {text}][V {text}]!"


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_problem_that_looks_like_a_template_is_shown_verbatim(text):
    assert turn(["a"], messages=[{"role": "user", "content": text}]) == f"{text}:[S a]!"


def worded(**changes):
    return TemplateConfig(**(PLAIN.model_dump() | changes))


def test_a_template_may_show_the_blocks_before_the_problem():
    assert turn(["a"], template=worded(turn="{blocks} {problem}?")) == "[S a] 21?"


def test_a_template_may_repeat_the_problem():
    assert turn(["a"], template=worded(turn="{problem}{blocks} again: {problem}?")) == "21[S a] again: 21?"


def test_a_template_may_repeat_a_text():
    assert turn(["a"], template=worded(success="[{text}={text}]")) == "21:[a=a]!"


def test_the_default_wording_holds_problem_peers_feedback_and_a_closing_instruction():
    written = turn(["right"], ["astray"], template=ENGLISH, feedback="said")
    places = [written.index(word) for word in ("21", "astray", "right", "said", ENGLISH.turn.split("{blocks}")[1])]
    assert places == sorted(places)
    assert "{" not in written


@pytest.mark.parametrize(
    "messages", [[], [{"role": "system", "content": "a"}], [*ASK, {"role": "assistant", "content": "b"}]]
)
def test_a_prompt_without_a_final_user_turn_is_refused(messages):
    with pytest.raises(ProblemError, match="ends with a user turn"):
        render_context(messages, ["a"], [])


def test_token_count_is_that_of_the_rendered_messages():
    context = fit(["a"], [], None)
    assert context.token_count == len("21:[S a]!") + 3


FULL = len("21:[F bbbbbbbbbbbbbbbbbbbb][S aaaaaaaaaaaaaaaaaaaa]!") + 3
TWENTY = ["a" * 20], ["b" * 20]


# --- peers as turns -------------------------------------------------------------------------------------------------

TURNS = TemplateConfig(
    success="[S]", failure="[F]", feedback="[V {text}]", turn="{blocks}{problem}?", peers_are_turns=True
)


def turns(successes, failures, messages=ASK, template=TURNS, **options):
    """Roles and texts as the teacher reads them."""
    context = render_context(messages, successes, failures, template=template, **options)
    return [(message["role"], message["content"]) for message in context.messages]


def test_each_peer_is_an_answer_to_the_problem_behind_which_the_verdict_is_said():
    assert turns(["right"], ["astray"]) == [
        ("user", "21?"),
        ("assistant", "astray"),
        ("user", "[F]21?"),
        ("assistant", "right"),
        ("user", "[S]21?"),
    ]


def test_earlier_turns_stand_before_peers_that_are_turns_and_feedback_in_the_last_one():
    earlier = [{"role": "system", "content": "be brief"}]
    assert turns([], ["astray"], [*earlier, *ASK], feedback="why") == [
        ("system", "be brief"),
        ("user", "21?"),
        ("assistant", "astray"),
        ("user", "[F][V why]21?"),
    ]
    assert turns([], [], feedback="why") == [("user", "[V why]21?")]


def test_without_peers_the_wording_of_turns_leaves_the_prompt_as_it_is():
    assert render_context(ASK, [], [], template=PEERS_AS_TURNS).messages == tuple(ASK)
    first = render_context(ASK, ["12"], [], template=PEERS_AS_TURNS).messages[0]
    assert first == ASK[0], "the student's own prompt begins every context"


@pytest.mark.parametrize("text", ["{problem}", "{blocks} {text}", r"\1"])
def test_turns_that_look_like_a_template_are_shown_verbatim(text):
    shown = turns([text], [], [{"role": "user", "content": text}])
    assert shown == [("user", f"{text}?"), ("assistant", text), ("user", f"[S]{text}?")]


def test_over_budget_turns_are_cut_and_then_left_out():
    encode = {"encode": lambda messages: range(characters(messages))}
    whole = len("21?") + len("b" * 40) + len("[F]21?") + len("a" * 40) + len("[S]21?") + 3
    assert turns(["a" * 40], ["b" * 40], budget=whole, **encode) == turns(["a" * 40], ["b" * 40])
    cut = turns(["a" * 40], ["b" * 40], budget=whole - 10, **encode)
    assert [role for role, _ in cut] == ["user", "assistant"] * 2 + ["user"]
    assert TURNS.marker in cut[1][1]
    assert TURNS.marker in cut[3][1]
    assert turns(["a" * 40], ["b" * 40], budget=60, over_budget="drop", **encode) == turns(["a" * 40], [])


@pytest.mark.parametrize("key", ["success", "failure", "attempt"])
def test_a_template_of_turns_says_no_text_behind_them(key):
    with pytest.raises(ValueError, match=f"{key} holds no {{text}}"):
        TemplateConfig.model_validate(TURNS.model_dump() | {key: "[{text}]"})


# --- the budget -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_budget", ["shorten", "drop"])
def test_a_context_of_exactly_the_budget_is_left_whole(over_budget):
    context = fit(*TWENTY, FULL, over_budget)
    assert (context.token_count, context.shortened_count, context.dropped_count) == (FULL, 0, 0)
    assert context.messages[-1]["content"] == turn(*TWENTY)


@pytest.mark.parametrize("order", ["failures_first", "successes_first"])
def test_one_token_over_budget_drops_the_failure_wherever_it_stands(order):
    context = fit(*TWENTY, FULL - 1, "drop", order=order)
    assert context.messages[-1]["content"] == f"21:[S {'a' * 20}]!"
    assert (context.shortened_count, context.dropped_count) == (0, 1)


def test_over_budget_every_long_block_is_cut_in_the_middle():
    context = fit(["a" * 10 + "A" * 10], ["b" * 20], FULL - 6)
    assert context.messages[-1]["content"] == f"21:[F bbbbb{PLAIN.marker}bbbbb][S aaaaa{PLAIN.marker}AAAAA]!"
    assert (context.shortened_count, context.dropped_count) == (2, 0)
    assert context.token_count == FULL - 6


def test_a_short_block_is_not_cut_and_not_counted():
    context = fit(["12"], ["b" * 40], 45)
    assert context.messages[-1]["content"].endswith("[S 12]!")
    assert context.shortened_count == 1


def test_shortened_texts_are_those_told_in_the_blocks():
    context = fit(*TWENTY, FULL - 6)
    assert [block.text for block in context.blocks] == [f"bbbbb{PLAIN.marker}bbbbb", f"aaaaa{PLAIN.marker}aaaaa"]


def test_blocks_that_cannot_be_shortened_enough_are_dropped_and_counted():
    context = fit(["a" * 20] * 3, ["b" * 20], 30)
    assert (len(context.blocks), context.dropped_count) == (1, 3)
    assert context.token_count <= 30


@pytest.mark.parametrize("over_budget", ["shorten", "drop"])
def test_without_room_for_any_block_the_problem_and_the_closing_instruction_are_left(over_budget):
    context = fit(*TWENTY, len("21:!") + 3, over_budget)
    assert context.messages[-1]["content"] == "21:!"
    assert (context.blocks, context.shortened_count, context.dropped_count) == ((), 0, 2)


@pytest.mark.parametrize("over_budget", ["shorten", "drop"])
def test_a_problem_that_is_over_budget_alone_is_refused(over_budget):
    with pytest.raises(ProblemError, match="7 tokens"):
        fit(*TWENTY, len("21:!") + 2, over_budget)


def test_a_problem_without_peers_is_held_to_the_budget_too():
    with pytest.raises(ProblemError, match=r"context\.tokens = 6"):
        fit([], [], 6)
