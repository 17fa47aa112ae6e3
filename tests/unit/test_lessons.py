"""From verified groups to lessons: contents of records, and every reason for no lesson."""

from dataclasses import replace

import pytest

from mopd.config import Config
from mopd.core.types import Peers
from mopd.method.objective import group_advantages
from mopd.models.embedded import EMBEDDED
from mopd.models.student import as_student
from tests.builders import make_config, make_group, make_maker, make_rollout

C, W, T, E = "correct", "wrong", "truncated", "error"
GROUP = make_group(["12", "11", "21", "22"], kinds=[C, C, W, W])


@pytest.fixture(scope="module")
def student():
    return as_student(*EMBEDDED["digits"].build(0))


@pytest.fixture
def records(student):
    """Records of one group under overrides of the default configuration (policy `first`, to be told by hand)."""

    def make(group, *overrides, groups=()):
        config = make_config("peers.policy='first'", "context.tokens=60", *overrides)
        return make_maker(config, student).make([group, *groups])[0]

    return make


def reasons(records):
    return [record.reason for record in records]


def read(student, record):
    """What the teacher reads, as text with its special tokens."""
    return student.tokenizer.inner.decode(list(record.lesson.context_ids))


def test_a_lesson_holds_the_rollout_its_problem_and_its_context(records, student):
    record = records(GROUP)[2]
    lesson = record.lesson
    assert (lesson.problem_id, lesson.domain, lesson.rollout) == ("p", "d", GROUP.rollouts[2])
    assert (lesson.prompt_ids, lesson.advantage) == (GROUP.prompt_ids, 0.0)
    assert read(student, record) == "^21-22+12+11?>"
    assert record.reason is None


def test_a_record_tells_the_peers_and_the_context(records):
    record = records(GROUP)[0]
    assert record.peers == Peers((1,), (2,), ("11",), ("21",))
    assert [(block.kind, block.text) for block in record.context.blocks] == [("failure", "21"), ("success", "11")]
    assert (record.context.shortened_count, record.context.dropped_count) == (0, 0)


def test_context_ids_are_the_rendered_messages_with_the_generation_header(records, student):
    for record in records(GROUP):
        assert list(record.lesson.context_ids) == student.tokenizer.encode_prompt(record.context.messages)
        assert record.context.token_count == len(record.lesson.context_ids)


@pytest.mark.parametrize("policy", ["first", "random", "group"])
def test_every_rollout_of_a_group_reads_its_own_peers(records, policy):
    for record in records(GROUP, f"peers.policy='{policy}'"):
        assert [block.text for block in record.context.blocks] == [
            *record.peers.failure_texts,
            *record.peers.success_texts,
        ]


@pytest.mark.parametrize("policy", ["first", "random", "group"])
def test_rollouts_with_the_same_peers_read_their_own_feedback(records, student, policy):
    group = make_group(["12", "21", "22"], kinds=[C, W, W], feedback=["1", "2", "3"])
    made = records(group, f"peers.policy='{policy}'", "peers.failures=0", "context.feedback='always'")
    assert [read(student, record) for record in made[1:]] == ["^21+12!2?>", "^21+12!3?>"]


def test_groups_with_the_same_texts_read_their_own_problems(student):
    groups = [make_group(["5", "6"], kinds=[C, W], problem=p, problem_id=p) for p in ("77", "88")]
    made = make_maker(make_config("context.tokens=60"), student).make(groups)
    assert [read(student, of_group[1]) for of_group in made] == ["^77+5?>", "^88+5?>"]


def test_lessons_do_not_depend_on_those_made_before(student):
    maker = make_maker(make_config("context.tokens=60"), student)
    read_by = []
    for problem in ("77", "88"):
        made = maker.make([make_group(["5", "6"], kinds=[C, W], problem=problem)])
        read_by.append(read(student, made[0][1]))
    assert read_by == ["^77+5?>", "^88+5?>"]


def test_there_is_one_record_for_every_rollout_of_every_group(student):
    groups = [GROUP, make_group(["1", "2"], kinds=[W, E], problem_id="q")]
    made = make_maker(make_config("context.tokens=60"), student).make(groups)
    assert [len(of_group) for of_group in made] == [4, 2]


@pytest.mark.parametrize("policy", ["first", "random", "group"])
def test_a_groups_lessons_do_not_depend_on_the_other_groups_of_its_step(records, policy):
    other = make_group(["1", "2", "3"], kinds=[C, C, W], problem_id="q")
    override = f"peers.policy='{policy}'"
    assert records(GROUP, override) == records(GROUP, override, groups=[other])


