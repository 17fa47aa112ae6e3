"""What gives rollouts their verdicts: the problems' verifiers, or a user's reward functions.

`verdicts` asks verifiers side by side; `reward_functions` calls a user's functions once for all rollouts, with
`signatures` (what they ask for), `importing` (by name) and `calls` (each within a time limit); `choosing` says which of
the two a run has; `watching` stops a run in which no verdict comes.

May import: `core`, `config`, `verifiers`, `sandbox`, `problems`. A new kind of judge is a function like
`verdicts.Judge`, chosen in `choosing`; a new verifier belongs in `verifiers/`.
"""
