"""A golden CPU run: three updates on written-down groups give these figures, whatever is refactored.

The groups are fixed texts, so that no sampled token can flip on another processor; figures hold to five digits.
"""

from contextlib import nullcontext

import pytest

from mopd.config import build_config
from mopd.core.types import Group, Message, Problem, Rollout, Verdict
from mopd.learning.teacher import Health
from mopd.models.embedded import EMBEDDED
from mopd.models.student import as_student
from tests.builders import make_learner, make_maker, make_teacher

ATTEMPTS = {"31": ["13", "31", "13", "1"], "7052": ["0257", "0275", "02557", "0257"], "99": ["9", "999", "90", "0"]}


def group(student, step, prompt):
    problem = Problem(f"sort-{prompt}", (Message(role="user", content=prompt),), "".join(sorted(prompt)), "exact")
    rollouts, verdicts = [], []
    for index, text in enumerate(ATTEMPTS[prompt]):
        ids = (*student.tokenizer.encode_completion(text), student.tokenizer.end_id)
        rollouts.append(Rollout(index, ids, (True,) * len(ids), (-2.5,) * len(ids), text, False))
        right = text == problem.reference
        verdicts.append(Verdict(float(right), "correct" if right else "wrong", text))
    ids = tuple(student.tokenizer.encode_prompt(problem.messages))
    return Group(step, problem, ids, tuple(rollouts), tuple(verdicts))


def run(overrides):
    unbounded = ["optimizer.fall_share=0", "optimizer.drift_nats=0"]  # the plain update; bounds have tests of their own
    steps = ["group_size=4", "optimizer.learning_rate=1e-3", "optimizer.warmup_steps=2"]
    config = build_config({}, [*unbounded, *steps, *overrides])
    student = as_student(*EMBEDDED["digits"].build(seed=5))
    learner, teacher = make_learner(student.model, config), make_teacher(student.model, config)
    maker = make_maker(config, student)
    figures = []
    for step in range(3):
        records = maker.make([group(student, step, prompt) for prompt in ATTEMPTS])
        lessons = [record.lesson for rows in records for record in rows if record.lesson]
        is_distill = config.objective.kind == "distill"
        learning = learner.learn(lessons, teacher if is_distill else None, step, lambda _: nullcontext())
        teacher.follow(student.model, Health(0.5, 9.0))
        figures.append((len(lessons), learning.metrics["objective/loss"], learning.metrics["update/grad_norm"]))
    return figures


GOLDEN = {
    "mopd": (
        ["context.order='failures_first'"],
        [(8, 0.04527506, 0.529814), (8, 0.04369951, 0.558904), (8, 0.02450792, 0.379784)],
    ),
    "all failures teach": (
        [
            "context.order='failures_first'",
            "peers.require_success=false",
            "divergence.kind='reverse_kl'",
            "divergence.k=5",
        ],
        [(12, 0.12532645, 2.214646), (12, 0.11287548, 2.55121), (12, 0.08046806, 1.48875)],
    ),
    "grpo": (
        ["objective.kind='grpo'"],
        [(8, 0.01031581, 1.954983), (8, -0.07287753, 1.316188), (8, -0.16737071, 2.034849)],
    ),
    "sft": (
        ["objective.kind='sft'"],
        [(4, 3.41440153, 13.862564), (4, 2.1109395, 10.234787), (4, 0.9061811, 5.842846)],
    ),
}


@pytest.mark.parametrize("name", list(GOLDEN))
def test_three_updates_give_the_golden_figures(name):
    overrides, golden = GOLDEN[name]
    for got, (lessons, loss, norm) in zip(run(overrides), golden, strict=True):
        assert got[0] == lessons
        assert got[1] == pytest.approx(loss, rel=1e-4, abs=1e-7)
        assert got[2] == pytest.approx(norm, rel=1e-3)


if __name__ == "__main__":  # prints the figures, to be compared and written above by hand
    for name, (overrides, _) in GOLDEN.items():
        print(name, [(n, round(loss, 8), round(norm, 6)) for n, loss, norm in run(overrides)])