def test_a_rollout_whose_grader_failed_gives_no_lesson(records):
    made = records(make_group(["12", "11", "21"], kinds=[E, C, W]))
    assert reasons(made) == ["grader_error", "no_success", None]
    assert (made[0].peers, made[0].context, made[0].lesson) == (Peers(), None, None)


def test_without_a_successful_peer_there_is_no_lesson(records):
    assert reasons(records(make_group(["12", "21", "22"], kinds=[C, W, W]))) == ["no_success", None, None]


def test_an_all_failure_group_gives_no_lesson_by_default(records):
    assert reasons(records(make_group(["21", "22"], kinds=[W, W]))) == ["no_success", "no_success"]


def test_without_require_success_an_all_failure_group_is_taught_from_failures_alone(records, student):
    made = records(make_group(["21", "22"], kinds=[W, W]), "peers.require_success=false")
    assert [read(student, record) for record in made] == ["^21-22?>", "^21-21?>"]


def test_without_any_peer_there_is_no_lesson(records):
    group = make_group(["21", "22"], kinds=[W, T])
    assert reasons(records(group, "peers.require_success=false")) == ["no_peers", None]


def test_a_rollout_without_a_token_of_its_own_gives_no_lesson(records):
    group = replace(GROUP, rollouts=(make_rollout(0, "12", is_own=[False, False]), *GROUP.rollouts[1:]))
    for objective in ("distill", "grpo", "sft"):
        made = records(group, f"objective.kind='{objective}'")[0]
        assert (made.lesson, made.reason) == (None, "no_own_tokens")


FEEDBACK = make_group(["12", "11", "21", "22"], kinds=[C, C, W, W], feedback=["1", "2", "3", "4"])
ALONE = make_group(["21", "22"], kinds=[W, E], feedback=["3"])


def test_feedback_is_never_shown_by_default(records, student):
    assert read(student, records(FEEDBACK)[2]) == "^21-22+12+11?>"


def test_the_rollouts_own_feedback_can_always_be_shown(records, student):
    made = records(FEEDBACK, "context.feedback='always'")
    assert read(student, made[2]) == "^21-22+12+11!3?>"
    assert read(student, made[3]) == "^21-21+12+11!4?>"


def test_feedback_can_be_shown_only_without_a_success(records, student):
    options = ["context.feedback='when_no_success'", "peers.require_success=false"]
    assert read(student, records(FEEDBACK, *options)[2]) == "^21-22+12+11?>"
    assert read(student, records(ALONE, *options)[0]) == "^21!3?>"


def test_feedback_alone_is_no_success(records):
    assert reasons(records(ALONE, "context.feedback='always'")) == ["no_success", "grader_error"]


def test_no_feedback_and_no_peers_is_no_lesson(records):
    group = make_group(["21", "22"], kinds=[W, E])
    made = records(group, "context.feedback='always'", "peers.require_success=false")
    assert reasons(made) == ["no_peers", "grader_error"]


LONG = make_group(["1" * 20, "2" * 20, "3" * 20], kinds=[C, C, W])
NEEDED = len("^21-" + "3" * 20 + "+" + "2" * 20 + "?>")


def test_a_context_within_the_budget_is_whole(records, student):
    record = records(LONG, f"context.tokens={NEEDED}")[0]
    assert read(student, record) == f"^21-{'3' * 20}+{'2' * 20}?>"


@pytest.mark.parametrize("order", ["failures_first", "successes_first"])
def test_a_lesson_keeps_its_success_longest_in_any_order(order, records, student):
    options = [f"context.tokens={NEEDED - 1}", "context.over_budget='drop'", f"context.order='{order}'"]
    record = records(LONG, *options)[0]
    assert read(student, record) == f"^21+{'2' * 20}?>"
    assert record.context.dropped_count == 1


def test_a_lesson_that_loses_its_last_success_to_the_budget_is_none(records):
    record = records(LONG, "context.tokens=6", "context.over_budget='drop'")[0]
    assert (record.lesson, record.reason) == (None, "over_budget")
    assert record.context.dropped_count == 2


def test_a_lesson_that_loses_every_block_to_the_budget_is_none(records):
    options = ["context.tokens=6", "context.over_budget='drop'", "peers.require_success=false"]
    assert reasons(records(LONG, *options)) == ["over_budget"] * 3


def test_shortening_works_for_a_student_whose_alphabet_lacks_the_marker(records, student):
    record = records(LONG, f"context.tokens={NEEDED - 8}")[0]
    assert record.context.token_count <= NEEDED - 8
    assert record.context.shortened_count + record.context.dropped_count > 0


