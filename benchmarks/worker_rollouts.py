"""transformers' generate and this project's engine in turns, on the same prompts, in one process.

`equal`: nothing ends a completion, all have the longest length. `uneven`: the engine's completions end where the model
ends them, and generate is made to end each of its own at the same length, so that both write the same number of tokens
in rows as uneven. Both run on weights held in the products' dtype (TRL has them converted again at every token).
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ending import EndsAt
from made_lessons import make_problems
from measuring import now
from mopd.config import Sampling
from mopd.models.student import Student, load_student
from mopd.rollouts.engine import SamplingRequest
from mopd.rollouts.local import LocalEngine
from worker_mopd import configure, without_end
from workers import serve


class Generate:
    """transformers' generate, sampling from the whole vocabulary at temperature 1."""

    def __init__(self, student: Student, prompts: Sequence[Sequence[int]], count: int, limit: int) -> None:
        self.student, self.limit = student, limit
        self.model = copy.deepcopy(student.model).to(student.dtype)
        width = max(map(len, prompts))
        pad = student.tokenizer.pad_id
        rows = [[pad] * (width - len(ids)) + list(ids) for ids in prompts for _ in range(count)]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts for _ in range(count)]
        device = next(self.model.parameters()).device
        self.ids, self.mask = torch.tensor(rows, device=device), torch.tensor(mask, device=device)

    @torch.no_grad()
    def sample(self, lengths: Sequence[int]) -> int:
        """How many tokens were written."""
        from transformers import GenerationConfig, LogitsProcessorList

        end = self.student.tokenizer.end_id
        ends = EndsAt(lengths, end, self.ids)
        how = GenerationConfig(
            max_new_tokens=self.limit,
            do_sample=True,
            top_k=0,
            pad_token_id=self.student.tokenizer.pad_id,
            eos_token_id=end,
            disable_compile=True,
        )
        written: Any = self.model.generate(
            input_ids=self.ids,
            attention_mask=self.mask,
            generation_config=how,
            logits_processor=LogitsProcessorList([ends]),
        )
        width = written.shape[1] - self.ids.shape[1]
        return sum(min(length, width) for length in lengths)


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--rollouts", type=int, required=True)
    parser.add_argument("--longest", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = configure(options.model, options.device, options.dtype, [])
    student = load_student(options.model, 0, config.compute)
    prompts = [student.tokenizer.encode_prompt(problem.messages) for problem, _ in make_problems(options.prompts, 0)]
    engines = {
        name: LocalEngine(one, config.compute.sampling_rows)
        for name, one in (("uneven", student), ("equal", without_end(student)))
    }
    generate = Generate(student, prompts, options.rollouts, options.longest)
    asked = 0

    def pair(kind: str) -> Mapping[str, float]:
        nonlocal asked
        asked += 1
        requests = [SamplingRequest(tuple(ids), options.rollouts, (asked, i)) for i, ids in enumerate(prompts)]
        began = now(options.device)
        engines[kind].sync(student.model)
        groups = engines[kind].sample(requests, Sampling(completion_tokens=options.longest))
        between = now(options.device)
        lengths = [len(rollout.token_ids) for group in groups for rollout in group]
        # a row of the longest length is cut there, so nothing has to end it
        tokens = generate.sample([n if n < options.longest else options.longest + 1 for n in lengths])
        return {
            "engine": between - began,
            "generate": now(options.device) - between,
            "tokens": sum(lengths),
            "generate_tokens": tokens,
        }

    serve({"equal": lambda: pair("equal"), "uneven": lambda: pair("uneven")})


if __name__ == "__main__":
    main()
