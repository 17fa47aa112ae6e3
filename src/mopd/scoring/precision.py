"""Matrix products in half precision on weights that stay as they are; a model in double precision for a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


@contextmanager
def computing_in(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Matrix products of the block in `dtype`, weights and their gradients as they are.

    Autocast by itself holds a converted copy of every weight from the forward pass to the end of the backward pass.
    Within the block each is converted when it is needed, and again in the backward pass: a conversion is small beside
    the product.
    """
    if dtype == torch.float32:
        yield
        return
    with torch.autocast(device.type, dtype, cache_enabled=False), saved_tensors_hooks(_Conversion.instead_of, _restore):
        yield


def product_dtype(weight: Tensor) -> torch.dtype:
    """What a matrix product with `weight` is computed in here and now."""
    kind = weight.device.type
    is_converted = torch.is_autocast_enabled(kind) and weight.dtype == torch.float32
    return torch.get_autocast_dtype(kind) if is_converted else weight.dtype


class _Conversion:
    """Stands for a saved tensor that is a converted copy of a weight, or a view of one."""

    def __init__(self, weight: Tensor, saved: Tensor) -> None:
        self.weight, self.version, self.dtype = weight, weight._version, saved.dtype
        self.layout = saved.size(), saved.stride(), saved.storage_offset()

    @classmethod
    def instead_of(cls, saved: Tensor) -> _Conversion | Tensor:
        """What is kept of a tensor that autograd saves."""
        copy = saved if saved._base is None else saved._base
        if copy.grad_fn is None or copy.grad_fn.name() != "ToCopyBackward0":
            return saved
        weight = getattr(copy.grad_fn.next_functions[0][0], "variable", None)  # only leaves have one
        return saved if weight is None else cls(weight, saved)

    def again(self) -> Tensor:
        """The tensor. Raises RuntimeError where the weight has changed since, as autograd does for what it saved."""
        if self.weight._version != self.version:
            raise RuntimeError("weights must not change between a forward pass and its backward pass")
        return self.weight.detach().to(self.dtype).as_strided(*self.layout)


def _restore(kept: _Conversion | Tensor) -> Tensor:
    return kept.again() if isinstance(kept, _Conversion) else kept


@contextmanager
def in_double_precision(model: nn.Module) -> Iterator[None]:
    """The model with its float32 numbers in double precision, and back: neither way rounds any of them."""
    single = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dtype == torch.float32]
    try:
        for tensor in single:
            tensor.data = tensor.data.double()
        yield
    finally:
        for tensor in single:
            tensor.data = tensor.data.float()