def test_thinking_is_removed_from_successes_and_failures(records, student):
    group = make_group(["9", "<think>5</think>12", "<think>6</think>21"], kinds=[W, C, W])
    assert read(student, records(group)[0]) == "^21-21+12?>"


def test_thinking_can_be_kept(student):
    texts = ["9", "<think>5</think>12"]
    maker = make_maker(make_config("context.strip_thinking=false"), student)
    group = make_group(texts, kinds=[W, C])
    assert maker.choose(group, 0, [group]).success_texts == (texts[1],)


def test_a_configured_template_replaces_the_students_own(records, student):
    wording = "context.template={success='>{text}', failure='<{text}', feedback='!{text}', turn='{problem}{blocks}?'}"
    assert read(student, records(GROUP, wording.replace("<", "-").replace(">", "!"))[2]) == "^21-22!12!11?>"


def test_shuffled_blocks_have_one_order_for_a_whole_group_under_policy_group(records):
    group = make_group(["12", "11", "10", "21", "22", "20"], kinds=[C, C, C, W, W, W])
    options = ["peers.policy='group'", "peers.failures=2", "context.order='shuffled'"]
    shown = [[block.kind for block in record.context.blocks] for record in records(group, *options)]
    assert len({tuple(kinds) for kinds in shown}) == 1


def test_shuffled_blocks_have_an_order_for_each_rollout_under_policy_random(records):
    group = make_group(["12", "11", "10", "21", "22", "20"], kinds=[C, C, C, W, W, W])
    options = ["peers.policy='random'", "peers.failures=2", "context.order='shuffled'"]
    shown = [[block.kind for block in record.context.blocks] for record in records(group, *options)]
    assert len({tuple(kinds) for kinds in shown}) > 1


OTHER = make_group(["5", "6", "7"], kinds=[C, C, W], problem_id="q")
CONTROL = ["peers.control='unrelated_problem'"]


def test_the_control_shows_as_many_blocks_from_another_problem(records, student):
    record = records(GROUP, *CONTROL, groups=[OTHER])[2]
    assert read(student, record) in {"^21-7+5+6?>", "^21-7+6+5?>"}
    assert record.peers.problem_ids == ("q", "q", "q")


def test_the_control_shows_no_truncated_failure_unless_the_recipe_does(records):
    other = make_group(["5", "6", "7"], kinds=[C, C, T], problem_id="q")
    assert records(GROUP, *CONTROL, groups=[other])[2].peers.failure_texts == ()
    allowed = records(GROUP, *CONTROL, "peers.truncated_failures=true", groups=[other])[2]
    assert allowed.peers.failure_texts == ("7",)


GRPO, SFT = "objective.kind='grpo'", "objective.kind='sft'"


def test_grpo_lessons_hold_the_advantage_and_no_context(records):
    group = make_group(["12", "11", "21", "22"], [1.0, 1.0, 0.0, 0.0])
    made = records(group, GRPO)
    assert [record.lesson.advantage for record in made] == group_advantages(group) == [0.5, 0.5, -0.5, -0.5]
    assert {(record.peers, record.context, record.lesson.context_ids) for record in made} == {(Peers(), None, None)}


def test_grpo_needs_neither_peers_nor_a_success(records):
    assert reasons(records(make_group(["21", "22"], [0.5, 0.0]), GRPO)) == [None, None]


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1])
def test_a_group_of_equal_rewards_gives_grpo_no_lesson(records, reward):
    assert reasons(records(make_group(["1", "2", "3"], [reward] * 3), GRPO)) == ["no_advantage"] * 3


def test_a_rollout_whose_grader_failed_gives_grpo_no_lesson_and_is_in_no_mean(records):
    made = records(make_group(["12", "21", "22"], kinds=[C, W, E]), GRPO)
    assert reasons(made) == [None, None, "grader_error"]
    assert [record.lesson.advantage for record in made[:2]] == [0.5, -0.5]


def test_sft_takes_successes_only(records):
    made = records(make_group(["12", "21", "22"], kinds=[C, W, E]), SFT)
    assert reasons(made) == [None, "not_a_success", "grader_error"]
    assert made[0].lesson.rollout.text == "12"
    assert made[0].lesson.context_ids is None


def test_sft_takes_all_successes_of_an_all_success_group(records):
    assert reasons(records(make_group(["12", "12"], kinds=[C, C]), SFT)) == [None, None]


def test_peers_are_chosen_by_the_seed_of_the_run(student):
    group = make_group([str(i) for i in range(1, 9)], kinds=[E, *[C] * 7])

    def chosen(seed):
        config = Config(seed=seed)
        return make_maker(config, student).choose(group, 0, [group]).successes

    assert len({chosen(seed) for seed in range(10)}) >= 5
