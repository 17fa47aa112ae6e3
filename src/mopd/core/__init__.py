"""The words of the project, and small things that everything may use: no torch, no models.

`types` are the frozen values that flow through a step (problem, rollout, verdict, group, peers, context, lesson);
`errors` those that a user can cause; `seeding` all randomness; `thinking` spans; `files` that are whole or absent;
`statistics`.

May import: nothing of mopd. A new word of the method is a type here and a row in docs/vocabulary.md.
"""
