"""reasoning-gym: procedural tasks with their own scorers, wrapped, made binary, the exploitable ones refused by name."""

from __future__ import annotations

import base64
import difflib
import math
import pickle
from typing import Any

from mopd.errors import ConfigError, VerifierError
from mopd.types import Problem, Verdict
from mopd.verifiers.multiple_choice import last_tagged
from mopd.verifiers.pool import GraderFailure, grade

FULL_SCORE = 1.0 - 1e-9
"""Partial scores (floors of 0.01-0.05, shares of a string) are no success: only a full score is."""

RUNS_ANSWER = "its scorer runs the answer as Python code"
OWN_ANSWER_FAILS = "its scorer does not accept its own answer"
REFUSED: dict[str, str] = {
    "game_of_life_halting": "its scorer accepts any word",
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
}
"""Tasks that cannot give a verdict to trust, with why (found by reading and by auditing reasoning-gym 0.1.25)."""


def generate(name: str, seed: int, size: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """`size` entries of a task: question, answer, metadata. Raises ConfigError or VerifierError."""
    check_task(name)
    import reasoning_gym

    try:
        return list(reasoning_gym.create_dataset(name, seed=seed, size=size, **options))
    except (TypeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"problems.options suit reasoning_gym:{name}", f"{options}: {error}", "see the task's own options"
        ) from error


def check_task(name: str) -> None:
    """Raises VerifierError where a task is unknown or refused."""
    if name in REFUSED:
        raise VerifierError(
            "a reasoning-gym task has a scorer to trust", f"{name}: {REFUSED[name]}", "use another task"
        )
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        near = difflib.get_close_matches(name, list(DATASETS), n=1)
        do = f"did you mean {near[0]}?" if near else "see reasoning_gym's list of data sets"
        raise VerifierError("a reasoning-gym task exists", repr(name), do)


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the task's own scorer gives the full score to the answer: the last <answer> tag, else the whole completion.

    Raises GraderFailure where the scorer fails, returns no number, or runs over its time limit.
    """
    answer = extract_answer(completion)
    if not answer:
        return Verdict(0.0, "unparsable", None, "The completion holds no answer.")
    score = grade(
        "reasoning_gym",
        {
            "name": problem.columns["task"],
            "options": problem.columns["options"],
            "entry": pack_entry(problem.columns["entry"]),
            "answer": answer,
        },
    )
    if not isinstance(score, int | float) or not math.isfinite(score):
        raise GraderFailure(f"the scorer of {problem.columns['task']} returned {score!r}")
    if score >= FULL_SCORE:
        return Verdict(1.0, "correct", answer)
    return Verdict(0.0, "wrong", answer, "The answer is wrong.")


def extract_answer(completion: str) -> str:
    """The text inside the last closed answer tag; the whole completion where it has no tag at all."""
    if "<answer>" in completion or "</answer>" in completion:
        return last_tagged(completion) or ""
    return completion.strip()


def pack_entry(entry: dict[str, Any]) -> str:
    """An entry as text for the worker. Pickled, since metadata holds tuples and sets; it is our own, never the model's."""
    return base64.b64encode(pickle.dumps(entry)).decode()


def grade_in_worker(task: dict[str, Any]) -> float:
    """Runs in the worker: the scorer's own score of `answer`."""
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(task["name"], seed=0, size=1, **task["options"])
    entry = pickle.loads(base64.b64decode(task["entry"]))
    return float(dataset.score_answer(task["answer"], entry))
