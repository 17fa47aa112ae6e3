"""What tests of `mopd report` share: its data read back from the page, and runs with hostile completions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mopd import load_config, train

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1"><b id="evil">unclosed <table><tr><td',
    "<!-- <script> \u2028 ]]> &lt; &amp;amp; {problem} {blocks}",
    "מימין לשמאל ‏123‏ \u202egnp.exe\u202c عربي",
    "👩‍👩‍👧‍👦 🇩🇪 é́́ ﷽ \x00\x1b[31mred\x07",
    "\u200b\ufeff\u00a0",
    "a" * 100_000,
    "word " * 20_000,
    "`'\"\\</style><style>body{display:none}</style>",
)


def blocks_of(page: Path) -> dict:
    """The blocks of data of a page, by name."""
    found = re.findall(
        r'<script type="application/json" id="data-([a-z-]+)">(.*?)</script>', page.read_text(), re.DOTALL
    )
    return {name: json.loads(text) for name, text in found}


CHAT = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_byte_student(folder: Path) -> Path:
    """A small model whose tokens are bytes: it reads any text, and characters of most scripts are several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHAT
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=16384, **sizes))
    with torch.no_grad():  # one dimension says nothing but that a completion may end: else random weights never do
        model.get_input_embeddings().weight[:, 0] = 3.0
        model.get_output_embeddings().weight[tokenizer.eos_token_id, 0] = 0.6
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def is_even(completions, **_):
    """1 for a completion with an even number of characters: about half of what random weights write."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    return [float(len(text) % 2 == 0) for text in texts]


def train_byte_student(folder: Path, **overrides: object) -> Path:
    """A run of two steps of a student that reads any text, with peers of both kinds; keys of `overrides` have `__` for
    a dot."""
    student = save_byte_student(folder / "student")
    config = load_config(
        {"student": str(student), "run": str(folder / "run"), "steps": 2, "group_size": 4, "problems_per_step": 4},
        {
            "problems.held_out": 4,
            "sampling.completion_tokens": 40,
            "context.tokens": 1000,
            "peers": {"successes": 2, "failures": 1, "truncated_failures": True},
            "preflight.action": "off",
            "checkpoint.every": 2,
            "success_reward": 1.0,
            "compute.threads": 1,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        },
    )
    problems = [{"id": f"plain-{n}", "prompt": f"Say {n}.", "answer": str(n)} for n in range(16)]
    train(config, problems=problems, reward_functions=is_even, quiet=True)
    return folder / "run"


def with_hostile_text(run: Path, folder: Path, rollouts: int) -> Path:
    """A copy of a run with so many recorded rollouts in ten steps: hostile completions, prompts and feedback."""
    copied = shutil.copytree(run, folder)
    groups = [json.loads(line) for line in (run / "groups.jsonl").read_text().splitlines()]
    size = len(groups[0]["rollouts"])
    with open(copied / "groups.jsonl", "w") as file:
        for number in range(rollouts // size):
            group = json.loads(json.dumps(groups[number % len(groups)]))
            group["step"] = number * size * 10 // rollouts
            if number >= 4:  # the first ones stay as they are
                group["problem_id"] = f"{HOSTILE[number % 5]} {number}"
                group["prompt"][-1]["content"] += HOSTILE[(number + 1) % len(HOSTILE)][:300]
                for rollout in group["rollouts"]:
                    long = number % 250 == 100
                    text = HOSTILE[(number + rollout["index"]) % len(HOSTILE)]
                    rollout["completion"] = text if long else text[:300] + " some words of an answer" * 5
                    rollout["feedback"] = rollout["answer"] = HOSTILE[rollout["index"] % 6] + "\ud83d"
            file.write(json.dumps(group) + "\n")
    for path in (copied / "evaluations").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for number, row in enumerate(rows):
            row["completion"] = HOSTILE[number % 6]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copied
