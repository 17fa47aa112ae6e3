"""Decoders: prompts read once, then one token a row at a time, for rows that share prompts.

`SharedPromptDecoder` keeps the keys and values of each prompt once, however many rows write from it; on a GPU its steps
are recorded and played back (`recorded`). `cached` has the decoders for models whose attention is of another kind. All
give the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from mopd.rollouts.cached import Decoder, decoder_class
from mopd.rollouts.recorded import GraphRecorder, RecordedDecoder, can_record
from mopd.scoring.attention import Seen, forward_with, read_trie, refuse_other_kinds
from mopd.scoring.head import head_logits
from mopd.scoring.trie import build_trie

GROWTH = 32
"""Tokens by which the room for keys and values of written tokens grows at least."""


def open_decoder(
    model: Any, prompts: Sequence[tuple[int, ...]], counts: Sequence[int], shares_prefixes: bool
) -> Decoder:
    """A decoder of `counts[i]` rows for prompt i, rows in order of prompts. Equal prompts are read once.

    `shares_prefixes` tells whether the model's attention may be replaced (`scoring.can_share_prefixes`).
    """
    unique = list(dict.fromkeys(prompts))
    place = {prompt: index for index, prompt in enumerate(unique)}
    owner = torch.tensor([place[prompt] for prompt, count in zip(prompts, counts, strict=True) for _ in range(count)])
    if shares_prefixes and can_record(model):
        decoder = SharedPromptDecoder(model, unique, owner, has_fixed_shapes=True)
        return RecordedDecoder(decoder, GraphRecorder(model))
    if shares_prefixes:
        return SharedPromptDecoder(model, unique, owner)
    return decoder_class(model)(model, unique, owner)


class SharedPromptDecoder:
    """With the keys and values of every prompt once, and of each row's own tokens beside them.

    Prompts are read as a trie, so that what they share is computed once. Rows of a prompt attend to it together.

    With `has_fixed_shapes` every row attends to the whole room for written tokens, the unwritten hidden: shapes and
    addresses then stay the same from step to step until rows leave or the room grows.
    """

    def __init__(
        self, model: Any, prompts: Sequence[tuple[int, ...]], owner: Tensor, has_fixed_shapes: bool = False
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.owner = owner.to(self.device)
        self.has_fixed_shapes = has_fixed_shapes
        self.room = 0
        self.own_length = 0
        self.at = torch.full((1,), -1, device=self.device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        self.positions = lengths[self.owner] - 1
        is_read = torch.arange(int(lengths.max()), device=self.device) < lengths[:, None]
        self.hidden = torch.zeros(is_read.shape, device=self.device).masked_fill(~is_read, -torch.inf)[:, None, None]
        self.prompts, last = self._read(prompts)
        self.own = {
            layer: (
                k.new_zeros(len(owner), k.shape[1], 0, k.shape[3]),
                v.new_zeros(len(owner), v.shape[1], 0, v.shape[3]),
            )
            for layer, (k, v) in self.prompts.items()
        }
        self.logits = head_logits(model, last)[self.owner]
        self._arrange()

    def _read(self, prompts: Sequence[tuple[int, ...]]) -> tuple[dict[int, tuple[Tensor, Tensor]], Tensor]:
        """Keys and values of each layer, [prompts, K, width, D], and the last hidden state of each prompt.

        In memory they lie as products read them: else every step would copy them all.
        """
        trie = build_trie(prompts)
        seen: Seen = {}
        states = read_trie(self.model, trie, seen)
        nodes = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
        for row, path in enumerate(trie.paths):
            nodes[row, : len(path)] = torch.from_numpy(path)
        nodes = nodes.to(self.device)
        layers = {
            layer: (k[nodes].transpose(1, 2).contiguous(), v[nodes].transpose(1, 2).contiguous())
            for layer, (k, v) in seen.items()
        }
        return layers, states[torch.tensor([int(path[-1]) for path in trie.paths], device=self.device)]

    def _arrange(self) -> None:
        """Give each row its place among the rows of its prompt."""
        counts = torch.bincount(self.owner, minlength=len(self.hidden))
        order = self.owner.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        self.slot = torch.empty_like(self.owner)
        self.slot[order] = torch.arange(len(order), device=self.device) - starts[self.owner[order]]
        self.most = int(counts.max())

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        rows = rows.to(self.device)
        self.owner, self.positions = self.owner[rows], self.positions[rows]
        self.own = {layer: (k[rows], v[rows]) for layer, (k, v) in self.own.items()}
        self._arrange()

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        self.make_room()
        return self.compute(tokens.to(self.device))

    def make_room(self) -> None:
        """Count one more token a row, and make room for its keys and values."""
        if self.own_length == self.room:
            more = max(GROWTH, self.room)
            self.own = {layer: (_longer(k, more), _longer(v, more)) for layer, (k, v) in self.own.items()}
            self.room += more
            self.unwritten = torch.zeros(self.room, device=self.device)
            self.unwritten[self.own_length :] = -torch.inf
        self.own_length += 1

    def compute(self, tokens: Tensor) -> Tensor:
        """The logits behind tokens [rows], for which there is room. Changes nothing but tensors, in their places."""
        self.positions += 1
        self.at += 1
        self.unwritten.index_fill_(0, self.at, 0)
        token = _DECODER.set(self)
        try:
            hidden = forward_with(_attend_to_prompt, self.model, tokens[:, None], self.positions[:, None])
        finally:
            _DECODER.reset(token)
        return head_logits(self.model, hidden[:, 0])

    def remember(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of the tokens written so far, [rows, K, reach, D], with the newest added."""
        k, v = self.own[layer]
        k.index_copy_(2, self.at, key)
        v.index_copy_(2, self.at, value)
        reach = self.reach
        return k[:, :, :reach], v[:, :, :reach]

    @property
    def reach(self) -> int:
        """How many of the places for written tokens a row attends to."""
        return self.room if self.has_fixed_shapes else self.own_length

    def together(self, states: Tensor) -> Tensor:
        """Rows gathered by prompt: [rows, K, G, X] -> [prompts, K, most x G, X], padded."""
        heads, groups, size = states.shape[1:]
        grouped = states.new_zeros(len(self.hidden), self.most, heads, groups, size)
        grouped[self.owner, self.slot] = states
        return grouped.transpose(1, 2).reshape(len(self.hidden), heads, self.most * groups, size)

    def apart(self, states: Tensor, groups: int) -> Tensor:
        """The reverse: [prompts, K, most x G, X] -> [rows, K, G, X]."""
        by_row = states.view(states.shape[0], states.shape[1], self.most, groups, states.shape[3]).transpose(1, 2)
        return by_row[self.owner, self.slot]


