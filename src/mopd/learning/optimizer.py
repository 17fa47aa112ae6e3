"""AdamW whose steps are no longer than they should be: clipping, a bound on the loss's expected fall, a way back.

Adam's length knows nothing of the loss: a first update moves each weight by the learning rate, however little there is
left to learn. To first order the loss falls by <g, theta_old - theta_new>, g being its gradient; where that is more
than the loss has to fall, the update is too long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mopd.config import OptimizerConfig
from mopd.core.errors import DivergenceError
from mopd.learning.lean import LeanAdamW, is_plain
from mopd.models.rounding import in_parts, move
from mopd.models.weights import full_weights
from mopd.parallel.sharded import as_share, is_sharded, local, ranks_of, share_of


@dataclass(frozen=True, slots=True)
class Update:
    """What one update did: the gradient's norm before clipping, the share of its length that was taken, and by how many
    nats the loss falls to first order (None where nobody asked). Nothing moved where the gradient was not finite."""

    is_done: bool
    norm: float
    share: float = 0.0
    expected_fall: float | None = None


class AdamW:
    """AdamW over a model's weights, its masters where it has them, with gradient clipping and a refusal of non-finite
    gradients. `seed` decides how weights in bfloat16 are rounded; moments of 8 bits need torchao (ConfigError).

    Of a model that is split over ranks each updates what it holds; norms and falls are over all.
    """

    def __init__(
        self, model: Any, config: OptimizerConfig, moments: Literal["float32", "8bit"] = "float32", seed: int = 0
    ) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        full = full_weights(model)
        self.ranks = ranks_of(model)
        self.names, self.sources = list(trained), list(trained.values())
        self.parameters = [_leaf(source) for source in self.sources]
        self.weights = [
            own if full[name] is source else full[name]
            for name, source, own in zip(self.names, self.sources, self.parameters, strict=True)
        ]
        self.clip_norm, self.seed = config.clip_norm, seed
        self._before: list[Tensor] = []
        self._shortened_count = 0
        self.inner: torch.optim.Optimizer
        if is_plain(self.parameters, self.weights, moments):
            self.inner = torch.optim.AdamW(
                self.parameters,
                lr=config.learning_rate,
                betas=config.betas,
                weight_decay=config.weight_decay,
                fused=True,  # one pass over the weights: 10 to 20 times as fast on a CPU
            )
        else:
            named = dict(zip(self.names, self.weights, strict=True))
            self.inner = LeanAdamW(self.parameters, named, config, moments, seed)

    def update(self, learning_rate: float, most_fall: float | None = None) -> Update:
        """One update from the gradients present. A non-finite gradient updates nothing.

        With `most_fall`, in nats, the update is shortened where the loss would fall by more to first order, and can be
        taken back until `forget`. Raises DivergenceError where weights are not finite then: nothing can be learnt from
        them, nor saved as good.
        """
        self._take_gradients()
        norm = self._clip()
        done = Update(False, norm)
        if math.isfinite(norm):
            self._before = [] if most_fall is None else [weight.detach().clone() for weight in self.weights]
            self._shortened_count = 0
            for group in self.inner.param_groups:
                group["lr"] = learning_rate
            self.inner.step()
            self._check_weights(learning_rate)
            done = Update(True, norm, 1.0) if most_fall is None else self._shortened(norm, most_fall)
        self.inner.zero_grad(set_to_none=True)
        return done

    @property
    def whole(self) -> list[Tensor]:
        """The parameters that this rank holds whole, whose gradients are its own share of a sum."""
        return [source for source in self.sources if not is_sharded(source)]

    def _take_gradients(self) -> None:
        """Gradients of shares, which are sums over ranks already, go to what is updated."""
        for source, own in zip(self.sources, self.parameters, strict=True):
            if source is not own:
                own.grad, source.grad = None if source.grad is None else local(source.grad), None

    def _total(self, values: Sequence[float]) -> float:
        """The sum over parameters, and over ranks where each holds a share of a parameter."""
        total = of_shares = 0.0
        for value, source in zip(values, self.sources, strict=True):
            if is_sharded(source):
                of_shares += value
            else:
                total += value
        return total + self.ranks.sum_numbers({"shares": of_shares})["shares"]

    def _clip(self) -> float:
        """The gradient's norm before it is scaled down to `clip_norm`; in float32, whatever the gradient is in."""
        if self.ranks.size > 1:
            return self._clip_shares()
        if all(parameter.dtype != torch.bfloat16 for parameter in self.parameters):
            return torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm).item()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.stack([torch.linalg.vector_norm(one, dtype=torch.float32) for one in gradients]).norm()
        torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        return float(norm)

    def _clip_shares(self) -> float:
        """The same where each rank holds a share."""
        squares = [
            0.0 if one.grad is None else float(torch.linalg.vector_norm(one.grad, dtype=torch.float64)) ** 2
            for one in self.parameters
        ]
        norm = math.sqrt(self._total(squares))
        torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, torch.tensor(norm))
        return norm

    def _shortened(self, norm: float, most_fall: float) -> Update:
        fall = self._expected_fall() / min(1.0, self.clip_norm / (norm + 1e-6))
        share = min(1.0, max(0.0, most_fall) / fall) if fall > 0 else 1.0
        if share < 1:
            self.take_back(share)
        return Update(True, norm, share, fall * share)

    @torch.no_grad()
    def _expected_fall(self) -> float:
        """<g, theta_old - theta_new> of the clipped gradient g, in nats."""
        falls: list[float] = []
        for parameter, weight, before in zip(self.parameters, self.weights, self._before, strict=True):
            found = torch.zeros((), dtype=torch.float64, device=weight.device)
            if parameter.grad is not None:
                for gradient, old, new in in_parts(parameter.grad.to(weight.device), before, weight):
                    found += torch.dot(_wide(gradient), _wide(old) - _wide(new))
            falls.append(found.item())
        return self._total(falls)

    @property
    def can_take_back(self) -> bool:
        """Whether the last update can be shortened."""
        return bool(self._before)

    @torch.no_grad()
    def take_back(self, share: float) -> None:
        """Shorten the last update to `share` of its length; its moments stay as they are."""
        self._shortened_count += 1
        when = int(self.inner.state[self.parameters[0]].get("step", 0)), self._shortened_count
        for name, weight, before in zip(self.names, self.weights, self._before, strict=True):
            move(weight, before, 1 - share, self.seed, "take back", *when, name)
        if isinstance(self.inner, LeanAdamW):
            self.inner.show_weights()

    def forget(self) -> None:
        """Free what `take_back` needs."""
        self._before = []

    @torch.no_grad()
    def _check_weights(self, learning_rate: float) -> None:
        norms = torch.stack([norm.cpu() for norm in torch._foreach_norm(self.weights)])  # fast, but may overflow
        suspects = (~norms.isfinite()).nonzero().flatten().tolist()
        diverged = [index for index in suspects if not self.weights[index].isfinite().all()]
        if diverged:
            raise DivergenceError(
                "the student's weights are finite after an update",
                f"NaN or infinite weights in {len(diverged)} of {len(self.names)} tensors, such as "
                f"{self.names[diverged[0]]}, at a learning rate of {learning_rate:g}",
                "begin a new run with a lower learning rate; checkpoints hold the weights of before",
            )

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimiser's state as named tensors, for a checkpoint; of what is split, split in the same way."""
        return {
            f"{key}/{name}": torch.as_tensor(value) if key == "step" else as_share(value, source)
            for name, source, parameter in zip(self.names, self.sources, self.parameters, strict=True)
            for key, value in self.inner.state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` gave, here or in as many ranks as there were: each takes what it holds."""
        self.inner.state.clear()  # before a first update there is none
        own = {name: all for name, *all in zip(self.names, self.sources, self.parameters, self.weights, strict=True)}
        for full_name, value in tensors.items():
            key, _, name = full_name.partition("/")
            source, parameter, weight = own[name]
            part = value if key == "step" else share_of(value, source).to(weight.device)
            self.inner.state[parameter][key] = part.clone()


def _leaf(source: Tensor) -> Tensor:
    """What of a parameter is updated here: itself, or this rank's share of it, in the same memory."""
    return torch.nn.Parameter(local(source.detach())) if is_sharded(source) else source


def _wide(weights: Tensor) -> Tensor:
    return weights.float() if weights.dtype == torch.bfloat16 else weights


def learning_rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """The rate of `step` of `steps`: a linear rise over `warmup_steps`, behind it what `schedule` says.

    `cosine` and `linear` fall to 0 one step behind the last: every step learns."""
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "constant" or step < config.warmup_steps:
        return config.learning_rate * rise
    done = (step + 1 - config.warmup_steps) / (steps + 1 - config.warmup_steps)
    left = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * left
