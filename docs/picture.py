"""Draw docs/group.svg: one real group of the demo becoming lessons, with what the teacher says of every token.

    python docs/picture.py [--problem 1] > docs/group.svg

Takes the first step of configs/demo.toml: the warmed-up student attempts a problem, and, shown peers, scores one of its
own failed attempts. Bars are log t(y) - log s(y) in nats at each token the student wrote.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mopd import load_config
from mopd.core.types import Group, LessonRecord
from mopd.preflight.setup import prepare
from mopd.problems import load_problems
from mopd.runs.progress import ProgressDisplay
from mopd.scoring.head import row_logprobs
from mopd.scoring.rows import student_row, teacher_row
from mopd.training.step import StepClock, Stepper
from mopd.warmup.warmup import warm_up

GREEN, RED, INK, PALE = "#1a7f37", "#c62828", "#24292f", "#6e7781"
MONO = 'font-family="DejaVu Sans Mono, Menlo, monospace"'


def text(
    x: float, y: float, content: str, fill: str = INK, size: int = 14, mono: bool = False, bold: bool = False
) -> str:
    """One line of text."""
    family = MONO if mono else 'font-family="DejaVu Sans, Helvetica, sans-serif"'
    weight = ' font-weight="bold"' if bold else ""
    content = content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'<text x="{x}" y="{y}" fill="{fill}" font-size="{size}" {family}{weight} xml:space="preserve">{content}</text>'
    )


def first_step(problem_index: int) -> tuple[Group, list[LessonRecord], int, list[float]]:
    """A group of the demo's first step, its records, a failed rollout of it, and log t - log s at its tokens."""
    config = load_config(Path(__file__).parents[1] / "configs" / "demo.toml")
    setup = prepare(config, load_problems(config.problems))
    warm_up(setup, ProgressDisplay())
    stepper = Stepper(setup)
    groups, _ = stepper.attempt(0, StepClock())
    group, records = groups[problem_index], stepper.lesson_maker.make(groups)[problem_index]
    index = next(r.index for r in group.rollouts if group.is_failure(r.index) and records[r.index].lesson)
    lesson = records[index].lesson
    assert lesson is not None
    assert stepper.teacher is not None
    ids = torch.tensor(lesson.rollout.token_ids)[:, None]
    with torch.no_grad():
        teacher = row_logprobs(stepper.teacher.model, [teacher_row(lesson)]).gather(-1, ids)
        own = row_logprobs(setup.student.model, [student_row(lesson)]).gather(-1, ids)
    return group, records, index, (teacher - own).squeeze(-1).tolist()


def draw(group: Group, records: list[LessonRecord], index: int, ratios: list[float]) -> str:
    """The picture."""
    record = records[index]
    assert record.context is not None
    prompt = group.problem.messages[-1]["content"]
    parts = [text(20, 30, f"1  attempt: sort {prompt}", bold=True), text(330, 30, "2  show peers", bold=True)]
    for rollout in group.rollouts:
        y = 58 + 24 * rollout.index
        right = group.is_success(rollout.index)
        if rollout.index == index:
            parts.append(f'<rect x="14" y="{y - 17}" width="252" height="23" rx="4" fill="#fff3cd"/>')
        mark = "correct" if right else "wrong"
        parts += [
            text(24, y, f"{rollout.index}  {rollout.text}", mono=True),
            text(180, y, mark, GREEN if right else RED, 13),
        ]
    parts.append(text(330, 58, f"the teacher of rollout {index} reads", PALE, 13))
    y = 84
    parts.append(text(330, y, f"problem  {prompt}", mono=True))
    for block in record.context.blocks:
        y += 24
        color = GREEN if block.kind == "success" else RED
        parts.append(text(330, y, f"{block.kind}  {block.text}", color, mono=True))
    parts.append(text(330, y + 24, "now solve the problem", PALE, 13))
    parts.append(text(330, y + 64, f"3  correct rollout {index} token by token", bold=True))
    base = y + 120
    scale = 40 / max(abs(ratio) for ratio in ratios)
    characters = [*group.rollouts[index].text, "end"]
    for position, (character, ratio) in enumerate(zip(characters, ratios, strict=True)):
        x, height = 340 + 34 * position, max(1.0, abs(ratio) * scale)
        top = base - height if ratio > 0 else base
        parts.append(
            f'<rect x="{x}" y="{top:.1f}" width="20" height="{height:.1f}" fill="{GREEN if ratio > 0 else RED}"/>'
        )
        parts.append(text(x + 5 if len(character) == 1 else x - 2, base + 66, character, mono=True))
        parts.append(text(x - 4, base + 84, f"{ratio:+.1f}", PALE, 11))
    parts.append(f'<line x1="334" y1="{base}" x2="650" y2="{base}" stroke="{PALE}"/>')
    parts.append(text(330, base + 104, "log teacher - log student, in nats, at each token it wrote", PALE, 12))
    height = base + 120
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {height}" width="680" height="{height}">\n'
        f'<rect width="680" height="{height}" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Print the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", type=int, default=1, help="which group of the first step")
    print(draw(*first_step(parser.parse_args().problem)), end="")


if __name__ == "__main__":
    main()
