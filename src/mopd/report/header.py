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
    trained = sum(parameter.numel() for parameter in student.model.parameters() if parameter.requires_grad)
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
        *_adapter_lines(config, student, trained),
        f"problems  {len(problems.train):,} to train on, {len(problems.held_out):,} held out",
        f"work      {config.objective.kind}: {config.steps} steps x {config.problems_per_step} problems x "
        f"{config.group_size} rollouts = {rollouts:,} rollouts of at most {config.sampling.completion_tokens} tokens",
        f"memory    at least {_size(held)} for weights and what learns them; activations and caches come on top",
        f"run       {run}/",
    ]


def _parameter_count(student: Student) -> int:
    return sum(parameter.numel() for parameter in student.model.parameters())


def _adapter_lines(config: Config, student: Student, trained: int) -> list[str]:
    """What is trained, where that is not simply the student's weights."""
    if student.merged:
        return [f"adapter   {student.merged}: merged into its base; all weights are trained, since there is no [lora]"]
    if student.base is None or config.lora is None:
        return []
    return [f"adapter   {_many(trained)} parameters of rank {config.lora.rank} are trained, all others are frozen"]


def bytes_per_parameter(config: Config, products: str) -> int:
    """Of a trained parameter: weights, their gradients, AdamW's two moments, and where there are any: the teacher's
    weights, the weights before an update (for its bounds), and the copy that is sampled with. In main memory too, of
    what is offloaded."""
    compute, size = config.compute, {"float32": 4, "bfloat16": 2, "offloaded": 4}
    weights = size[compute.weights]
    gradients, masters = 2 if compute.weights != "float32" else 4, 2 * (compute.weights == "offloaded")
    moments = 2 if compute.moments == "8bit" else 8
    has_teacher = config.objective.kind == "distill" and config.teacher.kind not in ("live", "external")
    is_bounded = bool(config.optimizer.fall_share or config.optimizer.drift_nats)
    copy = 2 * (products == "bfloat16" and compute.weights == "float32")
    kept = weights + masters + gradients + moments + copy
    return kept + size[compute.teacher] * has_teacher + weights * is_bounded


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _many(count: int) -> str:
    """ "134.5 M", "1.5 B"."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return str(count)
