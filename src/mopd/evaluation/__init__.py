"""How good a model is: on held-out problems, and when it generates from contexts.

`held_out` is mean@k and pass@k; `from_contexts` how often a model is right when it reads peers; `reading` which
recipe of peers makes the best teacher; `target` is `mopd evaluate`, `generating` is `mopd generate`.

May import: everything up to `warmup`. A new figure of a group: `held_out.summarise`.
"""
