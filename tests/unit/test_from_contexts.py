"""Generating from contexts: what counts as a copy of a failed peer."""

from types import SimpleNamespace

import pytest

from mopd.core.types import Group, Lesson, LessonRecord, Peers, Problem, Rollout, Verdict
from mopd.evaluation.from_contexts import accuracy_from_contexts
from mopd.method.peers import cleaner
from tests.builders import make_config


def rollout(text):
    return Rollout(0, (1,), (True,), (0.0,), text, False)


def copied_share(written, peer, *overrides):
    """The share of copies, where a model writes `written` from a context that shows the failed completion `peer`."""
    config = make_config(*overrides)
    problem = Problem("p", ({"role": "user", "content": "?"},), "1", "exact")
    group = Group(0, problem, (1,), (rollout("own"),), (Verdict(0.0, "wrong"),))
    peers = Peers(failures=(1,), failure_texts=(cleaner(config.context)(peer),))
    lesson = Lesson("p", "default", group.rollouts[0], (1,), (1,))
    setup = SimpleNamespace(
        config=config,
        engine=SimpleNamespace(sync=lambda model: None, sample=lambda requests, sampling: [[rollout(written)]]),
        judge=lambda groups, step: (
            [Group(0, problem, (1,), g.rollouts, (Verdict(0.0, "wrong"),)) for g in groups],
            {},
        ),
    )
    figures = accuracy_from_contexts(setup, None, [(group, LessonRecord(peers, None, lesson, None))], 0)
    return figures["copied_failure_share"]


@pytest.mark.parametrize("written", ["7", " 7\n", "<think>new</think>7", "new</think>\n\n7"])
@pytest.mark.parametrize("peer", ["7", "<think>old</think>\n7 "])
def test_a_copy_is_what_equals_the_peer_as_it_was_shown(written, peer):
    assert copied_share(written, peer) == 1.0


def test_another_answer_behind_the_same_thoughts_is_no_copy():
    assert copied_share("<think>old</think>8", "<think>old</think>7") == 0.0


def test_where_thoughts_are_shown_they_are_part_of_the_copy():
    shown = "context.strip_thinking=false"
    assert copied_share("<think>old</think>7", "<think>old</think>7", shown) == 1.0
    assert copied_share("<think>new</think>7", "<think>old</think>7", shown) == 0.0
