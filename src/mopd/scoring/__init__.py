"""Forward and backward passes over rows that share prefixes: ids in, log-probabilities and gradients out.

In the order of a pass: `rows` (what is scored), `packing` and `trie` (which rows together, each shared prefix once),
`attention/` (over a trie), `hidden_states`, `head` (logits for a few tokens at a time) over a
`vocabulary`, and `scorer`, which puts them
together for readers and for the backward pass. `precision`, `embeddings`, `compiling` and `allocator` save time and
memory and change no result; `self_check` refuses a model that would be scored wrongly.

May import: `core`, `config`, `method`. A new kind of attention: a strategy in `attention/`.
"""
