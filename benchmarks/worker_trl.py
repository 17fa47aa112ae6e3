"""TRL's SDPOTrainer, measured: a process that workers.py starts and asks; an answer is one optimiser step.

With `--lessons FILE` rollouts and teacher prompts come from that file, so that both systems score and update on the
same tokens. Without, TRL samples by transformers' generate, as it does unless vLLM is there, on made-up problems in
which every other rollout is said to succeed, and its context builder, a public attribute, shows two other successes and
one failure in this project's wording: TRL's own shows one success.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from functools import partial
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1", TOKENIZERS_PARALLELISM="false")

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LogitsProcessorList, TrainerCallback
from trl.experimental.sdpo import SDPOConfig, SDPOTrainer
from trl.trainer.utils import pad

from ending import EndsAt
from made_lessons import make_problems, uneven_lengths, verdicts
from measuring import PeakMemory, now, state_bytes
from mopd.method.contexts import render_context
from mopd.training.step import StepClock
from worker_mopd import TOP_K
from workers import asked, tell


class Timed(SDPOTrainer):
    """SDPOTrainer with its phases timed."""

    clock: StepClock
    numbers: list[int]
    tokens = 0

    def _prepare_training_batch(self, inputs: Any) -> Any:
        self.numbers = [row["number"] for row in inputs]
        with self.clock("prepare"):
            batch = super()._prepare_training_batch(inputs)
        self.tokens = int(batch["raw_completion_lengths"].sum())
        return batch

    def _generate(self, prompt_ids: Any) -> Any:
        with self.clock("sample"):
            return super()._generate(prompt_ids)

    def _forward_logits(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        with self.clock("student_forward" if torch.is_grad_enabled() else "teacher_forward"):
            return super()._forward_logits(model, *args, **kwargs)

    def _compute_self_distillation_loss(self, *args: Any, **kwargs: Any) -> Any:
        with self.clock("loss"):
            return super()._compute_self_distillation_loss(*args, **kwargs)


class Replayed(Timed):
    """Rollouts from a file, in the order in which a batch of prompts asks for them."""

    groups: list[list[dict[str, Any]]]

    def rollouts(self) -> list[dict[str, Any]]:
        """Those of the current batch."""
        seen: dict[int, int] = defaultdict(int)
        found = []
        for number in self.numbers:
            found.append(self.groups[number][seen[number] % len(self.groups[number])])
            seen[number] += 1
        return found

    def _generate(self, prompt_ids: Any) -> Any:
        return prompt_ids, [rollout["completion_ids"] for rollout in self.rollouts()]


class Contexts:
    """A context builder: this one's `prompts` say what the teacher reads for each rollout of a batch."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        told = ("self_distillation/reprompt_sample_fraction", "self_distillation/success_group_fraction")
        self.last_metrics = dict.fromkeys(told, 1.0)

    def prompts(self, output: dict[str, Any], asked_of: Any) -> list[list[int]]:
        """As the file has them."""
        return [rollout["context_ids"] for rollout in self.trainer.rollouts()]

    def build(self, output: dict[str, Any], prompts: Any, rewards: Any, feedbacks: Any = None) -> dict[str, Any]:
        """What TRL asks for."""
        device = output["completion_ids"].device
        ids = [torch.tensor(row) for row in self.prompts(output, prompts)]
        padded = pad(ids, padding_value=self.trainer._tokenizer.pad_token_id, padding_side="left").to(device)
        mask = pad([torch.ones_like(row) for row in ids], padding_value=0, padding_side="left").to(device)
        return {
            "teacher_input_ids": torch.cat([padded, output["completion_ids"]], 1),
            "teacher_attention_mask": torch.cat([mask, output["completion_mask"]], 1),
            "self_distillation_mask": torch.ones(len(ids), device=device),
        }


