"""Decoders with the cache that a model makes for itself: for sliding windows, states, and whatever else is not shared.

A model with a state (a convolution, a recurrence) has read the padding before a prompt by the time it reads the prompt.
`PromptwiseDecoder` therefore reads and continues prompts apart: exact, with as many calls a token as there are prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mopd.scoring.vocabulary import of_known_tokens


class Decoder(Protocol):
    """Next-token logits for rows, [rows, vocabulary]: `logits` after the prompts, `step` after one more token a row."""

    logits: Tensor

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only: [kept] indices of the present ones."""

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind `tokens` [rows]."""


class CachedDecoder:
    """With the model's own cache, expanded to rows, and prompts padded on the left."""

    def __init__(self, model: Any, prompts: Sequence[tuple[int, ...]], owner: Tensor) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        self.cache: Any = None
        # without padding there is nothing to hide, and models with a state take a mask for the newest tokens only
        self.mask = None if bool(mask.all()) else mask.to(self.device)
        logits = self._forward(ids.to(self.device), positions.to(self.device), logits_to_keep=1)
        owner = owner.to(self.device)
        _select(self.cache, owner)
        self.logits, self.positions = logits[owner], positions[:, -1].to(self.device)[owner]
        self.mask = None if self.mask is None else self.mask[owner]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        rows = rows.to(self.device)
        self.positions = self.positions[rows]
        self.mask = None if self.mask is None else self.mask[rows]
        _select(self.cache, rows)

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.positions = self.positions + 1
        return self._forward(tokens[:, None].to(self.device), self.positions[:, None])

    def _forward(self, ids: Tensor, positions: Tensor, **rest: Any) -> Tensor:
        name = _cache_argument(self.model)
        rest |= {"attention_mask": self.mask, "position_ids": positions, name: self.cache, "use_cache": True}
        accepted = signature(self.model.forward).parameters
        output = self.model(input_ids=ids, **{key: value for key, value in rest.items() if key in accepted})
        self.cache = output.get(name)
        if self.cache is None:
            raise NotImplementedError(f"it returns no {name} to go on with")
        return of_known_tokens(self.model, output.logits[:, -1])


class PromptwiseDecoder:
    """Each prompt with a cache of its own, so that no row is ever padded."""

    def __init__(self, model: Any, prompts: Sequence[tuple[int, ...]], owner: Tensor) -> None:
        self.owner = owner
        counts = torch.bincount(owner, minlength=len(prompts)).tolist()
        self.parts = {
            index: CachedDecoder(model, [prompt], torch.zeros(count, dtype=torch.long))
            for index, (prompt, count) in enumerate(zip(prompts, counts, strict=True))
            if count
        }
        self.logits = self._in_order([part.logits for part in self.parts.values()])

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        for index in list(self.parts):
            places = (self.owner == index).cumsum(0) - 1  # of each row of this prompt among them
            kept = places[rows[self.owner[rows] == index]]
            if len(kept):
                self.parts[index].keep(kept)
            else:
                del self.parts[index]
        self.owner = self.owner[rows]

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        found = [part.step(tokens[self.owner == index]) for index, part in self.parts.items()]
        return self._in_order(found)

    def _in_order(self, logits: Sequence[Tensor]) -> Tensor:
        """What the parts gave, in the order of rows."""
        rows = torch.cat([(self.owner == index).nonzero().squeeze(-1) for index in self.parts])
        return torch.cat(list(logits))[rows.argsort().to(logits[0].device)]


_MAY_PAD: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@torch.no_grad()
def may_pad_prompts(model: Any) -> bool:
    """Whether all that the model's cache holds are keys and values, which a mask hides; tried once for each model."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

    if model not in _MAY_PAD:
        cache = CachedDecoder(model, [(3, 4)], torch.zeros(1, dtype=torch.long)).cache
        _MAY_PAD[model] = type(cache) is DynamicCache and all(
            isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionCacheLayerMixin)
            for layer in cache.layers
        )
    return _MAY_PAD[model]


def _cache_argument(model: Any) -> str:
    """What a model calls its cache. Raises NotImplementedError where it takes none that is known here."""
    names = [name for name in ("past_key_values", "cache_params") if name in signature(model.forward).parameters]
    if not names:
        raise NotImplementedError("it takes neither past_key_values nor cache_params to go on from")
    return names[0]


def _select(cache: Any, rows: Tensor) -> None:
    """Keep these rows of a cache, or repeat them.

    `reorder_cache` does so for every layer of transformers' own cache; `batch_select_indices` forgets states. Caches of
    other classes change the second.
    """
    from transformers import DynamicCache

    (cache.reorder_cache if type(cache) is DynamicCache else cache.batch_select_indices)(rows)
