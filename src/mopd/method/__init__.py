"""The paper as pure functions: peers, contexts, lessons, divergences, objectives. They work without any trainer.

No transformers, no disk, no clock, no processes; torch only in `divergence`, `predictions` and `objective`. What turns
messages into token ids is handed in as a function.

May import: `core`, `config`. A new divergence: one function in `divergence`, one literal in `config/method.py`, a law
in tests/property. A new objective: see `objective`. A new choice of peers: `peers`, with its option in
`config/method.py`.
"""
