"""The run directory: what is written, when it is whole, how it is continued.

`run` begins, resumes and closes it; `records` writes and rebuilds its lines; `completions` keeps those of held-out
problems; `checkpoint` holds everything a run goes on with; `environment` what produced its numbers; `trackers` send
metrics elsewhere; `progress` shows long work.

May import: everything up to `learning`. A new file of a run: its name in `run`'s docstring, written by `Run`.
"""
