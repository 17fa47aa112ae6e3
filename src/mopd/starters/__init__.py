"""Starters: configurations to begin with, one for each kind of task, with small problems to try them on.

`KIND.toml` is what `mopd init KIND` prints; its first three lines say what it trains, what it needs and how long it
takes. `KIND.jsonl` holds the problems that `problems.source = "starter:KIND"` names. scripts/write_starter_problems.py
writes them. `rewards` is the reward function of the starter `reward`.

May import: `core`. A new kind: its two files; `mopd init` and the tests find them by their names.
"""

from mopd.starters.reading import PREFIX, kinds, problem_bytes, starter, summary

__all__ = ["PREFIX", "kinds", "problem_bytes", "starter", "summary"]
