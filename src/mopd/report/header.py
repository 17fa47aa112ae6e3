"""What a run says of itself at once: its student and problems, the work before it, and the memory it needs at least."""

from __future__ import annotations

from mopd.config import Config
from mopd.models.devices import device_name
from mopd.models.student import Student
from mopd.problems import ProblemSet


def header_lines(
    config: Config, student: Student, problems: ProblemSet, run: str, external: Student | None = None
) -> list[str]:
    """Lines for a person, before the first step; `external` is the run's external teacher."""
    count, products = _parameter_count(student), str(student.dtype).removeprefix("torch.")
    device = next(student.model.parameters()).device
    rollouts = config.steps * config.problems_per_step * config.group_size
    held, teacher = count * bytes_per_parameter(config, products), []
    if external is not None and config.external_teacher is not None:
        held += sum(parameter.nbytes for parameter in external.model.parameters())
        teacher = [
            f"teacher   {config.external_teacher.model}: {_many(_parameter_count(external))} parameters, external"
        ]
    return [
        f"student   {config.student}: {_many(count)} parameters, {products} products, on {device_name(device)}",
        *teacher,
        f"problems  {len(problems.train):,} to train on, {len(problems.held_out):,} held out",
        f"work      {config.objective.kind}: {config.steps} steps x {config.problems_per_step} problems x "
        f"{config.group_size} rollouts = {rollouts:,} rollouts of at most {config.sampling.completion_tokens} tokens",
        f"memory    at least {_size(held)} for weights and what learns them; activations and caches come on top",
        f"run       {run}/",
    ]


def _parameter_count(student: Student) -> int:
    return sum(parameter.numel() for parameter in student.model.parameters())


def bytes_per_parameter(config: Config, products: str) -> int:
    """Float32 weights, their gradients, AdamW's two moments, and where there are any: the weights of a teacher of the
    student's own, the weights before an update (for its bounds), and the copy that is sampled with (bfloat16)."""
    has_teacher = config.objective.kind == "distill" and config.teacher.kind not in ("live", "external")
    is_bounded = bool(config.optimizer.fall_share or config.optimizer.drift_nats)
    return 16 + 4 * has_teacher + 4 * is_bounded + 2 * (products == "bfloat16")


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _many(count: int) -> str:
    """ "134.5 M", "1.5 B"."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return str(count)
