"""What a run says of itself at once: its student and problems, the work before it, and the memory it needs at least."""

from __future__ import annotations

from mopd.config import Config
from mopd.core.errors import StudentError
from mopd.estimating.estimate import products_of
from mopd.estimating.fitting import expected_bytes, size
from mopd.estimating.plan import plan_of
from mopd.estimating.sizes import empty_model, shapes_of
from mopd.models.devices import BFLOAT16_PAYS_PARAMETERS, device_name
from mopd.models.student import Student
from mopd.preflight.setup import Setup
from mopd.problems import ProblemSet


def header_lines(setup: Setup, run: str, process: int) -> list[str]:
    """Lines for a person, before the first step.

    `process` are the bytes that this process held without a student. Where several share the run, memory is told of
    one.
    """
    config, student, problems, devices = setup.config, setup.student, setup.problems, setup.ranks.size
    count, products = _parameter_count(student), products_of(student.dtype)
    device = next(student.model.parameters()).device
    rollouts = config.steps * config.problems_per_step * config.group_size
    teacher = []
    if setup.external is not None and config.external_teacher is not None:
        many = _many(_parameter_count(setup.external))
        teacher = [f"teacher   {config.external_teacher.model}: {many} parameters, external"]
    if config.served_teacher is not None:
        teacher = [f"teacher   served at {', '.join(config.served_teacher.servers)}"]
    engine = [] if config.engine.kind == "local" else [f"engine    vLLM at {', '.join(config.engine.servers)}"]
    return [
        f"student   {config.student}: {_many(count)} parameters, {products} products, on {device_name(device)}"
        + (f", in {devices} processes ({config.parallel.strategy})" if devices > 1 else ""),
        *teacher,
        *engine,
        *_adapter_lines(config, student),
        f"problems  {len(problems.train):,} to train on, {len(problems.held_out):,} held out",
        f"work      {config.objective.kind}: {config.steps} steps x {config.problems_per_step} problems x "
        f"{config.group_size} rollouts = {rollouts:,} rollouts of at most {config.sampling.completion_tokens} tokens",
        f"memory    {_memory(config, student, problems, process, devices)}",
        f"run       {run}/",
    ]


def _parameter_count(student: Student) -> int:
    return sum(parameter.numel() for parameter in student.model.parameters())


def _adapter_lines(config: Config, student: Student) -> list[str]:
    """What is trained, where that is not simply the student's weights."""
    if student.merged:
        return [f"adapter   {student.merged}: merged into its base; all weights are trained, since there is no [lora]"]
    if student.base is None or config.lora is None:
        return []
    trained = sum(parameter.numel() for parameter in student.model.parameters() if parameter.requires_grad)
    return [f"adapter   {_many(trained)} parameters of rank {config.lora.rank} are trained, all others are frozen"]


def _memory(config: Config, student: Student, problems: ProblemSet, process: int, devices: int) -> str:
    """What a step is expected to hold. Of a small model that is the process itself, and tracing takes seconds."""
    try:
        shapes = shapes_of(empty_model(student.model.config))
        kept = sum(part.bytes for part in plan_of(config, shapes, products_of(student.dtype), devices))
    except StudentError as error:  # a model that cannot be built without weights may still train
        return f"unknown: {error.got}"
    weights = f"{size(kept)} of it weights and what learns them"
    if shapes.count < BFLOAT16_PAYS_PARAMETERS:
        return f"about {size(kept + process)} and activations expected, {weights}"
    try:
        most = expected_bytes(config, student, problems, process, devices)
    except Exception as error:  # a model that cannot be traced may still train
        return f"at least {size(kept)} for weights and what learns them; activations could not be traced ({error})"
    return f"about {size(most)} expected at most, {weights}"


def _many(count: int) -> str:
    """ "134.5 M", "1.5 B"."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return str(count)
