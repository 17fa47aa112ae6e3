"""From lessons to updated weights.

`learner` makes a step's updates; `teacher` is what it learns from, and `optimizer` what it updates with (`lean`, where
not all is float32). The backward pass itself is `scoring.scorer.Scorer.backward`.

`mismatch` and `beginning` are what a step measures besides, `scores` what a teacher makes of a rollout, `splitting` the
lessons of each process. `served_teacher` is a teacher behind servers, and `choosing` says which teacher a run has.

May import: `core`, `config`, `method`, `scoring`, `models`, `serving`. A new teacher: a class with the methods of
`teacher.Teacher` and a table in `config/learning.py`.
"""
