"""TRL's SDPOTrainer on given token arrays, one optimiser step for each line of standard input: started by peer.py.

Rollouts, rewards and teacher prompts come from the data file, so that both systems score and update on the same tokens
(`--generate`: TRL samples itself with transformers' generate, and its context builder shows the same peers). A line of
JSON is printed after each step: CPU seconds by phase, and the growth of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1", TOKENIZERS_PARALLELISM="false")

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl.experimental.sdpo import SDPOConfig, SDPOTrainer
from trl.trainer.utils import pad

from peer_memory import PeakMemory, state_bytes

SECONDS: dict[str, float] = defaultdict(float)


@contextlib.contextmanager
def clock(name: str) -> Iterator[None]:
    """Adds the block's CPU seconds to `name`."""
    began = time.process_time()
    try:
        yield
    finally:
        SECONDS[name] += time.process_time() - began


def timed(owner: Any, attribute: str, name: str) -> None:
    """Times every call of a method."""
    function = getattr(owner, attribute)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with clock(name):
            return function(*args, **kwargs)

    setattr(owner, attribute, wrapper)


class Replay:
    """The data's rollouts, in the order in which a batch of prompts asks for them."""

    def __init__(self, groups: list[dict[str, Any]], pad_id: int) -> None:
        self.groups, self.pad_id, self.asked = groups, pad_id, list[int]()

    def rollouts(self) -> list[dict[str, Any]]:
        """Those of the current batch."""
        seen: dict[int, int] = defaultdict(int)
        found = []
        for number in self.asked:
            rollouts = self.groups[number]["rollouts"]
            found.append(rollouts[seen[number] % len(rollouts)])
            seen[number] += 1
        return found

    def rewards(self, prompts: Any, completions: Any, number: Any = None, **_: Any) -> list[float]:
        """As a reward function."""
        self.asked = list(number)
        return [rollout["reward"] for rollout in self.rollouts()]

    def contexts(self, output: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        """As a context builder."""
        rollouts = self.rollouts()
        ids = [torch.tensor(rollout["context_ids"]) for rollout in rollouts]
        prompts = pad(ids, padding_value=self.pad_id, padding_side="left")
        mask = pad([torch.ones_like(row) for row in ids], padding_value=0, padding_side="left")
        return {
            "teacher_input_ids": torch.cat([prompts, output["completion_ids"]], 1),
            "teacher_attention_mask": torch.cat([mask, output["completion_mask"]], 1),
            "self_distillation_mask": torch.ones(len(ids)),
        }


class Timed(SDPOTrainer):
    """SDPOTrainer with its phases timed, and its rollouts replayed where there is a replay."""

    replay: Replay

    def _prepare_training_batch(self, inputs: Any) -> Any:
        self.replay.asked = [row["number"] for row in inputs]
        with clock("prepare"):
            return super()._prepare_training_batch(inputs)

    def _generate(self, prompt_ids: Any) -> Any:
        return prompt_ids, [rollout["completion_ids"] for rollout in self.replay.rollouts()]

    def _forward_logits(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        with clock("student_forward" if torch.is_grad_enabled() else "teacher_forward"):
            return super()._forward_logits(model, *args, **kwargs)

    def _compute_self_distillation_loss(self, *args: Any, **kwargs: Any) -> Any:
        with clock("loss"):
            return super()._compute_self_distillation_loss(*args, **kwargs)


class OnDemand(TrainerCallback):  # type: ignore[misc]
    """Waits for a line before each step, and tells what it took afterwards."""

    def __init__(self, model: Any, memory: PeakMemory) -> None:
        self.model, self.memory, self.began = model, memory, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A step begins when it is asked for."""
        if not sys.stdin.readline():
            raise SystemExit
        SECONDS.clear()
        self.memory.start()
        self.began = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step is told of."""
        total = time.process_time() - self.began
        told = {"total": total, **SECONDS, **self.memory.growth(state_bytes(self.model))}
        print(json.dumps(told), flush=True)


def main() -> None:
    """Steps for as long as they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--float32", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left", truncation_side="left")
    with open(options.data) as file:
        groups = json.load(file)["groups"]
    size, rows = len(groups[0]["rollouts"]), len(groups) * len(groups[0]["rollouts"])
    longest = max(len(rollout["completion_ids"]) for group in groups for rollout in group["rollouts"])
    config = SDPOConfig(
        output_dir=tempfile.mkdtemp(prefix="peer-trl-"),
        per_device_train_batch_size=options.micro_batch,
        gradient_accumulation_steps=rows // options.micro_batch,
        steps_per_generation=rows // options.micro_batch,
        num_generations=size,
        max_completion_length=longest,
        max_prompt_length=1024,
        max_steps=options.steps,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=not options.float32,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
        distillation_mode="topk_logits",
        distillation_topk=100,
        distillation_add_tail=True,
        distillation_alpha=0.5,
        distillation_weight=1.0,
        teacher_model_kind="ema",
        success_reward_threshold=1.0,
    )
    replay = Replay(groups, tokenizer.pad_token_id)
    data = Dataset.from_list([{"prompt": group["prompt"], "number": i} for i, group in enumerate(groups)])
    trainer = Timed(
        model=options.model, reward_funcs=replay.rewards, args=config, train_dataset=data, processing_class=tokenizer
    )
    trainer.replay = replay
    told = {"self_distillation/reprompt_sample_fraction": 1.0, "self_distillation/success_group_fraction": 1.0}
    trainer.teacher_context_builder.last_metrics = told
    trainer.teacher_context_builder.build = replay.contexts  # type: ignore[method-assign]
    timed(trainer.accelerator, "backward", "backward")
    trainer.add_callback(OnDemand(trainer.model, PeakMemory()))
    print("ready", flush=True)
    trainer.train()


if __name__ == "__main__":
    main()
