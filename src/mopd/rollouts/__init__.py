"""Engines turn prompts into completions.

`engine` is the protocol, its requests, and groups made with it; `local` samples with a model in this process, by
`decoding` (one token a row at a time, prompts kept once) and `drawing` (from logits to tokens, reproducibly);
`cached` decodes with a model's own cache; `served` samples by vLLM servers; `choosing` says which engine a run has.

May import: `core`, `config`, `scoring`, `models`, `serving`. A new engine: a module with the methods of
`engine.Engine`, chosen in `choosing`.
"""
