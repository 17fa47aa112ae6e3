"""The configured problems: one source or a mix, split, with the order in which steps take them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath

from mopd.config import HUB_PREFIX, PYTHON_PREFIX, ProblemsConfig, SourceConfig
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.types import Problem
from mopd.problems import generated
from mopd.problems.near_duplicates import near_duplicates
from mopd.problems.order import Pace, most_in_a_step, pass_order, whole_weights
from mopd.problems.passed import Passed, Problems
from mopd.problems.sources import read_problems
from mopd.problems.split import SplitReport, hold_out, normalised_prompt, with_half_of_tests
from mopd.starters import PREFIX as STARTER_PREFIX


@dataclass(frozen=True)
class ProblemSet:
    """Training and held-out problems: no problem in both, and no normalised prompt in both.

    With `train_on_half_of_held_out_tests` every held-out prompt is in both, and `split.trained_on_count` says so.
    `weights` are those of the domains in the draws of the steps; without them there is one pass over all problems.
    """

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    split: SplitReport = field(default_factory=SplitReport)

    def take(self, step: int, count: int, seed: int) -> list[Problem]:
        """The `count` training problems of a step, all different: seeded passes over all problems, without state.

        Every pass holds every problem once, in an order of its own. With weights each domain has passes of its own,
        and the domains' shares of all problems taken so far stay within a few problems of their weights. Raises
        ProblemError where the step asks for more problems, of all or of a domain, than there are; `check_steps` says so
        of all steps of a run before the first.
        """
        chosen: list[Problem] = []
        for name, problems, pace in self._paces(count):
            begin, end = pace.before(step), pace.before(step + 1)
            _check_enough(len(problems), end - begin, name)
            for which, index in (divmod(position, len(problems)) for position in range(begin, end)):
                chosen.append(problems[pass_order(len(problems), pace, seed, name, which)[index]])
        return chosen

    def check_steps(self, steps: int, count: int) -> None:
        """Raise ProblemError where one of the first `steps` steps of `count` problems asks for more than there are."""
        for name, problems, pace in self._paces(count):
            if pace.bound > len(problems):  # else no step can
                _check_enough(len(problems), most_in_a_step(pace, steps), name)

    def find(self, problem_id: str) -> Problem:
        """The training or held-out problem with this id. Raises ProblemError naming the nearest id."""
        by_id = {problem.id: problem for problem in self.train + self.held_out}
        if problem_id in by_id:
            return by_id[problem_id]
        near = difflib.get_close_matches(problem_id, by_id, n=1)
        raise ProblemError(
            f"an id is that of one of the {len(by_id)} problems",
            f"there is no problem {problem_id!r}",
            f"did you mean {near[0]}?" if near else f"ids are such as {next(iter(by_id))}",
        )

    def _paces(self, count: int) -> Iterator[tuple[tuple[str, ...], Sequence[Problem], Pace]]:
        """The name, the problems and the pace of each part that steps of `count` problems take from."""
        weights = whole_weights(list(self.weights.values())) if self.weights else (1,)
        for part, (name, problems) in enumerate(self._parts.items()):
            if weights[part]:
                yield name, problems, Pace(weights, part, count)

    @cached_property
    def _parts(self) -> dict[tuple[str, ...], tuple[Problem, ...]]:
        """The problems that have passes of their own, by domain in the order of the weights; all of them without."""
        if not self.weights:
            return {(): self.train}
        return {(domain,): tuple(p for p in self.train if p.domain == domain) for domain in self.weights}


def _check_enough(size: int, wanted: int, name: tuple[str, ...]) -> None:
    if wanted > size:
        of = f" of domain {name[0]!r}" if name else ""
        raise ProblemError(
            "a step's problems are all different",
            f"{wanted} problems{of} a step, {size} training problems",
            "lower problems_per_step or add problems" + (", or lower the domain's problems.weights" if name else ""),
        )


def load_problems(config: ProblemsConfig, needs_answer: bool = True, passed: Passed | None = None) -> ProblemSet:
    """The configured problems, split. Raises ProblemError or ConfigError naming file, place and field.

    Problems with the same normalised prompt stay together, whatever their references: what is trained on is never held
    out. Then fewer than `held_out` problems may be held out, where no group of them fits what remains. Without
    `needs_answer` records may lack an answer; their problems have no reference. `passed` are those of Python.
    """
    left_out = Counter[str]()
    passed = passed or Passed()
    sources = _read_training(config, needs_answer, left_out, passed)
    apart = _read_held_out(config, needs_answer, left_out, passed)
    if apart is None:
        train, held_out = _split_off(_with_own_ids(sources)[0], config)
        removed_count = 0
    else:
        drawn = hold_out(apart, config.held_out, config.seed) if len(apart) > config.held_out else apart
        problems, held_out = _with_own_ids(sources, drawn)
        held_prompts = {normalised_prompt(problem) for problem in held_out}
        train = [problem for problem in problems if normalised_prompt(problem) not in held_prompts]
        removed_count = len(problems) - len(train)
    is_on_both_sides = config.train_on_half_of_held_out_tests
    halves = [with_half_of_tests(problem, config.seed) for problem in held_out] if is_on_both_sides else []
    near = near_duplicates(held_out, train)
    train += halves
    _check_parts(train, held_out, config)
    return ProblemSet(
        train=tuple(train),
        held_out=tuple(held_out),
        weights=_checked_weights(config.weights, train),
        split=SplitReport(removed_count, *near, dict(left_out), len(halves)),
    )


def all_problems(config: ProblemsConfig) -> list[Problem]:
    """The configured problems, to be trained on or held out, unsplit; each with an id of its own."""
    left_out, passed = Counter[str](), Passed()
    train, held_out = _with_own_ids(
        _read_training(config, True, left_out, passed), _read_held_out(config, True, left_out, passed) or []
    )
    return train + held_out


def _split_off(problems: Sequence[Problem], config: ProblemsConfig) -> tuple[list[Problem], list[Problem]]:
    if len(problems) <= config.held_out and not config.train_on_half_of_held_out_tests:
        raise ProblemError(
            f"problems remain for training after {config.held_out} are held out",
            f"{len(problems)} problems in {config.source or 'problems.mix'}",
            "lower problems.held_out or add problems",
        )
    held_out = hold_out(problems, config.held_out, config.seed)
    held = {problem.id for problem in held_out}
    return [problem for problem in problems if problem.id not in held], held_out


def _check_parts(train: Sequence[Problem], held_out: Sequence[Problem], config: ProblemsConfig) -> None:
    if config.held_out and not held_out:
        where = config.held_out_source or config.source or "problems.mix"
        raise ProblemError(
            "some problems can be held out whose prompts are not trained on",
            f"problems in {where}, all with prompts that more than {config.held_out} share",
            "raise problems.held_out or remove repeated problems",
        )
    if not train:
        raise ProblemError(
            "problems remain for training without those that are held out",
            f"every prompt in {config.source or 'problems.mix'} is held out",
            "give another problems.held_out_source",
        )


def _checked_weights(weights: Mapping[str, float], train: Sequence[Problem]) -> dict[str, float]:
    """The weights, in the order of the domains in training. Raises ConfigError where they do not suit the domains."""
    sizes = Counter(problem.domain for problem in train)
    there_are = ", ".join(f"{domain} ({size})" for domain, size in sizes.items())
    for domain in weights:
        if domain not in sizes:
            near = difflib.get_close_matches(domain, sizes, n=1)
            raise ConfigError(
                "every domain in problems.weights has training problems",
                f"problems.weights names {domain!r}, which has no training problem; the domains are {there_are}",
                f"did you mean {near[0]}?" if near else "use the domains there are",
            )
    missing = [domain for domain in sizes if domain not in weights]
    if weights and missing:
        raise ConfigError(
            "problems.weights has every domain of the training problems",
            f"problems.weights has none for {', '.join(missing)}; the domains are {there_are}",
            "give each a weight; 0 leaves a domain out",
        )
    if weights and not any(weights.values()):
        raise ConfigError("a weight of problems.weights is over 0", f"problems.weights = {dict(weights)}", "raise one")
    return {domain: float(weights[domain]) for domain in sizes} if weights else {}


# --- sources and ids ------------------------------------------------------------------------------------------------


def _read_training(
    config: ProblemsConfig, needs_answer: bool, left_out: Counter[str], passed: Passed
) -> list[tuple[str, list[Problem]]]:
    """The problems of each source under its label."""
    if not config.mix:
        return [(_label(config), read_problems(config, config.seed, needs_answer, "problems", left_out, passed))]
    return [
        (_label(source), read_problems(source, config.seed, needs_answer, f"problems.mix[{index}]", left_out))
        for index, source in enumerate(config.mix)
    ]


def _read_held_out(
    config: ProblemsConfig, needs_answer: bool, left_out: Counter[str], passed: Passed
) -> list[Problem] | None:
    """The problems of the source that held-out ones are drawn from; None where it is the training problems' own."""
    if config.held_out_source is None and config.held_out_split is None:
        return None
    name = config.held_out_source or config.source
    if generated.find(name) is not None:
        raise ConfigError(
            "problems.held_out_source is a file or a data set",
            f"held_out_source = {name!r} is generated",
            "generate it to a file first",
        )
    if isinstance(passed.of(name), Problems):  # they say all themselves
        own = SourceConfig(source=name, instruction=config.instruction)
        return read_problems(own, config.seed, needs_answer, passed=passed)
    source = SourceConfig(
        source=name,
        verifier=config.verifier,
        options=config.options if config.record_schema else {},
        columns=config.columns,
        record_schema=config.record_schema,
        subset=config.subset if name.startswith(HUB_PREFIX) else None,
        split=config.held_out_split,
        domain=config.domain,
        instruction=config.instruction,
    )
    return read_problems(source, config.seed, needs_answer, left_out=left_out, passed=passed)


