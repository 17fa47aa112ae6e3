"""This project, measured: a process that workers.py starts and asks.

With `--lessons FILE` it learns: `time` is one step of scoring and update from given token arrays, the teacher's update
included, `memory` the same step's growth, `rate` the machine's matrix products and `describe` the step's useful
operations. Without, it makes whole steps of the method on made-up problems (`time`, `memory`), in which every other
rollout is said to succeed, or (`empty`) none.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ending import EndingDecoder
from flops import ProductRate, useful_flops
from made_lessons import make_problems, read_lessons, uneven_lengths, verdicts
from measuring import PeakMemory, now, state_bytes
from mopd.config import Config, build_config
from mopd.core.types import Group
from mopd.learning.learner import Learner
from mopd.learning.teacher import Health, LocalTeacher
from mopd.models.student import Student, load_student
from mopd.preflight.setup import Setup
from mopd.problems import ProblemSet
from mopd.rollouts import local as engine
from mopd.rollouts.choosing import open_engine
from mopd.rollouts.decoding import open_decoder
from mopd.scoring.scorer import Scorer
from mopd.training.step import StepClock, Stepper
from workers import serve

NARROW = "narrow:"
TOP_K = 100
Told = Mapping[str, float]


def configure(model: str, device: str, dtype: str, settings: Sequence[str]) -> Config:
    """What TRL's SDPO is set to as well; `settings` come last."""
    return build_config(
        {},
        [
            f"student='{model}'",
            "evaluation.contexts_every=0",
            "divergence.support='student_top_k'",
            f"divergence.k={TOP_K}",
            "divergence.tail=true",
            "optimizer.learning_rate=1e-6",
            f"compute.dtype='{dtype}'",
            f"compute.device='{device}'",
            *settings,
        ],
    )


def open_model(name: str, config: Config) -> tuple[Any, torch.dtype]:
    """A student's model, or `narrow:VOCABULARY`: two random layers of width 64 under a head of that many tokens.

    One attention head, so that what the vocabulary costs is not hidden behind attention.
    """
    if not name.startswith(NARROW):
        student = load_student(name, 0, config.compute)
        return student.model, student.dtype
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=int(name.removeprefix(NARROW)),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(shape).eval().to(config.compute.device), torch.float32


def learning(options: argparse.Namespace, config: Config) -> dict[str, Callable[[], Told]]:
    """Scoring and update of given lessons."""
    model, dtype = open_model(options.model, config)
    lessons = read_lessons(options.lessons)
    scorer = Scorer.of(config.compute, dtype)
    learner, teacher = Learner(model, config, scorer), LocalTeacher(model, config.teacher, scorer)
    counts = useful_flops(model, lessons)
    rows = int(min(config.compute.microbatch_tokens, counts["teacher_nodes"]))
    rate = ProductRate(model, dtype, rows)
    done = 0

    def step() -> Told:
        nonlocal done
        clock = StepClock(now=partial(now, options.device))
        began = now(options.device)
        metrics = learner.learn(lessons, teacher, done, clock).metrics
        with clock("teacher_follows"):
            teacher.follow(model, Health(1.0, 1.0))
        done += 1
        compiled = sum(value for name, value in metrics.items() if "compile" in name)
        return {"total": now(options.device) - began, **clock.seconds, **({"compile": compiled} if compiled else {})}

    return {
        "time": step,
        "memory": lambda: with_memory(step, model, options.device),
        "rate": rate.measure,
        "describe": lambda: counts,
    }


def with_memory(step: Callable[[], Told], model: Any, device: str) -> Told:
    """A step and its growth."""
    memory = PeakMemory(device)
    memory.start()
    told = step()
    return {**told, **memory.growth(state_bytes(model))}


def without_end(student: Student) -> Student:
    """The student with a tokenizer in which no token ends a completion: all have the longest length."""
    tokenizer = copy.copy(student.tokenizer)
    tokenizer.end_ids = frozenset()
    return replace(student, tokenizer=tokenizer)


def end_unevenly(student: Student, config: Config) -> None:
    """Have the engine end each row at the length that is laid down for it."""
    lengths = uneven_lengths(config.problems_per_step * config.group_size, config.sampling.completion_tokens)

    def ending(*args: Any) -> EndingDecoder:
        return EndingDecoder(open_decoder(*args), lengths, student.tokenizer.end_id)

    setattr(engine, "open_decoder", ending)  # noqa: B010 (it is no part of what the module offers)


def stepping(options: argparse.Namespace, config: Config) -> dict[str, Callable[[], Told]]:
    """Whole steps."""
    student = load_student(options.model, 0, config.compute)
    if options.lengths == "equal":
        student = without_end(student)
    elif options.lengths == "uneven":
        end_unevenly(student, config)
    share, done = 0.5, 0

    def judge(groups: Sequence[Group], step: int) -> tuple[list[Group], dict[str, float]]:
        return [replace(group, verdicts=verdicts(len(group.rollouts), share)) for group in groups], {}

    problems = tuple(problem for problem, _ in make_problems(config.problems_per_step, 0))
    stepper = Stepper(Setup(config, ProblemSet(problems, ()), judge, student, open_engine(config, student)))

    def step() -> Told:
        nonlocal done
        clock = StepClock(now=partial(now, options.device))
        began = now(options.device)
        result = stepper.step(done, clock)
        total = now(options.device) - began
        done += 1
        tokens = sum(len(rollout.token_ids) for group in result.groups for rollout in group.rollouts)
        return {"total": total, **clock.seconds, "tokens": tokens, "lessons": result.metrics["lessons/count"]}

    def empty() -> Told:
        nonlocal share
        share = 0.0
        told = step()
        share = 0.5
        return told

    return {"time": step, "memory": lambda: with_memory(step, student.model, options.device), "empty": empty}


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a student, or narrow:VOCABULARY")
    parser.add_argument("--lessons", help="token arrays to learn from; without, whole steps are made")
    parser.add_argument("--lengths", choices=("equal", "uneven", "natural"), default="natural", help="of its rollouts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = configure(options.model, options.device, options.dtype, options.set)
    serve((learning if options.lessons else stepping)(options, config))


if __name__ == "__main__":
    main()
