"""Look at a run: its metrics, its rollouts, what was measured. It may be training meanwhile.

Run it with `python examples/look_at_a_run.py RUN`.
"""

import sys
from collections import Counter

import mopd

run = mopd.load_run(sys.argv[1])
print(run.path, "has ended" if run.summary else "has not ended", f"after step {run.metrics['step'].max()}")
print(f"{run.config.student}, {run.config.group_size} rollouts a group, {run.damaged_lines} damaged lines")

# Tables of pandas: a row for each step, for each evaluation, for each rollout.
print(run.metrics[["step", "reward/success_share", "lessons/count", "completion/tokens_mean"]].to_string(index=False))
print(run.evaluations[["step", "mean_at_8", "pass_at_8"]].to_string(index=False))
rollouts = run.groups
print(rollouts.groupby("step")["is_success"].mean())

# Which completions were judged right, and what else was written for the same problem?
for problem, group in list(rollouts.groupby(["step", "problem_id"]))[:3]:
    print(problem, "right:", [*group.completion[group.is_success]], "wrong:", [*group.completion[~group.is_success]])

# A log that is too long for a table is read line by line, as plain mappings.
kinds = Counter(rollout["kind"] for group in run.iter_groups() for rollout in group["rollouts"])
print("kinds of verdicts:", dict(kinds))