def _longer(held: Tensor, more: int) -> Tensor:
    return torch.cat([held, held.new_zeros(*held.shape[:2], more, held.shape[3])], 2)


_DECODER: ContextVar[SharedPromptDecoder] = ContextVar("decoder")


def _attend_to_prompt(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float | None = None, **rest: Any
) -> tuple[Tensor, None]:
    """query [rows, H, 1, D], key and value [rows, K, 1, D] of the newest tokens -> [rows, 1, H, D].

    One softmax over the prompt's keys and the row's own.
    """
    refuse_other_kinds(rest)
    decoder = _DECODER.get()
    prompt_k, prompt_v = decoder.prompts[module.layer_idx]
    own_k, own_v = decoder.remember(module.layer_idx, key, value)
    rows, heads, _, size = query.shape
    groups = heads // key.shape[1]
    scale = scaling if scaling is not None else size**-0.5
    q = (query * scale).view(rows, key.shape[1], groups, size)
    to_prompt = decoder.together(q) @ prompt_k.transpose(-1, -2) + decoder.hidden
    to_own = q @ own_k.transpose(-1, -2)
    to_own = to_own.to(to_prompt.dtype) + decoder.unwritten[: decoder.reach]
    scores = torch.cat([decoder.apart(to_prompt, groups), to_own], -1)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype)
    width = prompt_k.shape[2]
    out = decoder.apart(decoder.together(weights[..., :width]) @ prompt_v, groups) + weights[..., width:] @ own_v
    return out.reshape(rows, 1, heads, -1).to(query.dtype), None
