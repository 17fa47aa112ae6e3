"""reasoning-gym: which tasks can be trusted, shown by an audit, and that their problems and verdicts stand still.

The audit puts junk through every scorer. It runs in workers: this module is its own grader, imported there by name.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from types import CodeType

import pytest

from mopd.auditing.audit import GUESS_SHARE
from mopd.auditing.junk import GUESSES, NO_ANSWERS, NUMBER, WORD, is_same_answer
from mopd.config import ProblemsConfig
from mopd.core.errors import ConfigError, VerifierError
from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.problems import load_problems
from mopd.verifiers.pool import Pool
from mopd.verifiers.reasoning_gym_tasks import (
    FULL_SCORE,
    MAX_ANSWER_CHARACTERS,
    OWN_ANSWER_FAILS,
    REFUSED,
    RUNS_ANSWER,
    generate,
)

HERE = "tests.integration.test_reasoning_gym"

# --- the audit, in workers ------------------------------------------------------------------------------------------

ENTRIES, SECONDS = 60, 8.0
"""As many problems of a task are looked at as it generates in so many seconds, up to so many, and at least six."""

CANARY = "qzx41903"
DERIVED = {
    "the question": lambda question, own: question,
    **{
        f"{x} for numbers": lambda _, own, x=x: NUMBER.sub(x, own)
        for x in ("nan", "Infinity", "0", "true", "null", "[]")
    },
    "# for characters": lambda _, own: re.sub(r"\S", "#", own),
}

_ran: list[CodeType] = []


def prepare_worker():
    import reasoning_gym  # noqa: F401

    sys.addaudithook(lambda event, arguments: _ran.append(arguments[0]) if event == "exec" else None)


def grade_in_worker(task):
    """What speaks against a task (empty: nothing), and the number of problems looked at."""
    try:
        entries = _entries(task["name"], task["at_most"])
    except Exception as error:
        return {"against": f"cannot be generated: {error!r}"[:200], "entries": 0}
    against = _own_answer_is_wrong(task["name"], entries) or _runs_code(entries) or _own_answer_fails(entries)
    against = against or _accepts_junk(entries)
    return {"against": against, "entries": len(entries)}


def _entries(name, at_most):
    """(data set, entry) pairs from seeds far apart: entry i of seed s is entry 0 of seed s + i."""
    import reasoning_gym

    began, found = time.monotonic(), []
    while len(found) < at_most and (len(found) < 6 or time.monotonic() - began < SECONDS):
        dataset = reasoning_gym.create_dataset(name, seed=1000 * len(found), size=6)
        found += [(dataset, dataset[index]) for index in range(6)]
    return found


def _score(dataset, entry, answer):
    try:
        return dataset.score_answer(answer, copy.deepcopy(entry))
    except Exception:
        return math.nan


def _runs_code(entries):
    """Whether the interpreter is seen to execute code with a name that only the answer holds."""
    for dataset, entry in entries[:3]:
        own = str(entry["answer"])
        for answer in (CANARY, f"{CANARY}+1", f"[{CANARY}]", f"{own}+{CANARY}", NUMBER.sub(CANARY, own)):
            _ran.clear()
            _score(dataset, entry, answer)
            if any(CANARY in str((code.co_names, code.co_consts)) for code in _ran if isinstance(code, CodeType)):
                return RUNS_ANSWER
    return ""


def _own_answer_fails(entries):
    answered = [(dataset, entry) for dataset, entry in entries if (entry["answer"] or "").strip()]
    if len(answered) < 0.9 * len(entries):
        return OWN_ANSWER_FAILS
    for dataset, entry in answered:
        if _score(dataset, entry, entry["answer"].strip()) != FULL_SCORE:
            return f"does not accept its own answer {entry['answer']!r}"[:200]
    return ""


_STATEMENT = re.compile(r"(All|No|Some) (\w+) are (not )?(\w+)")


def _follows(premises, conclusion, are_terms_empty):
    """Whether a conclusion is true in all models of the premises: one for each choice of kinds of things that exist."""
    terms = sorted({term for _, subject, _, other in premises for term in (subject, other)})
    kinds = list(itertools.product((False, True), repeat=len(terms)))

    def holds(statement, existing):
        quantity, subject, negation, other = statement
        of_subject = [kind[terms.index(other)] for kind in existing if kind[terms.index(subject)]]
        is_some = any(not x if negation else x for x in of_subject)
        return {"All": all(of_subject), "No": not any(of_subject), "Some": is_some}[quantity]

    for chosen in itertools.product((False, True), repeat=len(kinds)):
        existing = [kind for kind, exists in zip(kinds, chosen, strict=True) if exists]
        if not are_terms_empty and not all(any(kind[i] for kind in existing) for i in range(len(terms))):
            continue
        if all(holds(premise, existing) for premise in premises) and not holds(conclusion, existing):
            return False
    return True


def _syllogism(question):
    """The answers that logic allows, whether or not a term may be empty."""
    *premises, conclusion = _STATEMENT.findall(question)
    return {"Yes" if _follows(premises, conclusion, are_terms_empty) else "No" for are_terms_empty in (False, True)}


SOLVERS = {"syllogism": _syllogism}
"""The right answers of a question, found without the task's generator."""


