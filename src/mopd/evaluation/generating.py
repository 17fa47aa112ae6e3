"""What a model writes for one prompt, or for one problem of its run: `mopd generate`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mopd.config import Config, Sampling, build_config, override_config, override_key
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.files import is_unicode
from mopd.core.statistics import mean_or_zero
from mopd.core.types import Group, Message, Problem
from mopd.judging.choosing import make_judge
from mopd.judging.verdicts import Judge, by_verifiers, prepare_verifiers
from mopd.models.embedded import PREFIX
from mopd.models.student import Student
from mopd.preflight.setup import open_student, prepare_problems
from mopd.preflight.trial import try_out
from mopd.problems import VERIFIER_OF_KIND, ProblemSet
from mopd.rollouts.choosing import open_engine
from mopd.rollouts.engine import sample_groups
from mopd.runs.checkpoint import from_checkpoint, newest_of_run, read_cursor
from mopd.runs.directory import stays
from mopd.runs.inputs import check_inputs, describe_problems, freeze_day
from mopd.runs.paths import absolute, settled
from mopd.runs.reading import is_run, moment_of, read_config, read_inputs
from mopd.runs.records import describe_verdict

MOST = 256
"""Completions of one prompt at most: they are sampled at once."""

COMPLETION_TOKENS = 256
"""The longest completion of what is no run, unless told, where the window has room for it."""

KINDS = tuple(kind for kind in VERIFIER_OF_KIND if kind != "code")
"""Kinds of problems whose verifier needs no more than the prompt and an answer."""

UNJUDGED = "unjudged"
"""The verifier of a prompt that nothing judges."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a model: `count` completions of `prompt`, or of the problem of its run called `problem_id`.

    A prompt's completions are judged against `answer`, where given, by the verifier of `kind`; a problem's as its run
    judges them.
    """

    prompt: str | None = None
    problem_id: str | None = None
    count: int = 8
    answer: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Generated:
    """What a model wrote: a group, with verdicts where it was judged, and by what it was written.

    `rendered` is the prompt as the model read it, control tokens included.
    """

    model: str
    seed: int
    sampling: Sampling
    rendered: str
    group: Group

    def as_json(self) -> dict[str, Any]:
        """For `mopd generate --json`."""
        group = self.group
        return {
            "model": self.model,
            "seed": self.seed,
            "sampling": self.sampling.model_dump(),
            "problem_id": group.problem.id or None,
            "prompt": list(group.problem.messages),
            "prompt_tokens": len(group.prompt_ids),
            "rendered": self.rendered,
            "completions": [
                {
                    "index": rollout.index,
                    "completion": rollout.text,
                    "token_count": len(rollout.token_ids),
                    "is_truncated": rollout.is_truncated,
                    "mean_logprob": mean_or_zero(rollout.sampler_logprobs),
                    **(describe_verdict(group, rollout.index) if group.verdicts else {}),
                }
                for rollout in group.rollouts
            ],
        }


@dataclass(frozen=True)
class _Source:
    """Where a model comes from: its name or folder, and the run that it is of, with the steps done; None for others."""

    model: str
    run: Path | None = None
    step: int = 0


def unread_keys(asked: Asked, target: str) -> dict[str, str]:
    """Keys and tables of a configuration that an answer to `asked` does not read, with what to set instead."""
    read = {"seed", "sampling", "chat", "compute"}
    if asked.problem_id is not None or asked.answer is not None:
        read |= {"verification", "success_reward", "problems"}
    if asked.problem_id is not None:
        read |= {"rewards", "sandbox"}
    unread = dict.fromkeys(Config.model_fields.keys() - read, "")
    return unread | {"student": f"another model in place of {target}"}


def generate(target: str, asked: Asked, overrides: Sequence[str] = ()) -> Generated:
    """Completions by a run's newest checkpoint, by `RUN/checkpoints/step-N`, or by any model that can be a student.

    A run samples as it does in training; anything else by the defaults, up to `COMPLETION_TOKENS` tokens where the
    window has room. Equal arguments give equal completions. Raises MopdError.
    """
    _check(asked)
    source = _source(target)
    with stays(source.run) if source.run else nullcontext():
        config = _config(source, overrides)
        problem, judge = _asked_problem(asked, source, config)
        with from_checkpoint(Path(source.model)) if source.run else nullcontext():
            student = open_student(config)
        if source.run is not None:
            freeze_day(student.tokenizer, moment_of(source.run))
        is_told = source.run is not None or {"sampling", "sampling.completion_tokens"} & {*map(override_key, overrides)}
        config = _fitted(config, student, problem, may_shorten=not is_told)
        return _generate(config, student, problem, judge, asked.count, source.step)


def _check(asked: Asked) -> None:
    """Raises ConfigError for what cannot be answered, whatever the model."""
    if (asked.prompt is None) == (asked.problem_id is None):
        got = "neither a prompt nor --problem" if asked.prompt is None else "a prompt beside --problem"
        raise ConfigError("a model is given a prompt, or the --problem ID of its run", got, "give one of them")
    if asked.prompt is not None and not asked.prompt.strip():
        raise ConfigError("a prompt says something", "the prompt is empty", "see whether a variable or a file is empty")
    if asked.prompt is not None and not is_unicode(asked.prompt):
        raise ConfigError(
            "a prompt is text in UTF-8", f"a prompt with other bytes: {ascii(asked.prompt)[:80]}", "write it in UTF-8"
        )
    if not 1 <= asked.count <= MOST:
        raise ConfigError(f"-n is from 1 to {MOST}", f"-n {asked.count}", "change it, or give another --seed for more")
    if asked.problem_id is not None and (asked.answer is not None or asked.kind is not None):
        raise ConfigError(
            "a problem is judged as its run judges it", "--problem with --verify or --kind", "leave one of them out"
        )
    if asked.kind is not None and asked.answer is None:
        raise ConfigError("--kind says how --verify ANSWER is compared", "--kind alone", "give --verify ANSWER too")
    if asked.kind is not None and asked.kind not in KINDS:
        raise ConfigError(f"--kind is one of {', '.join(KINDS)}", f"--kind {asked.kind}", "change it")
    if asked.answer is not None and not asked.answer.strip():
        raise ConfigError("--verify is given an answer", "--verify is empty", "see whether a variable is set")


def _source(target: str) -> _Source:
    """Where the model is. Raises RunError, CheckpointError."""
    if target.startswith(PREFIX):
        return _Source(target)
    path = absolute(target)
    if is_run(path):
        newest, cursor = newest_of_run(path)
        return _Source(str(newest), path, cursor.step)
    run = path.parent.parent
    if path.parent.name == "checkpoints" and path.is_dir() and is_run(run):
        return _Source(str(path), run, read_cursor(path).step)
    return _Source(target)


def _config(source: _Source, overrides: Sequence[str]) -> Config:
    """The run's own configuration, else the defaults, with overrides; its student is the model that writes."""
    if source.run is not None:
        config = override_config(read_config(source.run), overrides, f"the overrides of {source.run}")
    else:
        own = {"sampling": {"completion_tokens": COMPLETION_TOKENS}}
        config = build_config(own, overrides, "the command line")
    return settled(config.model_copy(update={"student": source.model}))


