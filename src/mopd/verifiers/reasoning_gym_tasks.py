"""reasoning-gym: procedural tasks with their own scorers, made binary; those not to be trusted are refused by name.

Problems are generated and answers scored in worker processes. There every run sees the same hash seed (some tasks draw
from sets, so that in any other process a seed would not fix their problems), nothing is printed, and limits hold.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
from functools import lru_cache
from typing import Any

from mopd.core.errors import ConfigError, VerifierError
from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.verifiers.multiple_choice import last_tagged
from mopd.verifiers.pool import GraderFailure, grade

FULL_SCORE = 1.0
"""Nothing but this very score is a success. Partial scores are none: floors of 0.01-0.05, shares of a string, and the
0.9999999999999999 that some scorers add up for a right beginning with anything behind it."""

MAX_ANSWER_CHARACTERS = 20_000
"""A longer answer is `unparsable`, so that no answer can occupy a scorer."""

GENERATION_LIMIT_S = 3600.0
"""Wall time in which a task must have generated its problems."""

RUNS_ANSWER = "its scorer runs the answer as Python code"
OWN_ANSWER_FAILS = "it gives no answer of its own, so nothing shows that its scorer works"
ACCEPTS_NAN = "its scorer accepts nan for any number"
REFUSED: dict[str, str] = {
    "binary_matrix": RUNS_ANSWER,
    "countdown": RUNS_ANSWER,
    "intermediate_integration": RUNS_ANSWER,
    "n_queens": RUNS_ANSWER,
    "polynomial_multiplication": RUNS_ANSWER,
    "puzzle24": RUNS_ANSWER,
    "simple_integration": RUNS_ANSWER,
    "spiral_matrix": RUNS_ANSWER,
    "string_insertion": RUNS_ANSWER,
    "boxnet": OWN_ANSWER_FAILS,
    "graph_color": OWN_ANSWER_FAILS,
    "propositional_logic": OWN_ANSWER_FAILS,
    "rubiks_cube": OWN_ANSWER_FAILS,
    "rush_hour": OWN_ANSWER_FAILS,
    "complex_arithmetic": ACCEPTS_NAN,
    "number_sorting": ACCEPTS_NAN,
    "coin_flip": "its scorer accepts 0 for every probability below 1",
    "game_of_life_halting": "its scorer accepts any word",
    "syllogism": "one in eight of its own answers is wrong (from all X are Y, some Y are Z follows nothing)",
    "composite": "it mixes other tasks, refused ones too; use one task",
}
"""Tasks that cannot give a verdict to trust, with why (found by reading and by auditing reasoning-gym 0.1.25, and by
solving its problems in another way: junk and a task's own answers cannot show that these are wrong)."""


def generate(name: str, seed: int, size: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries of a task: `index` (below `size`), `question` and `answer`. Entries without an answer are left out.

    reasoning-gym makes entry i from `seed + i`, so that sets whose seeds are closer than their size share problems.
    Raises VerifierError where the task is unknown or refused, ConfigError where it does not suit its options.
    """
    refuse(name)
    task = {"name": name, "seed": seed, "size": size, "options": options}
    try:
        made = grade(__name__, task, GENERATION_LIMIT_S)
    except GraderFailure as failure:
        raise ConfigError(
            f"reasoning_gym:{name} generates its problems",
            f"options {options}: {failure} {failure.said}",
            "see the task's own options",
        ) from failure
    if "names" in made:
        near = difflib.get_close_matches(name, made["names"], n=1)
        do = f"did you mean {near[0]}?" if near else "see reasoning_gym's list of data sets"
        raise VerifierError("a reasoning-gym task exists", f"there is no task {name!r}", do)
    if "unsuitable" in made:
        raise ConfigError(
            f"problems.options suit reasoning_gym:{name}",
            f"options {options}: {made['unsuitable']}",
            "see the task's own options",
        )
    entries: list[dict[str, Any]] = made["entries"]
    return entries


def refuse(name: str) -> None:
    """Raises VerifierError where a task is refused."""
    if name in REFUSED:
        raise VerifierError(
            "a reasoning-gym task has a scorer to trust", f"{name} is refused: {REFUSED[name]}", "use another task"
        )


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the task's own scorer gives the full score to the answer.

    The answer is what the last <answer> tag holds, else the whole completion, thinking aside. Where the scorer raises
    on it, but gives the full score to the problem's own answer, the answer is at fault: `unparsable`. Raises
    GraderFailure where the scorer fails otherwise, returns no number, or runs over its time limit.
    """
    name = problem.columns["task"]
    refuse(name)
    answer = extract_answer(strip_thinking(completion))
    if not answer:
        return Verdict(0.0, "unparsable", None, "The completion holds no answer.")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Verdict(0.0, "unparsable", answer[:80], f"The answer has over {MAX_ANSWER_CHARACTERS} characters.")
    task = {key: problem.columns[key] for key in ("seed", "size", "options", "index")}
    score = grade(__name__, task | {"name": name, "question": problem.messages[-1]["content"], "answer": answer})
    if score is None:
        return Verdict(0.0, "unparsable", answer, "The answer is not in a form that the task reads.")
    if not math.isfinite(score):
        raise GraderFailure(f"the scorer of {name} returned {score}")
    if score == FULL_SCORE:
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, "The answer is wrong.")


def extract_answer(completion: str) -> str:
    """The text inside the last closed answer tag; the whole completion where it has no tag at all."""
    if "<answer>" in completion or "</answer>" in completion:
        return last_tagged(completion) or ""
    return completion.strip()


# --- in the worker --------------------------------------------------------------------------------------------------


def prepare_worker() -> None:
    """Import reasoning-gym."""
    import reasoning_gym  # noqa: F401


def grade_in_worker(task: dict[str, Any]) -> Any:
    """The score of `answer`, or without one the task's entries."""
    return score_in_worker(task) if "answer" in task else generate_in_worker(task)


def generate_in_worker(task: dict[str, Any]) -> dict[str, Any]:
    """`entries`, or `names` of all tasks where this one is unknown, or what makes the options `unsuitable`."""
    from reasoning_gym.factory import DATASETS

    if task["name"] not in DATASETS:
        return {"names": sorted(DATASETS)}
    try:
        entries = list(_dataset(task["name"], task["seed"], task["size"], _as_key(task["options"])))
    except (TypeError, AssertionError, ValueError, KeyError, IndexError) as error:
        return {"unsuitable": f"{type(error).__name__}: {error}"}
    answered = [
        {"index": index, "question": entry["question"], "answer": entry["answer"]}
        for index, entry in enumerate(entries)
        if isinstance(entry["answer"], str) and entry["answer"].strip()
    ]
    return {"entries": answered} if answered else {"unsuitable": "no entry has an answer"}


def score_in_worker(task: dict[str, Any]) -> float | None:
    """The scorer's own score of `answer`; None where it raises, yet gives the full score to the entry's own answer.

    The entry is generated again. Raises ValueError where it is no longer the problem's.
    """
    refuse(task["name"])
    what = task["name"], task["seed"], task["size"], _as_key(task["options"])
    dataset, entry = _dataset(*what), _entry(*what, task["index"])
    if entry["question"] != task["question"]:
        raise ValueError("reasoning-gym generates another question than the problem's")
    try:
        return float(dataset.score_answer(task["answer"], copy.deepcopy(entry)))
    except MemoryError:
        raise
    except Exception:
        if dataset.score_answer(entry["answer"], copy.deepcopy(entry)) != FULL_SCORE:
            raise
        return None


def _as_key(options: dict[str, Any]) -> str:
    return json.dumps(options, sort_keys=True)


@lru_cache(maxsize=8)
def _dataset(name: str, seed: int, size: int, options: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(name, seed=seed, size=size, **json.loads(options))


@lru_cache(maxsize=64)
def _entry(name: str, seed: int, size: int, options: str, index: int) -> dict[str, Any]:
    entry: dict[str, Any] = _dataset(name, seed, size, options)[index]
    return entry
