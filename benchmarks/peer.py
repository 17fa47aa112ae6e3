"""TRL's SDPO and this project on the same tokens, in turns: scoring and update of one step, CPU time, one thread.

    python benchmarks/peer.py --model models/SmolLM2-135M-Instruct [--pairs 5] [--float32]

Both get the same prompts, contexts (2 successes and 1 failure) and completions (16 to 64 tokens, 8 x 8 rollouts), both
compute in bfloat16 with float32 weights unless told, both have an EMA teacher, Jensen-Shannon over the student's 100
most probable tokens with tail, and AdamW. Each is a process of its own that makes a step when it is asked to; the first
step of each is not counted. Lines of JSON: each pair, then medians by phase, and last the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Hugo")
TOP_K = 100


def make_data(model: str, prompts: int, rollouts: int, longest: int, seed: int) -> dict[str, Any]:
    """Groups of token arrays: prompts, contexts of other rollouts' texts, completions; half of the rollouts succeed."""
    from mopd.contexts import render_context
    from mopd.students import load_student
    from mopd.types import Message

    student = load_student(model, 0)
    rng = random.Random(seed)
    groups = []
    for index in range(prompts):
        one, two = rng.randint(10, 99), rng.randint(10, 99)
        asked = Message(role="user", content=f"{NAMES[index % 8]} has {one} apples and buys {two} more. How many?")
        text = (f"First we take the {one} apples, then we add the {two} that were bought, step by step. " * 20).split(
            " "
        )
        texts = [" ".join(text[i : i + rng.randint(longest // 5, longest * 2 // 3)]) for i in range(rollouts)]
        encoded = [(*student.tokenizer.encode_completion(t)[: longest - 1], student.tokenizer.end_id) for t in texts]
        rewards = [1.0] * (rollouts // 2) + [0.0] * (rollouts - rollouts // 2)
        rng.shuffle(rewards)
        group = []
        for i, (ids, reward) in enumerate(zip(encoded, rewards, strict=True)):
            others = [j for j in range(rollouts) if j != i]
            context = render_context(
                [asked],
                [texts[j] for j in others if rewards[j]][:2],
                [texts[j] for j in others if not rewards[j]][:1],
                encode=student.tokenizer.encode_prompt,
            )
            group.append({"completion_ids": ids, "reward": reward, "context_ids": context.token_ids})
        groups.append({"prompt": [asked], "prompt_ids": student.tokenizer.encode_prompt([asked]), "rollouts": group})
    return {"groups": groups}


# --- this project ---------------------------------------------------------------------------------------------------


def serve(options: argparse.Namespace) -> None:
    """One step of learning for each line of standard input."""
    import torch

    from mopd.config import build_config
    from mopd.learner import Learner
    from mopd.scoring import Row, computing_in, live_logprobs
    from mopd.students import load_student
    from mopd.teacher import Teacher
    from mopd.types import Lesson, Rollout
    from peer_memory import PeakMemory, state_bytes

    torch.set_num_threads(1)
    config = build_config(
        {},
        [
            f"student='{options.model}'",
            "divergence.support='student_top_k'",
            f"divergence.k={TOP_K}",
            "divergence.tail=true",
            "optimizer.learning_rate=1e-6",
            f"compute.dtype='{'float32' if options.float32 else 'bfloat16'}'",
            *options.set,
        ],
    )
    student = load_student(options.model, 0, config.compute)
    learner, teacher = Learner(student.model, config, student.dtype), Teacher(student.model, config.teacher)
    lessons = []
    for number, group in enumerate(json.loads(Path(options.data).read_text())["groups"]):
        for index, given in enumerate(group["rollouts"]):
            ids, prompt = tuple(given["completion_ids"]), tuple(group["prompt_ids"])
            own = (True,) * len(ids)
            with torch.no_grad(), computing_in(student.dtype, torch.device("cpu")):
                scored = live_logprobs(student.model, [Row(prompt, ids, own)])
            logprobs = tuple(scored.gather(-1, torch.tensor(ids)[:, None]).squeeze(-1).tolist())
            rollout = Rollout(index, ids, own, logprobs, "", False)
            lessons.append(Lesson(str(number), "d", rollout, prompt, tuple(given["context_ids"])))
    memory = PeakMemory()
    print("ready", flush=True)
    for step, _ in enumerate(sys.stdin):
        seconds: dict[str, float] = defaultdict(float)

        @contextmanager
        def clock(name: str, seconds: dict[str, float] = seconds) -> Iterator[None]:
            began = time.process_time()
            yield
            seconds[name] += time.process_time() - began

        memory.start()
        began = time.process_time()
        learner.learn(lessons, teacher.model, step, clock)
        with clock("teacher_follows"):
            teacher.follow(student.model)
        total = time.process_time() - began
        print(json.dumps({"total": total, **seconds, **memory.growth(state_bytes(student.model))}), flush=True)


# --- both -----------------------------------------------------------------------------------------------------------


class Peer:
    """A process that makes steps."""

    def __init__(self, command: list[str]) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parent
        )
        while self._line().strip() != "ready":
            pass

    def step(self) -> dict[str, float]:
        """What one step took."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        while not (line := self._line()).startswith('{"total"'):
            pass
        told: dict[str, float] = json.loads(line)
        return told

    def end(self) -> None:
        """Ask for no more, and wait."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer ended: {self.process.args!r}")
        return line


def compare(options: argparse.Namespace) -> None:
    """Alternate, and print."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.json"
        made = make_data(options.model, options.prompts, options.rollouts, options.longest, options.seed)
        data.write_text(json.dumps(made))
        lengths = [len(r["completion_ids"]) for g in made["groups"] for r in g["rollouts"]]
        contexts = [len(r["context_ids"]) for g in made["groups"] for r in g["rollouts"]]
        print(
            json.dumps({"rollouts": len(lengths), "completion_tokens": sum(lengths), "context_tokens": sum(contexts)})
        )
        common = ["--model", options.model, "--data", str(data), *(["--float32"] if options.float32 else [])]
        steps = options.pairs + 1
        theirs = Peer([sys.executable, str(HERE / "peer_trl.py"), *common, "--steps", str(steps)])
        ours = Peer([sys.executable, str(HERE / "peer.py"), *common, "--serve", "--set", *options.set])
        pairs = []
        for number in range(steps):
            pair = {"trl": theirs.step(), "mopd": ours.step()}
            if number:  # each one's first step is its warm-up
                pairs.append(pair)
            rounded = {name: {k: round(v, 3) for k, v in told.items()} for name, told in pair.items()}
            print(json.dumps({"pair": number, **rounded}), flush=True)
        ours.end()
        theirs.end()
    print(json.dumps(figures(pairs, options)))


def figures(pairs: list[dict[str, dict[str, float]]], options: argparse.Namespace) -> dict[str, Any]:
    """Medians by phase, then ratios TRL / this; the ratio of times is the median over pairs."""
    phases = {
        name: {phase: statistics.median(pair[name][phase] for pair in pairs) for phase in pairs[0][name]}
        for name in ("trl", "mopd")
    }
    for name, medians in phases.items():
        print(json.dumps({"medians": name, **{phase: round(value, 3) for phase, value in medians.items()}}))
    ratios = sorted(pair["trl"]["total"] / pair["mopd"]["total"] for pair in pairs)
    growth = phases["trl"]["growth_gib"] / max(1e-3, phases["mopd"]["growth_gib"])
    return {
        "dtype": "float32" if options.float32 else "bfloat16",
        "scoring_update_cpu_ratio": round(statistics.median(ratios), 2),
        "scoring_update_cpu_ratios": [round(ratio, 2) for ratio in ratios],
        "memory_growth_ratio": round(growth, 2),
        "peak_gib": {name: round(medians["peak_gib"], 2) for name, medians in phases.items()},
    }


def main() -> None:
    """Compare, or be one of the compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--longest", type=int, default=64, help="tokens of the longest completion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="float32 products in both, not bfloat16")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of this project's configuration")
    options = parser.parse_args()
    if options.serve:
        serve(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