def _asked_problem(asked: Asked, source: _Source, config: Config) -> tuple[Problem, Judge | None]:
    """What the model is given, as a problem, and what judges it; None where nothing does. Raises MopdError."""
    if asked.problem_id is not None:
        return _problem_of_run(asked.problem_id, source, config)
    messages = (Message(role="user", content=str(asked.prompt)),)
    if asked.answer is None:
        return Problem("", messages, None, UNJUDGED), None
    verifier = VERIFIER_OF_KIND[asked.kind] if asked.kind else _verifier_of(source, config)
    prepare_verifiers({verifier}, config)
    return Problem("", messages, asked.answer, verifier), by_verifiers


def _problem_of_run(problem_id: str, source: _Source, config: Config) -> tuple[Problem, Judge]:
    """The problem of the run, training or held-out, and the run's judge."""
    if source.run is None:
        must = "--problem names a problem of a run"
        raise ConfigError(must, f"{source.model} is no run", "give a prompt, with --verify ANSWER to judge it")
    problems = prepare_problems(config)
    if config.problems == read_config(source.run).problems:
        found = {"problems": describe_problems(problems)}
        check_inputs(read_inputs(source.run), found, "or give the problem's text as a prompt")
    problem = problems.find(problem_id)
    prepare_verifiers(set() if config.rewards.functions else {problem.verifier}, config)
    return problem, make_judge(config, problems)


def _verifier_of(source: _Source, config: Config) -> str:
    """The verifier that an answer alone is compared by: that of the run's problems, else `exact`."""
    if source.run is None:
        return "exact"
    problems = prepare_problems(config)
    names = sorted({problem.verifier for problem in problems.train + problems.held_out})
    by_answer = {VERIFIER_OF_KIND[kind] for kind in KINDS} | {"multiple_choice_letter"}
    if len(names) > 1 or not by_answer.issuperset(names):
        raise ConfigError(
            "an answer is compared by one verifier that needs nothing else",
            f"a run whose problems have {', '.join(names)}",
            f"say --kind {'|'.join(KINDS)}, or give --problem ID instead of a prompt",
        )
    return names[0]


def _fitted(config: Config, student: Student, problem: Problem, may_shorten: bool) -> Config:
    """`config` with completions that fit the window behind the prompt: shorter ones, where nobody told their length.

    Raises ProblemError where they do not fit, ConfigError where a problem is over the window.
    """
    prompt, asked = len(student.tokenizer.encode_prompt(problem.messages)), config.sampling.completion_tokens
    room = student.window - prompt
    if room < 1:
        raise ProblemError(
            f"a prompt fits the model's window of {student.window} tokens{student.window_note}",
            f"a prompt of {prompt} tokens",
            "shorten the prompt",
        )
    if asked > room and not may_shorten:
        raise ConfigError(
            f"prompt and completion fit the model's window of {student.window} tokens{student.window_note}",
            f"a prompt of {prompt} tokens, and completions of {asked}",
            f"set --tokens to at most {room}, or shorten the prompt",
        )
    sampling = config.sampling.model_copy(update={"completion_tokens": min(asked, room)})
    return config.model_copy(update={"sampling": sampling})


def _generate(
    config: Config, student: Student, problem: Problem, judge: Judge | None, count: int, step: int
) -> Generated:
    """Try the model as a run does, sample, and judge. The judge is told that `step` steps are done."""
    engine = open_engine(config, student)
    try_out(config, ProblemSet((), (problem,)), student, engine, trains=False)
    (group,) = sample_groups(
        engine,
        student.tokenizer.encode_prompt,
        [problem],
        count,
        config.sampling,
        key=lambda problem: (config.seed, "generate", problem.id),
        step=step,
        success_reward=config.success_reward,
    )
    if judge is not None:
        (group,) = judge([group], step)[0]
    return Generated(config.student, config.seed, config.sampling, student.tokenizer.render(problem.messages), group)
