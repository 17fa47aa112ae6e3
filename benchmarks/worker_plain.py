"""The plain way to a divergence, measured: all logits of student and teacher at once, [tokens, vocabulary] in float32.

It is kind to that way: log-probabilities in place of logits, only the student's 100 most probable tokens compared, so
that no more than four such tensors exist at a time (both models' log-probabilities and two gradients).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch

from made_lessons import read_lessons
from measuring import now
from mopd.core.types import Lesson
from worker_mopd import TOP_K, configure, open_model, with_memory
from workers import serve


def logprobs(model: Any, prefix: tuple[int, ...], lesson: Lesson) -> torch.Tensor:
    """At every token of the completion: [tokens, vocabulary]."""
    ids = torch.tensor([prefix + lesson.rollout.token_ids], device=next(model.parameters()).device)
    kept = len(lesson.rollout.token_ids) + 1
    found: torch.Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits[0, :-1].log_softmax(-1)
    return found


def divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon on the student's most probable tokens."""
    top = student.detach().topk(TOP_K, -1).indices
    p, q = student.gather(-1, top), teacher.gather(-1, top)
    middle = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0))
    return (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(-1).mean() / 2


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--lessons", required=True)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, _ = open_model(options.model, configure(options.model, options.device, "float32", []))
    lessons = read_lessons(options.lessons)

    def step() -> Mapping[str, float]:
        began = now(options.device)
        model.zero_grad(set_to_none=True)
        for lesson in lessons:
            with torch.no_grad():
                teacher = logprobs(model, lesson.context_ids or (), lesson)
            divergence(logprobs(model, lesson.prompt_ids, lesson), teacher).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        return {"total": now(options.device) - began}

    serve({"time": step, "memory": lambda: with_memory(step, model, options.device)})


if __name__ == "__main__":
    main()
