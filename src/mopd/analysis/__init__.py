"""What the records of runs say: `mopd analyze` and `mopd diff`.

`analyze` gathers and writes. `groups` are the groups of a run, `rollout_files` those of other systems in their
`formats`. `opened` are the models of a checkpoint, `contexts` what they read, `signal` how well their scores tell
successes from failures, `diversity` how much completions differ, `parts` over a run; `picture` draws. `differences`
sets runs beside one another, with what they `cost`.

May import: everything but `page` and `cli`. A new measure of completions: `diversity.DIVERSITY`; of scores:
`core.signals.SIGNALS`; a new kind of context: `contexts`; a new format of somebody else's rollouts: `formats.detect`.
"""
