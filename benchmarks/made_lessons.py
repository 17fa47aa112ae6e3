"""Made-up rollouts for measuring: what they say does not matter, how long they are and what they share does."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mopd.config import Config
from mopd.core.types import Group, Lesson, Message, Problem, Rollout, Verdict
from mopd.method.lessons import LessonMaker
from mopd.models.student import Student

NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Hugo")
STEPS = "First we take the {one} apples, then we add the {two} that were bought, step by step. "
LOGPROB = -2.0  # of every token under the sampler; it costs the same whatever it is


def make_problems(count: int, seed: int) -> list[tuple[Problem, str]]:
    """Sums of apples, each with words that look like a solution."""
    rng = random.Random(seed)
    made = []
    for index in range(count):
        one, two = rng.randint(10, 99), rng.randint(10, 99)
        asked = f"{NAMES[index % 8]} has {one} apples and buys {two} more. How many?"
        problem = Problem(f"apples-{index}", (Message(role="user", content=asked),), str(one + two), "exact")
        made.append((problem, STEPS.format(one=one, two=two)))
    return made


def verdicts(count: int, share: float = 0.5) -> tuple[Verdict, ...]:
    """Every other rollout succeeds, or, at a share of 0, none."""
    return tuple(Verdict(1.0, "correct") if share and i % 2 == 0 else Verdict(0.0, "wrong") for i in range(count))


def uneven_lengths(count: int, longest: int, seed: int = 0) -> list[int]:
    """A quarter of `longest` to `longest` tokens each."""
    rng = random.Random(seed)
    return [rng.randint(longest // 4, longest) for _ in range(count)]


def make_groups(student: Student, prompts: int, rollouts: int, longest: int, seed: int) -> list[Group]:
    """Groups of different completions of a quarter of `longest` to `longest` tokens, of which half succeed."""
    rng = random.Random(seed)
    groups = []
    for problem, solution in make_problems(prompts, seed):
        words = (solution * (1 + longest // 8)).split(" ")
        texts = [" ".join(words[index:]) for index in range(rollouts)]
        attempts = [_rollout(student, i, text, rng.randint(longest // 4, longest)) for i, text in enumerate(texts)]
        prompt = tuple(student.tokenizer.encode_prompt(problem.messages))
        groups.append(Group(0, problem, prompt, tuple(attempts), verdicts(rollouts)))
    return groups


def _rollout(student: Student, index: int, text: str, length: int) -> Rollout:
    ids = student.tokenizer.encode_completion(text[: 16 * length])[: length - 1]
    shown = student.tokenizer.decode(ids)
    return made_rollout(index, (*ids, student.tokenizer.end_id), shown)


def made_rollout(index: int, ids: Sequence[int], text: str = "") -> Rollout:
    """A whole completion of the student's own tokens."""
    return Rollout(index, tuple(ids), (True,) * len(ids), (LOGPROB,) * len(ids), text, False)


def make_lessons(student: Student, groups: Sequence[Group], config: Config) -> list[Lesson]:
    """By the project's own choice of peers and rendering of contexts, as `config` has them."""
    maker = LessonMaker(config, student.tokenizer.encode_prompt, student.template)
    return [record.lesson for records in maker.make(groups) for record in records if record.lesson is not None]


def random_lessons(count: int, prompt: int, context: int, completion: int, vocabulary: int) -> list[Lesson]:
    """Lessons of random tokens of given lengths; they share the prompt, and contexts share nothing."""
    rng = random.Random(0)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, vocabulary) for _ in range(length))

    asked = tokens(prompt)
    return [Lesson("random", "d", made_rollout(i, tokens(completion)), asked, tokens(context)) for i in range(count)]


def write_lessons(path: Path, lessons: Sequence[Lesson], groups: Sequence[Group] = ()) -> None:
    """Token arrays that measured processes read. Lessons of a group stand together, groups in order."""
    told: dict[str, list[Any]] = {"prompts": [group.problem.messages for group in groups], "lessons": []}
    numbers = {group.problem.id: number for number, group in enumerate(groups)}
    for lesson in lessons:
        told["lessons"].append(
            {
                "problem": lesson.problem_id,
                "number": numbers.get(lesson.problem_id, 0),
                "index": lesson.rollout.index,
                "prompt_ids": lesson.prompt_ids,
                "context_ids": lesson.context_ids,
                "completion_ids": lesson.rollout.token_ids,
            }
        )
    path.write_text(json.dumps(told))


def read_lessons(path: str) -> list[Lesson]:
    """What `write_lessons` wrote."""
    return [
        Lesson(
            given["problem"],
            "d",
            made_rollout(given["index"], given["completion_ids"]),
            tuple(given["prompt_ids"]),
            tuple(given["context_ids"]),
        )
        for given in json.loads(Path(path).read_text())["lessons"]
    ]