def _own_answer_is_wrong(name, entries):
    asked = [(entry["answer"], SOLVERS[name](entry["question"])) for _, entry in entries] if name in SOLVERS else []
    wrong = [own for own, right in asked if own not in right]
    return f"{len(wrong)} of its {len(asked)} answers are wrong" if wrong else ""


def _accepts_junk(entries):
    def share(junk_of):
        hits = 0
        for dataset, entry in entries:
            own = entry["answer"]
            junk = junk_of(entry["question"], own).strip()
            hits += bool(junk) and not is_same_answer(junk, own) and _score(dataset, entry, junk) == FULL_SCORE
        return hits / len(entries)

    candidates = {repr(junk[:20]): lambda *_, junk=junk: junk for junk in (WORD, *NO_ANSWERS, *GUESSES)} | DERIVED
    shares = {name: share(junk_of) for name, junk_of in candidates.items()}
    worst = max(shares, key=lambda name: shares[name])
    return f"accepts {worst} at {shares[worst]:.2f}" if shares[worst] > GUESS_SHARE else ""


def check_audit(names, at_most=ENTRIES):
    """Audits tasks on at most so many problems: those that something speaks against must be refused, and no others."""
    wrong = {}
    with closing(Pool(1, 300.0)) as pool:
        for name in names:
            found = pool.grade(HERE, {"name": name, "at_most": at_most})
            if bool(found["against"]) != (name in REFUSED):
                wrong[name] = (
                    found["against"] or f"nothing in {found['entries']} problems, but refused: {REFUSED[name]}"
                )
    assert not wrong, json.dumps(wrong, indent=1)


def test_the_audit_tells_tasks_to_refuse_from_tasks_to_trust():
    refused = ["n_queens", "countdown", "rush_hour", "game_of_life_halting", "coin_flip", "number_sorting", "composite"]
    trusted = ["spell_backward", "chain_sum", "knights_knaves", "prime_factorization", "tower_of_hanoi", "leg_counting"]
    check_audit([*refused, *trusted], at_most=12)
    check_audit(["syllogism"])  # one in eight of its answers is wrong


@pytest.mark.slow
def test_every_task_that_is_not_refused_passes_the_audit_and_every_refused_one_fails_it():
    from reasoning_gym.factory import DATASETS

    assert set(REFUSED) <= set(DATASETS)
    check_audit(sorted(DATASETS))


# --- problems -------------------------------------------------------------------------------------------------------


def problems_of(name, size=6, held_out=2, seed=0, **options):
    config = ProblemsConfig(source=f"reasoning_gym:{name}", size=size, held_out=held_out, seed=seed, options=options)
    return load_problems(config)


def one_problem(name, **options):
    return problems_of(name, size=2, held_out=1, **options).train[0]


