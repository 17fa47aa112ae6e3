"""Train on a reward of one's own instead of a verifier's verdicts.

Run it with `python examples/own_reward.py`. It writes runs/own-reward where you are.
"""

from pathlib import Path

import mopd


# A reward function takes all rollouts of a step, as TRL's do, and gives a number for each. It names what it wants: the
# completions, and any column of the problems. This one gives the share of digits that stand where they should.
def digits_in_place(completions, answer, **columns):
    texts = [completion[-1]["content"] for completion in completions]
    return [
        sum(a == b for a, b in zip(text, right, strict=False)) / max(len(text), len(right))
        for text, right in zip(texts, answer, strict=True)
    ]


# A rollout is a success from `success_reward` on: here two digits of three are enough. Peers, lessons and evaluations
# all go by that.
config = mopd.load_config(
    Path(__file__).with_name("small.toml"),
    run="runs/own-reward",
    success_reward=0.6,
    problems={"source": "sort-digits", "size": 216, "options": {"length": 3}},
)
summary = mopd.train(config, reward_functions=digits_in_place, fresh=True, quiet=True)
print(f"mean@8 before {summary['before']['mean_at_8']:.3f}, after {summary['after']['mean_at_8']:.3f}")

# The mean reward of each step is a metric, and every rollout's is in groups.jsonl.
run = mopd.load_run("runs/own-reward")
print(run.metrics[["step", "rewards/digits_in_place_mean"]].to_string(index=False))
