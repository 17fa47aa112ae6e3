"""Forward passes with another attention function than the model's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mopd.scoring.attention.layout import Attend
from mopd.scoring.attention.strategies import STRATEGIES, choose_strategy
from mopd.scoring.trie import Trie

AttentionFunction = Callable[..., tuple[Tensor, None]]
"""With the signature of transformers' attention functions."""

Seen = dict[int, tuple[Tensor, Tensor]]
"""By layer, the keys and values of a forward pass over a trie, [T, K, D]."""

_ATTEND: ContextVar[Attend] = ContextVar("attend")
_SEEN: ContextVar[Seen | None] = ContextVar("seen", default=None)


def read_trie(model: Any, trie: Trie, seen: Seen | None = None) -> Float[Tensor, "nodes hidden"]:
    """The last hidden states of the trie's nodes; all keys and values go into `seen` if it is given."""
    device = next(model.parameters()).device
    prepared = STRATEGIES[choose_strategy(device)](trie, device)
    attend, kept = _ATTEND.set(prepared), _SEEN.set(seen)
    try:
        ids, positions = torch.from_numpy(trie.token_ids)[None], torch.from_numpy(trie.positions)[None]
        return forward_with(trie_attention, model, ids.to(device), positions.to(device))[0]
    finally:
        _ATTEND.reset(attend)
        _SEEN.reset(kept)


@contextmanager
def recomputing(model: Any) -> Iterator[None]:
    """Forward passes within the block keep only what enters each decoder layer; backward passes compute layers again.

    A layer computed again attends as it did before, whatever has become of the block.
    """
    layers, config = decoder_layers(model), model.config.get_text_config()
    with forwards_replaced(layers, [partial(_recomputed, layer.forward, config) for layer in layers]):
        yield


def _recomputed(forward: Callable[..., Any], config: Any, *args: Any, **rest: Any) -> Any:
    attend, implementation = _ATTEND.get(None), config._attn_implementation

    def run(*args: Any, **rest: Any) -> Any:
        before, config._attn_implementation = config._attn_implementation, implementation
        token = _ATTEND.set(attend) if attend is not None else None
        try:
            return forward(*args, **rest)
        finally:
            config._attn_implementation = before
            if token is not None:
                _ATTEND.reset(token)

    return checkpoint(run, *args, use_reentrant=False, **rest)


@contextmanager
def forwards_replaced(layers: Sequence[Any], forwards: Sequence[Callable[..., Any]]) -> Iterator[None]:
    """Within the block each layer runs another forward; afterwards its own, be it its class's or a hook's."""
    before = [vars(layer).get("forward") for layer in layers]
    for layer, forward in zip(layers, forwards, strict=True):
        layer.forward = forward
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                del layer.forward
            else:
                layer.forward = own


def inner_decoder(model: Any) -> Any:
    """What gives a model's last hidden states. Some that have a vision part elsewhere name themselves (Llama 4)."""
    found = model.get_decoder()
    return model.model if found is model else found


def decoder_layers(model: Any) -> list[Any]:
    """The layers of a model's decoder, whatever it calls them."""
    return next(list(child) for child in inner_decoder(model).children() if isinstance(child, torch.nn.ModuleList))


def trie_attention(
    module: Any,
    query: Float[Tensor, "1 heads nodes size"],
    key: Float[Tensor, "1 kv_heads nodes size"],
    value: Float[Tensor, "1 kv_heads nodes value_size"],
    attention_mask: Any,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Float[Tensor, "1 nodes heads value_size"], None]:
    """A model's attention, by the strategy that `read_trie` prepared; in the value's dtype.

    Raises NotImplementedError where the model asks for a kind of attention that this is not.
    """
    refuse_other_kinds(rest)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))  # [T, heads, D]
    seen = _SEEN.get()
    if seen is not None:
        seen[module.layer_idx] = (k, v)
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    dtype = attention_dtype(query)
    with torch.autocast(query.device.type, enabled=False):  # its dtype is already in `dtype`
        out = _ATTEND.get()(q.to(dtype), k.to(dtype), v.to(dtype), scale)
    return out.to(value.dtype)[None], None


def attention_dtype(query: Tensor) -> torch.dtype:
    """What attention over a trie computes in: the query's dtype, or autocast's for float32.

    While learning on a CPU at least float32: the backward pass of a softmax in bfloat16 is less exact there, and no
    faster.
    """
    kind, dtype = query.device.type, query.dtype
    if dtype == torch.float32 and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    if kind == "cpu" and torch.is_grad_enabled():
        dtype = torch.promote_types(dtype, torch.float32)
    return dtype


def refuse_other_kinds(asked: Mapping[str, Any]) -> None:
    """Raises NotImplementedError where a model asks for what the attention functions here do not do."""
    for name in ("softcap", "sliding_window", "s_aux", "position_bias"):
        if asked.get(name) is not None:
            raise NotImplementedError(f"attention over shared prefixes has no {name}")


def forward_with(
    function: AttentionFunction,
    model: Any,
    ids: Int[Tensor, "rows length"],
    positions: Int[Tensor, "rows length"],
) -> Float[Tensor, "rows length hidden"]:
    """The decoder's last hidden states, with `function` as its attention."""
    not_read = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)  # keeps transformers from making a mask
    with attending_with(function, model):
        states: Tensor = inner_decoder(model)(
            input_ids=ids, position_ids=positions, attention_mask=not_read, use_cache=False
        ).last_hidden_state
    return states


@contextmanager
def attending_with(function: AttentionFunction, model: Any) -> Iterator[None]:
    """Within the block the model's attention is `function`."""
    config = model.config.get_text_config()
    before, config._attn_implementation = config._attn_implementation, _register(function)
    try:
        yield
    finally:
        config._attn_implementation = before


@cache
def _register(function: AttentionFunction) -> str:
    """The name by which transformers knows `function`.

    Where layers are compiled it stays outside their graphs: what it does changes with every trie, and a graph would
    hold the context of its first.
    """
    from transformers import AttentionInterface

    not_compiled: Any = torch.compiler.disable
    name = f"mopd_{function.__name__}"
    AttentionInterface.register(name, not_compiled(function))
    return name
