"""The order in which steps take problems: seeded passes, and domains in proportion to weights. Nothing keeps state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice, pairwise

from mopd.core.seeding import derive_rng


def whole_weights(weights: Sequence[float]) -> tuple[int, ...]:
    """The same proportions in whole numbers, of the decimals as they are written: .7 and .3 are 7 and 3."""
    exact = [Fraction(repr(weight)) for weight in weights]
    denominator = math.lcm(*(weight.denominator for weight in exact))
    return tuple(int(weight * denominator) for weight in exact)


def apportion(weights: Sequence[int], count: int) -> list[int]:
    """`count` seats shared in proportion to weights: whole numbers that sum to it (at least one weight is positive).

    The rule is Sainte-Laguë's: seat j of a part comes at time (j + 1/2) / weight, and the first `count` seats are
    given. So no share falls as `count` grows, and each stays near `count` x weight / sum for every `count`.
    """
    total = sum(weights)
    # At this time at most count - 1 seats are given, since each part's number is at most 1/2 over its exact share.
    doubled_time = max(0, 2 * count - len(weights) - 2)
    seats = [(weight * doubled_time + total) // (2 * total) if weight else 0 for weight in weights]
    while sum(seats) < count:
        times = {part: Fraction(2 * seats[part] + 1, weight) for part, weight in enumerate(weights) if weight}
        seats[min(times, key=times.__getitem__)] += 1
    return seats


@dataclass(frozen=True)
class Pace:
    """How many problems of one part of the training set the steps take, of `count` a step, by whole weights."""

    weights: tuple[int, ...]
    part: int
    count: int

    def before(self, step: int) -> int:
        """Problems of the part that all steps before `step` take together."""
        if len(self.weights) == 1:
            return step * self.count
        return apportion(self.weights, step * self.count)[self.part]

    @property
    def period(self) -> int:
        """Steps after which what they take of each part repeats: then all parts have had their weights' seats."""
        total = sum(self.weights)
        return total // math.gcd(total, self.count)

    @property
    def bound(self) -> int:
        """No step takes more of the part, whatever the number of steps; cheap to know.

        n seats of the part take the time of at least n - 1 of them, and in any time another part gets more than its
        share less one seat. What a step has left for the part is then at most this.
        """
        others = sum(weight > 0 for weight in self.weights) - 1
        return (self.count + others - 1) * self.weights[self.part] // sum(self.weights) + 1

    def step_around(self, position: int) -> tuple[int, int]:
        """Where the step that takes the part's `position`-th problem begins and ends, in the part's own count."""
        step = position * sum(self.weights) // (self.weights[self.part] * self.count)
        while self.before(step) > position:
            step -= 1
        while self.before(step + 1) <= position:
            step += 1
        return self.before(step), self.before(step + 1)


@lru_cache(maxsize=64)
def most_in_a_step(pace: Pace, steps: int) -> int:
    """The most problems of the part that one of the first `steps` steps takes."""
    ends = [pace.before(step) for step in range(min(steps, pace.period) + 1)]
    return max(end - begin for begin, end in pairwise(ends))


@lru_cache(maxsize=32)
def pass_order(size: int, pace: Pace, seed: int, name: tuple[str, ...], number: int) -> tuple[int, ...]:
    """The order of pass `number` over the `size` problems of a part called `name`.

    It is a seeded shuffle, changed only where a step spans two passes: the problems that this step has from the pass
    before come later in the new pass. So an order may depend on the one before; the passes gone back to are few.
    """
    order: list[int] = []
    for current in range(_first_to_know(size, pace, number), number + 1):
        begin, end = pace.step_around(current * size)
        begun = current * size - begin  # problems that the step in progress has from the pass before
        taken = set(order[size - begun :]) if begun and order else set()
        order = list(range(size))
        derive_rng(seed, "problem order", *name, current).shuffle(order)
        wanted = end - current * size if begun else 0
        first = dict.fromkeys(islice((i for i in order if i not in taken), wanted))
        order = [*first, *(i for i in order if i not in first)]
    return tuple(order)


def _first_to_know(size: int, pace: Pace, number: int) -> int:
    """The pass from which on orders must be made to know pass `number`.

    It begins with a step, or it is changed at its front only, away from what the step that ends it takes.
    """
    while number > 0:
        begin, _ = pace.step_around(number * size)
        begun = number * size - begin
        if not begun:
            break
        number -= 1
        before_begin, before_end = pace.step_around(number * size)
        if before_end - before_begin + begun <= size:
            break
    return number