def _label(source: SourceConfig) -> str:
    """What a source is called in ids: its domain, else its own name without folders and suffix."""
    name = source.source
    for prefix in (HUB_PREFIX, generated.REASONING_GYM_PREFIX, STARTER_PREFIX, PYTHON_PREFIX):
        name = name.removeprefix(prefix)
    return (source.domain or PurePath(name.removesuffix(".gz").removesuffix(".zst")).stem or name).replace("/", "-")


def _with_own_ids(
    sources: Sequence[tuple[str, Sequence[Problem]]], held_out: Sequence[Problem] = ()
) -> tuple[list[Problem], list[Problem]]:
    """All training problems in order, and the held-out ones of a source apart, no two with the same id.

    Where two sources share an id, every id gets its source's label in front (`physics/12`; `held_out` is that of the
    source apart); equal labels are numbered (`physics`, `physics-2`). Labels hold no slash, so that no two ids agree.
    """
    parts = [*sources, ("held_out", held_out)]
    ids = Counter(problem.id for _, problems in parts for problem in problems)
    if len(ids) < ids.total():
        labels = _numbered([label for label, _ in parts])
        parts = [
            (label, [replace(problem, id=f"{label}/{problem.id}") for problem in problems])
            for label, (_, problems) in zip(labels, parts, strict=True)
        ]
    return [problem for _, problems in parts[:-1] for problem in problems], list(parts[-1][1])


def _numbered(labels: Sequence[str]) -> list[str]:
    """The labels, made different: the second `physics` is `physics-2`."""
    numbered: dict[str, None] = {}
    for label in labels:
        number, new = 1, label
        while new in numbered:
            number += 1
            new = f"{label}-{number}"
        numbered[new] = None
    return list(numbered)
