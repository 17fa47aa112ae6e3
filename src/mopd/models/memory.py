"""Memory that does not suffice, told with what needed it, how much was held, and the settings that help there."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mopd.config import Config, flatten
from mopd.core.errors import OutOfMemoryError
from mopd.models.devices import peak_memory_bytes

SIZES = ("compute.sampling_rows", "compute.microbatch_tokens")
"""Settings that need less memory when they are lower and shape no student: a run goes on with other values."""

CHOICES = {
    "compute.weights": ("float32", "bfloat16", "offloaded"),
    "compute.teacher": ("float32", "bfloat16", "offloaded"),
    "compute.moments": ("float32", "8bit"),
}
"""What takes the most memory first. Another value makes another run."""

HELP = {
    "sample": ("sampling", "compute.sampling_rows", "sampling.completion_tokens"),
    "teacher_accuracy": ("sampling from contexts", "compute.sampling_rows", "evaluation.reading_contexts"),
    "evaluate": ("the evaluation", "compute.sampling_rows", "sampling.completion_tokens"),
    "contexts": ("making contexts", "compute.weights", "context.tokens"),
    "verify": ("judging", "verification.workers", "compute.weights"),
    "teacher": ("the teacher's reading", "compute.microbatch_tokens", "compute.teacher", "context.tokens"),
    "student": ("the student's backward pass", "compute.microbatch_tokens", "compute.weights", "compute.moments"),
    "update": ("the update", "compute.moments", "compute.weights", "compute.teacher"),
    "warmup": ("the warm-up", "compute.microbatch_tokens", "compute.weights", "compute.moments"),
    "load": ("loading the student", "compute.weights", "compute.teacher"),
}
"""By phase what it is called and the settings that help, the best first."""


@contextmanager
def told_if_full(config: Config, phase: Callable[[], str], has_begun: bool = True) -> Iterator[None]:
    """Memory that runs out within the block becomes an OutOfMemoryError that says what `phase()` it was.

    `has_begun` tells whether there is a run to go on with.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _as_told(error, config, phase(), has_begun) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that no memory was left: torch's of a GPU or a processor, Python's, or the system's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _as_told(error: Exception, config: Config, phase: str, has_begun: bool) -> OutOfMemoryError:
    name, *keys = HELP.get(phase, HELP["student"])
    on_gpu = bool(torch.cuda.is_available() and torch.cuda.memory_allocated())
    held = peak_memory_bytes(torch.device("cuda" if on_gpu else "cpu"))
    asked = " ".join(str(error).split())[:160] or type(error).__name__
    values = flatten(config.model_dump(mode="json"))
    if config.lora is not None:  # whose base is held once, and as products are
        keys = [key for key in keys if key not in ("compute.weights", "compute.teacher")]
    leaner = [(key, value) for key in keys if (value := _leaner(key, values.get(key), on_gpu)) is not None][:2]
    free = [f"{key}={value}" for key, value in leaner if key in SIZES]
    other = [f"{key}={value}" for key, value in leaner if key not in SIZES]
    do = []
    if not has_begun:
        do = [f"set {' or '.join([*free, *other])}"] if leaner else []
    else:
        do += [f"`mopd train --resume {config.run} {' '.join(free)}` goes on from its last checkpoint"] if free else []
        do += [f"a new run with {' or '.join(other)} needs less, and can begin with its checkpoint"] if other else []
    return OutOfMemoryError(
        f"memory suffices for {name}",
        f"out of memory in {name}, when at most {held / 2**30:.2f} GiB were held ({asked})",
        "; or ".join(do) or "use a smaller student or a larger machine",
    )


def _leaner(key: str, now: Any, on_gpu: bool) -> Any:
    """A value that needs less memory than the one now; None where there is none."""
    if key in CHOICES:
        kinds = CHOICES[key] if on_gpu else tuple(kind for kind in CHOICES[key] if kind != "offloaded")
        later = kinds[kinds.index(now) + 1 :] if now in kinds else ()
        return later[0] if later else None
    return now // 2 if isinstance(now, int) and now > 1 else None