class PeerContexts(Contexts):
    """Two other successes and one other failure of the group, the first of each."""

    def prompts(self, output: dict[str, Any], asked_of: Any) -> list[list[int]]:
        """From what was sampled."""
        size, tokenizer = self.trainer.num_generations, self.trainer.processing_class
        given = zip(output["completion_ids"], output["completion_mask"], strict=True)
        texts = tokenizer.batch_decode([ids[mask.bool()] for ids, mask in given], skip_special_tokens=True)
        is_success = [verdict.reward > 0 for verdict in verdicts(size)]

        def encode(messages: Any) -> list[int]:
            encoded = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)
            return [int(token) for token in encoded["input_ids"]]

        found = []
        for i, messages in enumerate(asked_of):
            others = [j for j in range(i // size * size, i // size * size + size) if j != i]
            good, bad = ([texts[j] for j in others if is_success[j % size] is wanted] for wanted in (True, False))
            found.append(list(render_context(messages, good[:2], bad[:1], encode=encode).token_ids))
        return found


class OnDemand(TrainerCallback):  # type: ignore[misc]
    """Waits to be asked before each step, and tells what it took afterwards."""

    def __init__(self, trainer: Timed, device: str) -> None:
        self.trainer, self.device, self.memory = trainer, device, PeakMemory(device)
        self.what, self.began = "", 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """A step begins when it is asked for."""
        what = asked()
        if what is None:
            raise SystemExit
        self.what = what
        self.trainer.clock.seconds.clear()
        if what == "memory":
            self.memory.start()
        self.began = now(self.device)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step is told of."""
        told = {"total": now(self.device) - self.began, **self.trainer.clock.seconds, "tokens": self.trainer.tokens}
        if self.what == "memory":
            told |= self.memory.growth(state_bytes(self.trainer.model))
        tell(told)


def rewards(prompts: Any, completions: Any, **_: Any) -> list[float]:
    """Every other rollout of a group succeeds; groups are even."""
    return [verdict.reward for verdict in verdicts(len(prompts))]


def settings(options: argparse.Namespace, longest: int) -> SDPOConfig:
    """TRL's own defaults, but for what must agree with the other system or would only slow it down."""
    rows = options.prompts * options.rollouts
    size = next(size for size in range(min(8, rows), 0, -1) if rows % size == 0)
    return SDPOConfig(
        output_dir=tempfile.mkdtemp(prefix="peer-trl-"),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=rows // size,
        steps_per_generation=rows // size,
        num_generations=options.rollouts,
        max_completion_length=longest,
        max_prompt_length=8192,
        max_steps=1_000_000,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        temperature=1.0,
        generation_kwargs={"min_new_tokens": longest} if options.lengths == "equal" else None,
        save_strategy="no",
        report_to=[],
        use_cpu=options.device == "cpu",
        bf16=options.dtype == "bfloat16",
        gradient_checkpointing=False,  # on, as is the default, it costs time and saves memory that there is
        shuffle_dataset=False,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
        distillation_mode="topk_logits",
        distillation_topk=TOP_K,
        distillation_add_tail=True,
        distillation_alpha=0.5,
        distillation_weight=1.0,
        teacher_model_kind="ema",
        success_reward_threshold=1.0,
    )


def open_trainer(options: argparse.Namespace) -> Timed:
    """On the file's rollouts, or on ones of its own."""
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left", truncation_side="left")
    groups: list[list[dict[str, Any]]] = []
    if options.lessons:
        with open(options.lessons) as file:
            given = json.load(file)
        prompts = given["prompts"]
        groups = [[lesson for lesson in given["lessons"] if lesson["number"] == i] for i in range(len(prompts))]
        longest = max(len(lesson["completion_ids"]) for lesson in given["lessons"])
        assert {len(group) for group in groups} == {options.rollouts}
    else:
        prompts = [list(problem.messages) for problem, _ in make_problems(options.prompts, 0)]
        longest = options.longest
    trainer = (Replayed if options.lessons else Timed)(
        model=options.model,
        reward_funcs=rewards,
        args=settings(options, longest),
        train_dataset=Dataset.from_list([{"prompt": prompt, "number": i} for i, prompt in enumerate(prompts)]),
        processing_class=tokenizer,
    )
    trainer.groups = groups
    trainer.clock = StepClock(now=partial(now, options.device))
    builder: Any = (Contexts if options.lessons else PeerContexts)(trainer)
    trainer.teacher_context_builder = builder
    return trainer


def end_unevenly(trainer: Timed, options: argparse.Namespace) -> None:
    """Have generate end each row at the length that is laid down for it."""
    generate = trainer.model.generate
    lengths = uneven_lengths(options.prompts * options.rollouts, options.longest)

    def ending(*args: Any, input_ids: torch.Tensor, **rest: Any) -> Any:
        end_id, rows = trainer.processing_class.eos_token_id, len(input_ids)
        ends = EndsAt([n if n < options.longest else n + 1 for n in lengths[:rows]], end_id, input_ids)
        return generate(*args, input_ids=input_ids, logits_processor=LogitsProcessorList([ends]), **rest)

    trainer.model.generate = ending


def time_backward(trainer: Timed) -> None:
    """Backward passes are a phase too."""
    backward = trainer.accelerator.backward

    def timed(*args: Any, **kwargs: Any) -> None:
        with trainer.clock("backward"):
            backward(*args, **kwargs)

    trainer.accelerator.backward = timed  # type: ignore[method-assign]


def main() -> None:
    """Steps for as long as they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--lessons", help="token arrays to learn from; without, TRL samples")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--longest", type=int, default=64)
    parser.add_argument(
        "--lengths", choices=("equal", "uneven"), default="equal", help="of completions that it samples"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trainer = open_trainer(options)
    time_backward(trainer)
    if options.lengths == "uneven":
        end_unevenly(trainer, options)
    trainer.add_callback(OnDemand(trainer, options.device))
    print("ready", flush=True)
    trainer.train()


if __name__ == "__main__":
    main()
