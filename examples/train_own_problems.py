"""Train on problems that were made in Python, and watch every step.

Run it with `python examples/train_own_problems.py`. It writes runs/own-problems where you are.
"""

import random
from pathlib import Path

import mopd

# Problems are records, as lines of a JSONL file would be: a prompt, an answer, whatever else a verifier reads. Here the
# digits of a number are put in descending order. A list of mopd.Problem or a datasets.Dataset would do as well.
numbers = [f"{number:03}" for number in random.Random(0).sample(range(1000), 216)]
records = [{"id": number, "prompt": number, "answer": "".join(sorted(number, reverse=True))} for number in numbers]

# The configuration is a file, with what is different here. "fresh" moves an earlier run aside.
config = mopd.load_config(Path(__file__).with_name("small.toml"), run="runs/own-problems")


# What becomes of every step: its metrics, and the groups with each rollout and its verdict.
def tell(done):
    group = done.groups[0]
    texts = [rollout.text for rollout in group.rollouts]
    print(f"step {done.step}: success {done.metrics['reward/success_share']:.2f}; {group.problem.id} -> {texts}")


summary = mopd.train(config, problems=records[16:], held_out=records[:16], on_step=tell, fresh=True, quiet=True)
print(f"mean@8 before {summary['before']['mean_at_8']:.3f}, after {summary['after']['mean_at_8']:.3f}")

# A run that was stopped goes on from its last checkpoint, with the same problems; others are refused. This one has done
# all its steps, and is prolonged by two.
longer = mopd.load_run("runs/own-problems").config.model_copy(update={"steps": 6})
mopd.resume(
    "runs/own-problems", expected=longer, problems=records[16:], held_out=records[:16], on_step=tell, quiet=True
)