def test_problems_are_the_same_in_every_process_whatever_its_hash_seed():
    """Some tasks draw from sets: generated in the process itself, a resumed run would see other problems."""
    names = ["ransom_note", "isomorphic_strings", "knights_knaves"]
    code = (
        "import json, sys\n"
        "from mopd.verifiers.reasoning_gym_tasks import generate\n"
        f"print(json.dumps([generate(name, 7, 4, {{}}) for name in {names}]))\n"
        "print('reasoning_gym' in sys.modules)\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    made, imported = done.stdout.splitlines()
    assert json.loads(made) == [generate(name, 7, 4, {}) for name in names]
    assert (imported, done.stderr) == ("False", "")


def test_generating_prints_nothing(capfd):
    generate("bf", 0, 3, {})  # its generator prints
    assert capfd.readouterr() == ("", "")


def test_problems_are_those_of_the_seed_with_ids_of_their_own():
    problems = problems_of("spell_backward", size=12, held_out=4)
    assert problems == problems_of("spell_backward", size=12, held_out=4)
    assert problems != problems_of("spell_backward", size=12, held_out=4, seed=500)
    everything = problems.train + problems.held_out
    assert len(everything) == 12
    assert len({p.id for p in everything}) == len({p.messages[0]["content"] for p in everything}) == 12
    assert {p.domain for p in everything} == {"spell_backward"}


def test_a_question_that_repeats_itself_is_one_problem():
    problems = problems_of("spell_backward", size=40, held_out=1, min_word_len=3, max_word_len=3)
    prompts = [p.messages[0]["content"] for p in problems.train + problems.held_out]
    assert len(set(prompts)) == len(prompts) <= 40


def test_a_misspelt_task_is_told_its_nearest_name():
    with pytest.raises(VerifierError, match="did you mean spell_backward"):
        generate("spell_backwards", 0, 1, {})


@pytest.mark.parametrize(
    "options", [{"no_such_option": 1}, {"min_word_len": 9, "max_word_len": 3}, {"min_word_len": "x"}]
)
def test_options_that_do_not_suit_a_task_are_named(options):
    with pytest.raises(ConfigError, match="suit reasoning_gym:spell_backward") as error:
        generate("spell_backward", 0, 2, options)
    assert next(iter(options)) in str(error.value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_task_gives_no_problems_and_no_verdict(name):
    with pytest.raises(VerifierError, match=re.escape(REFUSED[name])):
        generate(name, 0, 1, {})
    columns = {"task": name, "seed": 0, "size": 1, "options": {}, "index": 0}
    verdict = judge(Problem("p", ({"role": "user", "content": "?"},), "1", "reasoning_gym", columns=columns), "1")
    assert verdict.kind == "error"
    assert REFUSED[name] in verdict.feedback


def test_another_verifier_is_refused():
    with pytest.raises(ConfigError, match="own scorer"):
        load_problems(ProblemsConfig(source="reasoning_gym:spell_backward", verifier="exact", size=2, held_out=1))


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spell_backward", "knights_knaves", "survo", "time_intervals", "word_ladder"])
def test_the_tasks_own_answers_are_right_with_tags_and_without(name):
    for problem in problems_of(name, size=3, held_out=1).train:
        assert judge(problem, problem.reference).kind == "correct"
        assert judge(problem, f"Thus: <answer>\n{problem.reference}\n</answer>").kind == "correct"
        assert judge(problem, f"<think>banana</think>{problem.reference}").kind == "correct"
        assert judge(problem, f"<think>{problem.reference}").kind == "unparsable"
        assert judge(problem, "banana").reward == 0.0
        assert judge(problem, "").kind == "unparsable"
        assert judge(problem, f"<answer>{problem.reference}").kind == "unparsable"


def test_a_right_beginning_is_no_success():
    """The scorer adds 1/6 six times, which is 0.9999999999999999, whatever follows the six letters."""
    problems = problems_of("spell_backward", size=12, held_out=1, min_word_len=6, max_word_len=6).train
    for problem in problems:
        assert judge(problem, problem.reference).kind == "correct"
        assert judge(problem, problem.reference + "s and more").kind == "wrong"
        assert judge(problem, problem.reference[:-1]).kind == "wrong"


def test_an_answer_that_the_scorer_chokes_on_is_unparsable():
    problem = one_problem("prime_factorization")
    assert judge(problem, problem.reference).kind == "correct"
    assert judge(problem, "2 x 3").kind == "unparsable"
    assert judge(problem, "2 × 2 × 2 × 2 × 2 × 2 × 2 × 2 × 2 × 2").kind == "wrong"


def test_a_problem_that_reasoning_gym_would_now_make_otherwise_is_an_error():
    problem = one_problem("spell_backward")
    changed = replace(problem, messages=({"role": "user", "content": "Spell this word backward: sun"},))
    verdict = judge(changed, "nus")
    assert verdict.kind == "error"
    assert "another question" in verdict.feedback


def test_a_scorer_that_prints_disturbs_nobody(capfd):
    problem = one_problem("tower_of_hanoi")
    assert judge(problem, "Move disk 1 from Peg 1 to Peg 99").kind == "wrong"
    assert judge(problem, problem.reference).kind == "correct"
    assert capfd.readouterr() == ("", "")


def test_an_endless_answer_is_unparsable_at_once():
    began = time.process_time()
    verdict = judge(one_problem("spell_backward"), "x" * (MAX_ANSWER_CHARACTERS + 1))
    assert verdict.kind == "unparsable"
    assert len(verdict.answer) <= 80
    assert time.process_time() - began < 5.0


def test_entries_without_an_answer_are_left_out():
    """One in a hundred entries of this task has the empty answer, which no completion can give."""
    problems = problems_of("ab", size=400, held_out=1)
    assert 300 < len(problems.train) < 399
    assert all(p.reference.strip() for p in problems.train)


def test_a_problem_without_its_columns_is_an_error():
    assert judge(Problem("p", ({"role": "user", "content": "?"},), "x", "reasoning_gym"), "x").kind == "error"


def test_sets_of_neighbouring_seeds_do_not_share_their_problems():
    sets = []
    for seed in (0, 1):
        config = ProblemsConfig(source="reasoning_gym:chain_sum", seed=seed, size=60, held_out=0)
        sets.append({problem.messages[0]["content"] for problem in load_problems(config).train})
    assert len(sets[0] & sets[1]) < 6
