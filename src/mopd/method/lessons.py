"""From verified groups to lessons: each rollout with what its objective needs, or the reason for none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mopd.config import Config, TemplateConfig
from mopd.core.seeding import derive_rng
from mopd.core.types import Context, Group, Lesson, LessonRecord, Messages, NoLessonReason, Peers, Rollout
from mopd.method.contexts import render_context, template_of
from mopd.method.objective import group_advantages
from mopd.method.peers import choose_peers, cleaner, random_peers, unrelated_peers


class LessonMaker:
    """Makes the lessons of a step. That contexts fit the student's window is checked once, at the start of a run.

    `encode` turns messages into token ids, generation header included; `template` is the wording of contexts where the
    configuration has none.
    """

    def __init__(self, config: Config, encode: Callable[[Messages], Sequence[int]], template: TemplateConfig) -> None:
        self.config = config
        self.encode = encode
        self.template = template_of(config.context, template)
        self.contrast = config.contrast
        if self.contrast and self.template.attempt:
            self.template = self.template.model_copy(update={"success": self.template.attempt})
        self._rendered: dict[tuple[object, ...], Context] = {}  # contexts of one step; many rollouts share theirs

    def make(self, groups: Sequence[Group]) -> list[list[LessonRecord]]:
        """For each group, for each rollout, its record."""
        self._rendered.clear()
        return [[self.make_one(group, rollout.index, groups) for rollout in group.rollouts] for group in groups]

    def make_one(self, group: Group, rollout_index: int, groups: Sequence[Group]) -> LessonRecord:
        """The record of one rollout; `groups` are all groups of its step."""
        rollout, advantage = group.rollouts[rollout_index], group_advantages(group)[rollout_index]
        if reason := self._reason_not_to_teach(group, rollout, advantage):
            return _no_lesson(reason)
        assert advantage is not None
        if self.config.objective.kind != "distill":
            return self._plain_record(group, rollout, advantage)
        record = self._distill_record(group, rollout, groups)
        if self.contrast and self.contrast.form == "advantage":
            return self._blended(record, group, rollout, advantage) if advantage else _no_lesson("no_advantage")
        return self._blended(record, group, rollout, advantage) if self.config.grpo_share else record

    def _blended(self, record: LessonRecord, group: Group, rollout: Rollout, advantage: float) -> LessonRecord:
        """A distillation's record with the advantage. Where no teacher has a lesson, GRPO has, beside the reason."""
        if record.lesson is not None:
            return replace(record, lesson=replace(record.lesson, advantage=advantage))
        if advantage == 0.0 or not rollout.own_token_count:
            return record
        return replace(record, lesson=_lesson(group, rollout, None, advantage))

    def _reason_not_to_teach(self, group: Group, rollout: Rollout, advantage: float | None) -> NoLessonReason | None:
        """Why `[lessons]` leaves a rollout out, whatever the objective; None where it does not."""
        if advantage is None:
            return "grader_error"
        if rollout.is_truncated and not self.config.lessons.truncated:
            return "cut_short"
        is_success = group.is_success(rollout.index)
        is_taught = {
            "all": True,
            "failures": not is_success,
            "successes": is_success,
            "positive_advantage": advantage > 0,
        }
        return None if is_taught[self.config.lessons.rollouts] else "not_taught"

    def _plain_record(self, group: Group, rollout: Rollout, advantage: float) -> LessonRecord:
        """The record under an objective without a teacher."""
        if self.config.objective.kind == "sft":
            if not group.is_success(rollout.index):
                return _no_lesson("not_a_success")
        elif advantage == 0.0:
            return _no_lesson("no_advantage")
        if not rollout.own_token_count:
            return _no_lesson("no_own_tokens")
        return LessonRecord(Peers(), None, _lesson(group, rollout, None, advantage), None)

    def _distill_record(self, group: Group, rollout: Rollout, groups: Sequence[Group]) -> LessonRecord:
        peers = self.choose(group, rollout.index, groups)
        feedback = self._feedback(group, rollout.index, peers)
        if self.config.peers.require_success and not peers.successes:
            return LessonRecord(peers, None, None, "no_success")
        if not peers.count and not feedback and not self.config.is_taught_by_another:
            return LessonRecord(peers, None, None, "no_peers")
        if not rollout.own_token_count:
            return LessonRecord(peers, None, None, "no_own_tokens")
        if self.contrast:
            return self._contrast_record(group, rollout, peers, feedback)
        return self._contextual_record(group, rollout, peers, feedback)

    def _contrast_record(self, group: Group, rollout: Rollout, peers: Peers, feedback: str) -> LessonRecord:
        """Two contexts that are the same but for the peer: a success, and a failure if there is one.

        What is cut or left out in either is counted in the first. A failure that finds no room teaches nothing.
        """
        shown = replace(peers, failures=(), failure_texts=())
        context = self.render(group, rollout.index, shown, feedback)
        if {"success"} - {block.kind for block in context.blocks}:
            return LessonRecord(peers, context, None, "over_budget")
        lesson = _lesson(group, rollout, context.token_ids, 0.0)
        if not peers.failures:
            return LessonRecord(peers, context, lesson, None)
        failing = self.render(group, rollout.index, replace(shown, success_texts=peers.failure_texts), feedback)
        shortened, dropped = failing.shortened_count, failing.dropped_count
        context = replace(
            context,
            shortened_count=context.shortened_count + shortened,
            dropped_count=context.dropped_count + dropped,
        )
        if dropped:
            return LessonRecord(peers, context, lesson, None)
        lesson = replace(lesson, failure_context_ids=failing.token_ids)
        told = [replace(block, kind="failure") if block.kind == "success" else block for block in failing.blocks]
        return LessonRecord(peers, context, lesson, None, replace(failing, blocks=tuple(told)))

    def _contextual_record(self, group: Group, rollout: Rollout, peers: Peers, feedback: str) -> LessonRecord:
        context = self.render(group, rollout.index, peers, feedback)
        shown = {block.kind for block in context.blocks}
        is_alone = not peers.count and not feedback
        if not (shown or is_alone) or (self.config.peers.require_success and "success" not in shown):
            return LessonRecord(peers, context, None, "over_budget")
        return LessonRecord(peers, context, _lesson(group, rollout, context.token_ids, 0.0), None)

    def choose(self, group: Group, rollout_index: int, groups: Sequence[Group]) -> Peers:
        """The rollout's peers under the recipe, or under the control it names."""
        clean = cleaner(self.config.context)
        seed, recipe = self.config.seed, self.config.peers
        peers = choose_peers(group, rollout_index, recipe, seed, clean)
        if recipe.control == "unrelated_problem":
            return unrelated_peers(peers, group, groups, seed, rollout_index, clean, recipe)
        if recipe.control == "random_peer":
            return random_peers(peers, group, seed, rollout_index, clean, recipe)
        return peers

    def render(self, group: Group, rollout_index: int, peers: Peers, feedback: str) -> Context:
        """The context of one rollout: the prompt itself where there is nothing to show.

        Under policy `group` a shuffled order is the group's, not the rollout's.
        """
        whose = () if self.config.peers.policy == "group" else (rollout_index,)
        key = (group.step, group.problem.id, peers.success_texts, peers.failure_texts, feedback, whose)
        if key not in self._rendered:
            self._rendered[key] = self._render(group, peers, feedback, whose)
        return self._rendered[key]

    def _render(self, group: Group, peers: Peers, feedback: str, whose: tuple[int, ...]) -> Context:
        recipe = self.config.context
        if not peers.count and not feedback:
            return Context(group.problem.messages, (), tuple(self.encode(group.problem.messages)))
        return render_context(
            group.problem.messages,
            peers.success_texts,
            peers.failure_texts,
            template=self.template,
            order="failures_first" if recipe.order == "auto" else recipe.order,
            feedback=feedback,
            budget=recipe.tokens,
            over_budget=recipe.over_budget,
            encode=self.encode,
            rng=derive_rng(self.config.seed, "order", group.step, group.problem.id, *whose),
        )

    def _feedback(self, group: Group, rollout_index: int, peers: Peers) -> str:
        when = self.config.context.feedback
        if when == "never" or (when == "when_no_success" and peers.successes):
            return ""
        return group.verdicts[rollout_index].feedback


def _no_lesson(reason: NoLessonReason) -> LessonRecord:
    return LessonRecord(Peers(), None, None, reason)


def _lesson(group: Group, rollout: Rollout, context_ids: tuple[int, ...] | None, advantage: float) -> Lesson:
    return Lesson(group.problem.id, group.problem.domain, rollout, group.prompt_ids, context_ids, advantage)
