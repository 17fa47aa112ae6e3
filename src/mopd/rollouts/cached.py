"""Decoders with the cache that a model makes for itself: for sliding windows, states, and whatever else is not shared.

A model with a state (a convolution, a recurrence) has read the padding before a prompt by the time it reads the prompt.
`PromptwiseDecoder` therefore reads and continues prompts apart: exact, with as many calls a token as there are prompts.
Some models cannot go on from a cache, or not in several rows. `RereadingDecoder` reads their rows again at every token,
as the learner will: exact, and slower the longer a completion is.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from inspect import signature
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mopd.scoring.head import head_logits
from mopd.scoring.hidden_states import hidden_states
from mopd.scoring.packing import pack_by_tokens
from mopd.scoring.rows import Row
from mopd.scoring.vocabulary import of_known_tokens

REREAD_AT_ONCE = 8192
"""Tokens that are read at once where rows are read again for every token."""


class Decoder(Protocol):
    """Next-token logits for rows, [rows, vocabulary]: `logits` after the prompts, `step` after one more token a row."""

    logits: Tensor

    def __init__(self, model: Any, prompts: Sequence[tuple[int, ...]], owner: Tensor) -> None:
        """Rows in order, row i writing from prompt `owner[i]`."""

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


class RereadingDecoder:
    """Without a cache: each row is read again, whole, for every token."""

    def __init__(self, model: Any, prompts: Sequence[tuple[int, ...]], owner: Tensor) -> None:
        self.model = model
        self.rows = [prompts[index] for index in owner.tolist()]
        read = self._read(prompts)
        self.logits = read[owner.to(read.device)]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.rows = [self.rows[index] for index in rows.tolist()]

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        self.rows = [(*row, token) for row, token in zip(self.rows, tokens.tolist(), strict=True)]
        return self._read(self.rows)

    def _read(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        behind = [Row(ids, ids[:1], (True,)) for ids in rows]  # which token would come next changes nothing before it
        packs = pack_by_tokens(rows, REREAD_AT_ONCE, shares_prefixes=False)
        read = [head_logits(self.model, hidden_states(self.model, [behind[i] for i in pack])) for pack in packs]
        places = torch.tensor([place for pack in packs for place in pack])
        return torch.cat(read)[places.argsort().to(read[0].device)]


_KINDS: WeakKeyDictionary[Any, type[Decoder]] = WeakKeyDictionary()


def decoder_class(model: Any) -> type[Decoder]:
    """The decoder that is exact for a model's own cache, and the fastest such; found out once for each model.

    Said with a warning where the model's cache cannot be used at all.
    """
    if model not in _KINDS:
        try:
            _KINDS[model] = CachedDecoder if _may_pad(_tried_cache(model)) else PromptwiseDecoder
        except Exception as error:  # whatever a model raises at being asked to go on
            _KINDS[model] = RereadingDecoder
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            text = f"{type(model).__name__} cannot go on from a cache ({why}): it reads its rows again at each token"
            warnings.warn(f"{text}, which is as exact, and slow", stacklevel=1)
    return _KINDS[model]


@torch.no_grad()
def _tried_cache(model: Any) -> Any:
    """The cache of a model that went on from a prompt in two rows, of which one then went on alone."""
    decoder = CachedDecoder(model, [(3, 4)], torch.zeros(2, dtype=torch.long))
    decoder.step(torch.tensor([5, 6]))
    decoder.keep(torch.tensor([1]))
    decoder.step(torch.tensor([5]))
    return decoder.cache


def _may_pad(cache: Any) -> bool:
    """Whether all that a cache holds are keys and values, which a mask hides from what comes later."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

    return type(cache) is DynamicCache and all(
        isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionCacheLayerMixin)
        for layer in cache.layers
    )


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
