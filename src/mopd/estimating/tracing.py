"""What scoring holds in memory, found by running it on tensors that have shapes and no numbers.

The layers are the model's own and the attention is the one that would be chosen, so whatever an architecture keeps for
its backward pass is counted. Two layers are run: each further one of the same kind keeps as much as the second.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from mopd.config import Config
from mopd.models.adapters import add_adapter
from mopd.models.weights import convert_weights
from mopd.scoring.attention import using_strategy
from mopd.scoring.hidden_states import can_share_prefixes, hidden_states
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that were made within the block and are still held: `now`, and at most `peak`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        if storage._cdata not in self._held:
            self._held[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self.now -= self._held.pop(key)


class StandIn:
    """A model without numbers that is scored as `scorer` scores, on a CPU or as on a GPU.

    `model` is one on the meta device, as `sizes.empty_model` makes it; it is cut down and cannot be used for anything
    else afterwards.
    """

    def __init__(self, model: Any, scorer: Scorer, on_gpu: bool = False) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.scorer, self.on_gpu = scorer, on_gpu
        self.layers = next(child for child in model.get_decoder().children() if isinstance(child, nn.ModuleList))
        self.count = len(self.layers)
        if _are_alike(list(self.layers)):
            del self.layers[2:]
        # not the meta device itself: autocast knows none there
        with FakeTensorMode(allow_non_fake_inputs=True):
            self.model = model.to_empty(device="cpu")
        self.model.tie_weights()
        embedding = self.model.get_input_embeddings()
        embedding.weight.requires_grad_(False)  # its gradient is added in place
        embedding.register_forward_hook(lambda module, given, states: states.requires_grad_(torch.is_grad_enabled()))
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda own: setattr(own, "grad", None))

    @classmethod
    def of(cls, config: Config, model: Any, dtype: torch.dtype, on_gpu: bool) -> StandIn:
        """One whose weights are kept as the configuration says, with its adapter: a frozen base keeps less."""
        if config.lora is not None or config.compute.weights != "float32":
            convert_weights(model, dtype)
        if config.lora is not None:
            add_adapter(model, config.lora, config.seed)
        return cls(model, Scorer(dtype, config.compute.microbatch_tokens), on_gpu)

    @property
    def shares(self) -> bool:
        """Whether prefixes are shared, as they would be with weights."""
        with warnings.catch_warnings():  # the run itself says it
            warnings.simplefilter("ignore")
            return can_share_prefixes(self.model)

    def learning(self, pack: Sequence[Row]) -> tuple[int, int]:
        """Bytes that the layers keep of a microbatch for the backward pass, and the most that this takes on top."""
        return self._of_all_layers(lambda live: self._learn(pack, live))

    def _learn(self, pack: Sequence[Row], live: LiveBytes) -> tuple[int, int]:
        with self._computing():
            states = self.scorer.states_with_gradient(self.model, pack)
        kept = live.now
        live.peak = 0
        states.backward(torch.empty_like(states))  # type: ignore[no-untyped-call]
        return kept, max(0, live.peak - kept)

    def reading(self, pack: Sequence[Row]) -> int:
        """The most bytes that reading a pack without gradient takes: those of one layer at a time."""

        def read(live: LiveBytes) -> tuple[int, int]:
            with torch.no_grad(), self._computing():
                hidden_states(self.model, pack)
            return 0, live.peak

        return self._of_all_layers(read)[1]

    def _computing(self) -> contextlib.AbstractContextManager[Any]:
        stack = contextlib.ExitStack()
        stack.enter_context(self.scorer.computing(self.model))
        if self.on_gpu:  # as flex attention does there, blocks keep no scores
            stack.enter_context(using_strategy("blocks"))
        return stack

    def _of_all_layers(self, measure: Callable[[LiveBytes], tuple[int, int]]) -> tuple[int, int]:
        """(kept, on top) of the whole model; `measure` gives them for the layers that there are."""
        kept, on_top = _measured(measure)
        if len(self.layers) == self.count:
            return kept, on_top
        last = self.layers[-1]
        del self.layers[-1]
        less, _ = _measured(measure)
        self.layers.append(last)
        return less + (self.count - 1) * (kept - less), on_top


def _measured(measure: Callable[[LiveBytes], tuple[int, int]]) -> tuple[int, int]:
    with LiveBytes() as live:
        return measure(live)


def _are_alike(layers: Sequence[Any]) -> bool:
    """Whether all layers have weights of the same names and shapes, and attend in the same way."""
    seen = {
        (
            *((name, tuple(parameter.shape)) for name, parameter in layer.named_parameters()),
            getattr(getattr(layer, "self_attn", None), "sliding_window", None),
        )
        for layer in layers
    }
    return len(layers) > 2 and len(seen) == 1
