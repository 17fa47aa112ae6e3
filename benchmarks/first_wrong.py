"""Where a failed rollout goes wrong: how often the mark of `mopd report` is in the right step.

    python benchmarks/first_wrong.py [--seeds 0 1 2] [--steps 1500]

A problem asks for the values of six digits. A completion writes each digit with its value, in any order, so that a
success can be written in 720 ways, and where two rollouts part says little. Each digit has a usual value, right in four
problems of five, and another one, right in the fifth: the student alone cannot know which. It is taught such guesses on
bare prompts and, behind contexts, to read right values off its peers. Then it attempts new problems, with updates too
small to change it, and the page's own scores say where each failed rollout goes wrong. What is true is known: the first
pair whose digit was not asked for, or whose value is wrong. Intervals are a bootstrap over problems.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mopd import load_config, load_run, train
from mopd.analysis.opened import Models
from mopd.config import Config
from mopd.core.seeding import derive_rng
from mopd.core.statistics import bootstrap_interval, mean_or_zero
from mopd.core.types import Message
from mopd.method.contexts import render_context
from mopd.method.lessons import LessonMaker
from mopd.models.embedded import EMBEDDED
from mopd.models.tokenizer import ChatTokenizer
from mopd.page.credit import score_group
from mopd.page.places import first_wrong
from mopd.runs.environment import describe_environment
from mopd.runs.records import rebuild_group

STUDENT = EMBEDDED["digits"]
ASKED, USUAL = 6, 0.8
GROUPS_A_STEP, RUN_STEPS = 8, 10
BUDGET = 96

MARKS: dict[str, Callable[[dict[str, Any]], int | None]] = {
    "the mark: first strong doubt of the teacher": lambda told: first_wrong(told["doubt"]),
    "lowest teacher - student": lambda told: min(range(len(told["gain"])), key=told["gain"].__getitem__),
    "largest divergence": lambda told: max(range(len(told["divergence"])), key=told["divergence"].__getitem__),
}
"""From what the page tells of a rollout to a token."""

ALONE, UNRELATED, PLAIN = "the student's own doubt", "doubt behind another problem's peers", "first plain difference"


class World:
    """The two values that each digit can have, a function of the seed; the first is usual."""

    def __init__(self, seed: int) -> None:
        rng = derive_rng(seed, "usual values")
        self.both = {digit: rng.sample("0123456789", 2) for digit in "0123456789"}

    def values(self, digits: Sequence[str], rng: random.Random) -> dict[str, str]:
        """Right values of a problem, or what one would guess of it."""
        return {digit: self.both[digit][rng.random() > USUAL] for digit in digits}

    def problems(self, seed: int, count: int) -> list[dict[str, str]]:
        """Records of problems that differ in their digits."""
        rng = derive_rng(seed, "problems")
        prompts = ["".join(rng.sample("0123456789", ASKED)) for _ in range(count * 2)]
        return [
            {"prompt": prompt, "answer": written(self.values(prompt, rng), rng)}
            for prompt in list(dict.fromkeys(prompts))[:count]
        ]


def written(values: dict[str, str], rng: random.Random) -> str:
    """Digits with their values, in some order."""
    return "".join(digit + values[digit] for digit in rng.sample(sorted(values), len(values)))


def right(completions: Any, answer: Sequence[str]) -> list[float]:
    """The reward: 1 for a completion that is right to its end."""
    texts = [completion[-1]["content"] for completion in completions]
    return [float(len(t) == len(a) and wrong_step(t, a) is None) for t, a in zip(texts, answer, strict=True)]


def wrong_step(text: str, answer: str) -> int | None:
    """The first pair that is wrong or missing; None where all are right."""
    left = {answer[i]: answer[i + 1] for i in range(0, len(answer), 2)}
    for step in range(ASKED):
        pair = text[2 * step : 2 * step + 2]
        if len(pair) < 2 or left.pop(pair[0], None) != pair[1]:
            return step
    return None


# --- the student ------------------------------------------------------------------------------------------------------


def rows(world: World, tokenizer: ChatTokenizer, rng: random.Random) -> Iterator[tuple[Sequence[int], str]]:
    """What the student is taught: prefixes, and the text behind each."""
    while True:
        digits = rng.sample("0123456789", ASKED)
        values = world.values(digits, rng)
        messages = (Message(role="user", content="".join(digits)),)
        if rng.random() < 0.4:
            yield tokenizer.encode_prompt(messages), written(values, rng)
            continue
        is_unrelated = rng.random() < 0.15
        shown = world.values(rng.sample("0123456789", ASKED), rng) if is_unrelated else values
        successes = [written(shown, rng) for _ in range(rng.choice((1, 2)))]
        failures = [written(world.values(list(shown), rng), rng) for _ in range(rng.choice((0, 1)))]
        context = render_context(
            messages,
            successes,
            failures,
            template=STUDENT.template,
            order="shuffled",
            budget=BUDGET,
            encode=tokenizer.encode_prompt,
            rng=rng,
        )
        yield context.token_ids, written(values, rng)


def taught(world: World, seed: int, steps: int) -> tuple[Any, Any]:
    """(model, tokenizer) after so many supervised updates."""
    model, inner = STUDENT.build(seed)
    tokenizer = ChatTokenizer(inner)
    stream = rows(world, tokenizer, derive_rng(seed, "warm-up"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.05)
    for _ in range(steps):
        batch = [next(stream) for _ in range(64)]
        pairs = [([*p], [*tokenizer.encode_completion(text), tokenizer.end_id]) for p, text in batch]
        width = max(len(prefix) + len(ids) for prefix, ids in pairs)
        ids, targets = torch.zeros(len(pairs), width, dtype=torch.long), torch.full((len(pairs), width), -100)
        for row, (prefix, own) in enumerate(pairs):
            ids[row, : len(prefix) + len(own)] = torch.tensor(prefix + own)
            targets[row, len(prefix) : len(prefix) + len(own)] = torch.tensor(own)
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval(), inner


# --- the marks --------------------------------------------------------------------------------------------------------


def config_for(run: Path, seed: int) -> Config:
    return load_config(
        {
            "run": str(run),
            "student": "builtin:digits",
            "seed": seed,
            "steps": RUN_STEPS,
            "group_size": 8,
            "problems_per_step": GROUPS_A_STEP,
            "problems": {"held_out": 0},
            "sampling": {"completion_tokens": 2 * ASKED + 2},
            "context": {"tokens": BUDGET},
            "peers": {"successes": 2, "failures": 1},
            "teacher": {"kind": "frozen"},
            "optimizer": {"learning_rate": 1e-9},
            "preflight": {"action": "off"},
            "evaluation": {"contexts_every": 0},
            "compute": {"threads": 1},
        }
    )


@torch.no_grad()
def own_doubts(models: Models, row: dict[str, Any]) -> list[list[float]]:
    """By how much the student itself would rather have written another token, of each rollout of a group."""
    tokenizer, found = models.student.tokenizer, []
    prompt = list(tokenizer.encode_prompt(row["prompt"]))
    for rollout in row["rollouts"]:
        ids = [*tokenizer.encode_completion(rollout["completion"]), tokenizer.end_id]
        logprobs = models.student.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        own = logprobs.gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)
        found.append((logprobs.max(-1).values - own).tolist())
    return found


def marked(run: Path, config: Config) -> list[tuple[str, int, dict[str, int | None]]]:
    """(problem, the step that is wrong, the step that each way marks) of each failed rollout with a context."""
    models = Models.open(run, config)
    apart = config.model_copy(update={"peers": config.peers.model_copy(update={"control": "unrelated_problem"})})
    maker = LessonMaker(apart, models.student.tokenizer.encode_prompt, models.student.template)
    recorded = list(load_run(run).iter_groups())
    found = []
    for row in recorded:
        step_groups = [rebuild_group(other, 1.0) for other in recorded if other["step"] == row["step"]]
        told, _ = score_group(models, row, [])
        unrelated = {t["index"]: t for t in score_group(replace(models, maker=maker), row, step_groups)[0]}
        alone = own_doubts(models, row)
        for each in told:
            text = row["rollouts"][each["index"]]["completion"]
            true = wrong_step(text, row["reference"])
            if true is None or each["beside"] is None:
                continue
            tokens = {name: mark(each) for name, mark in MARKS.items()}
            tokens[ALONE] = first_wrong(alone[each["index"]])
            tokens[UNRELATED] = first_wrong(unrelated[each["index"]]["doubt"]) if each["index"] in unrelated else None
            tokens[PLAIN] = each["beside"]["shared"]
            steps = {name: None if token is None else token // 2 for name, token in tokens.items()}
            found.append((row["problem_id"], true, steps))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500, help="updates of the warm-up")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"commit {describe_environment()['commit']}")
    for seed in options.seeds:
        world = World(seed)
        student = taught(world, seed, options.steps)
        with tempfile.TemporaryDirectory() as folder:
            config = config_for(Path(folder) / "run", seed)
            problems = world.problems(seed, GROUPS_A_STEP * RUN_STEPS)
            train(config, problems=problems, student=student, reward_functions=right, quiet=True)
            show(seed, marked(Path(folder) / "run", load_run(Path(folder) / "run").config))


def show(seed: int, found: Sequence[tuple[str, int, dict[str, int | None]]]) -> None:
    """A line for each way of marking."""
    if not found:
        print(f"seed {seed}: no failed rollout had a context; raise --steps")
        return
    problems = sorted({problem for problem, _, _ in found})
    print(f"seed {seed}: {len(found)} failed rollouts with a context, of {len(problems)} problems")
    for name in found[0][2]:
        by_problem = [
            [float(steps[name] == true) for problem, true, steps in found if problem == each] for each in problems
        ]
        share = mean_or_zero([hit for hits in by_problem for hit in hits])
        low, high = bootstrap_interval([mean_or_zero(hits) for hits in by_problem], seed=0)
        nothing = sum(steps[name] is None for _, _, steps in found)
        print(f"  {name:46} {share:.2f}  [{low:.2f}, {high:.2f}] by problem, no mark in {nothing}", flush=True)


if __name__ == "__main__":
    main()
