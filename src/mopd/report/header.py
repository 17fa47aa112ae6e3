"""What a run says of itself at once: its student and problems, the work before it, and the memory it needs at least."""

from __future__ import annotations

from mopd.config import Config
from mopd.estimating.estimate import products_of
from mopd.estimating.fitting import expected_bytes, size
from mopd.estimating.plan import plan_of
from mopd.estimating.sizes import shapes_of
from mopd.models.devices import BFLOAT16_PAYS_PARAMETERS, device_name
from mopd.models.student import Student
from mopd.problems import ProblemSet


def header_lines(config: Config, student: Student, problems: ProblemSet, run: str, process: int) -> list[str]:
    """Lines for a person, before the first step. `process` are the bytes that this process held without a student."""
    count = sum(parameter.numel() for parameter in student.model.parameters())
    device = next(student.model.parameters()).device
    products = products_of(student.dtype)
    rollouts = config.steps * config.problems_per_step * config.group_size
    return [
        f"student   {config.student}: {_many(count)} parameters, {products} products, on {device_name(device)}",
        f"problems  {len(problems.train):,} to train on, {len(problems.held_out):,} held out",
        f"work      {config.objective.kind}: {config.steps} steps x {config.problems_per_step} problems x "
        f"{config.group_size} rollouts = {rollouts:,} rollouts of at most {config.sampling.completion_tokens} tokens",
        f"memory    {_memory(config, student, problems, process)}",
        f"run       {run}/",
    ]


def _memory(config: Config, student: Student, problems: ProblemSet, process: int) -> str:
    """What a step is expected to hold. Of a small model that is the process itself, and tracing takes seconds."""
    kept = sum(part.bytes for part in plan_of(config, shapes_of(student.model), products_of(student.dtype)))
    weights = f"{size(kept)} of it weights and what learns them"
    if sum(parameter.numel() for parameter in student.model.parameters()) < BFLOAT16_PAYS_PARAMETERS:
        return f"about {size(kept + process)} and activations expected, {weights}"
    try:
        most = expected_bytes(config, student, problems, process)
    except Exception as error:  # a model that cannot be traced may still train
        return f"at least {size(kept)} for weights and what learns them; activations could not be traced ({error})"
    return f"about {size(most)} expected at most, {weights}"


def _many(count: int) -> str:
    """ "134.5 M", "1.5 B"."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return str(count)
