"""How good a model is: on held-out problems, and when it generates from contexts.

`held_out` is mean@k and pass@k; `from_contexts` how often a model is right when it reads peers; `attempts` and
`reading` which recipe of peers makes the best teacher, as a run needs it. `preflighting` is `mopd preflight`, with all
recipes in `recipes_table` and the teacher's scores in `token_scores`; `target` is `mopd evaluate`, `generating` is
`mopd generate`, and `opening` the setup of those that measure.

May import: everything up to `warmup`. A new figure of a group: `held_out.summarise`; a new figure of a teacher: a row
of `recipes_table`, and its word in `method.advice`.
"""
