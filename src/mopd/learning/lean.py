"""AdamW where weights, moments or both are not float32 on the device: the same rule, a part of a weight at a time.

Each part is made float32, torch's fused AdamW updates it, and it is written back: a bfloat16 weight rounded
stochastically (`models.rounding`), a moment of 8 bits rounded to the nearest of its block's 256 values. Masters in main
memory are updated there, and the model's own weights are then rounded from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from mopd.config import OptimizerConfig
from mopd.core.errors import ConfigError
from mopd.models.rounding import generator_on, in_parts, round_stochastically

MOMENTS = {"exp_avg": True, "exp_avg_sq": False}
"""AdamW's moments, and whether they have a sign."""

BLOCK = 256
"""Numbers of a moment that share a scale. (Dettmers et al. 2022, arXiv 2110.02861, which has 2,048.)"""

SMALLEST_SCALE = 1e-12
"""The scale of a block of zeros."""

SMALLEST = 4096
"""Weights with fewer numbers, as norms and biases, keep moments in float32."""


class LeanAdamW(torch.optim.Optimizer):
    """AdamW of `parameters`, which take the gradients, with `weights`, which take the updates: the same tensors, or
    masters of them. State is plain tensors: `step`, and of each moment its numbers, or `.codes` and `.scale`."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        config: OptimizerConfig,
        moments: Literal["float32", "8bit"],
        seed: int,
    ) -> None:
        options = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay, "eps": 1e-8}
        super().__init__(parameters, options)
        self.weights, self.seed = weights, seed
        self.values = eight_bit_values() if moments == "8bit" else {}
        for weight in weights.values():
            weight.data = weight.data.contiguous()  # their parts are written in place

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of all weights that have a gradient. Raises nothing where numbers are not finite."""
        (group,) = self.param_groups
        for parameter, (name, weight) in zip(group["params"], self.weights.items(), strict=True):
            if parameter.grad is not None:
                self._update(name, weight, parameter.grad.to(weight.device), self._state_of(parameter, weight), group)
        self.show_weights()

    @torch.no_grad()
    def show_weights(self) -> None:
        """Round the parameters from the weights, where those are masters of them."""
        for parameter, weight in zip(self.param_groups[0]["params"], self.weights.values(), strict=True):
            if parameter is not weight:
                parameter.copy_(weight)

    def _state_of(self, parameter: Tensor, weight: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in MOMENTS:
                state |= self._no_moment(name, weight)
        return state

    def _no_moment(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        count, device = weight.numel(), weight.device
        if not self.values or count < SMALLEST or count % BLOCK:
            return {name: torch.zeros(count, device=device)}
        codes = (self.values[name] == 0).nonzero()[0].to(torch.uint8).to(device).repeat(count)
        return {f"{name}.codes": codes, f"{name}.scale": torch.zeros(count // BLOCK, device=device)}

    def _update(
        self, name: str, weight: Tensor, gradient: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]
    ) -> None:
        generator = generator_on(weight.device, self.seed, "update", int(state["step"]), name)
        begin = 0
        for own, slope in in_parts(weight, gradient):
            part = slice(begin, begin + len(own))
            moments = {key: self._read(state, key, part) for key in MOMENTS}
            new = own.float()  # itself, where it is float32
            adamw(
                [new],
                [slope.float()],
                [moments["exp_avg"]],
                [moments["exp_avg_sq"]],
                [],
                [state["step"].to(weight.device, copy=True)],
                fused=True,
                amsgrad=False,
                maximize=False,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
            )
            if own.dtype != torch.float32:
                own.copy_(round_stochastically(new, generator))
            for key, moment in moments.items():
                self._write(state, key, part, moment)
            begin = part.stop
        state["step"] += 1

    def _read(self, state: Mapping[str, Tensor], key: str, part: slice) -> Tensor:
        if key in state:
            return state[key][part]
        found: Tensor = self._packed(state, key, part).dequantize()
        return found

    def _write(self, state: Mapping[str, Tensor], key: str, part: slice, moment: Tensor) -> None:
        """Round a part of a moment to 8 bits.

        torchao's own search is made for GPUs and takes 2 to 4 times as long on a CPU.
        """
        if key in state:
            return
        packed = self._packed(state, key, part)
        blocks = moment.view(-1, BLOCK)
        scale = blocks.abs().amax(1).clip(SMALLEST_SCALE)
        borders = (packed.qmap[1:] + packed.qmap[:-1]) / 2
        packed.codes.copy_(torch.bucketize(blocks / scale[:, None], borders, out_int32=True, right=True).view(-1))
        packed.scale.copy_(scale)

    def _packed(self, state: Mapping[str, Tensor], key: str, part: slice) -> Any:
        """A part of a moment as torchao's tensor of 8 bits, on the state's own memory."""
        codes, scale = state[f"{key}.codes"], state[f"{key}.scale"]
        scales = scale[part.start // BLOCK : part.stop // BLOCK]
        return packed_type()(codes[part], scales, self.values[key].to(codes.device), MOMENTS[key])


@cache
def packed_type() -> Any:
    """torchao's tensor of 8 bits. Raises ConfigError where torchao is not there or does not run here."""
    try:
        from torchao.optim.subclass_8bit import OptimState8bit
    except Exception as error:  # a library that was built for another torch or processor fails in every way
        raise ConfigError(
            "compute.moments = '8bit' has torchao, which packs AdamW's moments",
            f"torchao cannot be used here: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            "pip install \"mopd[lean]\", or leave compute.moments at 'float32'",
        ) from error
    return OptimState8bit


def eight_bit_values() -> dict[str, Tensor]:
    """By moment the 256 numbers, from -1 or 0 to 1, one of which times its block's scale each number is."""
    return {
        name: packed_type().zeros((BLOCK,), signed=signed, block_size=BLOCK).qmap for name, signed in MOMENTS.items()
    }


def is_plain(parameters: Iterable[Tensor], weights: Iterable[Tensor], moments: str) -> bool:
    """Whether torch's own AdamW serves: weights are the parameters, none of them in bfloat16, and moments float32."""
    pairs = zip(parameters, weights, strict=True)
    return moments == "float32" and all(own is weight and own.dtype != torch.bfloat16 for own, weight in pairs)
