"""Before a run loads anything: whether it clearly cannot fit; and what its header says of memory."""

from __future__ import annotations

from typing import Any

from mopd.config import Config
from mopd.core.errors import ConfigError, StudentError
from mopd.estimating.devices import memory_of
from mopd.estimating.estimate import own_share, products_of
from mopd.estimating.layout import layout_of
from mopd.estimating.memory import Traced, peak, teacher_of, varying_parts
from mopd.estimating.plan import plan_of, process_parts
from mopd.estimating.sizes import architecture_of, empty_model, shapes_of
from mopd.estimating.tracing import StandIn
from mopd.models.devices import held_memory_bytes, resolve_device, resolve_dtype
from mopd.models.student import Student
from mopd.problems import ProblemSet


def check_fits(config: Config, given: tuple[Any, Any] | None = None, devices: int = 1) -> None:
    """Refuse a run whose weights and what learns them are larger than all memory of its device, in use or not.

    `given` are a model and its tokenizer that were passed in Python; `devices` how many share the run. Nothing that
    depends on lengths is counted. Raises ConfigError.
    """
    architecture = None if given is None else getattr(given[0], "config", None)
    device = resolve_device(config.compute.device)
    try:
        empty = empty_model(architecture or architecture_of(config.student))
        products = products_of(resolve_dtype(config.compute.dtype, device, empty))
        parts = plan_of(config, shapes_of(empty), products, devices)
    except StudentError:  # whether student and teacher can be opened is told when they are
        return
    needed, (memory, _) = sum(part.bytes for part in parts), memory_of(device)
    if needed > memory:
        listed = ", ".join(f"{part.name} {size(part.bytes)}" for part in parts)
        raise ConfigError(
            f"weights and what learns them fit the memory of {device}, {size(memory)}",
            f"{size(needed)} at least: {listed}",
            "take a smaller model or another device (`mopd estimate CONFIG.toml` names the smallest card and what "
            "helps); --force tries anyway",
        )


def expected_bytes(config: Config, student: Student, problems: ProblemSet, process: int, devices: int = 1) -> int:
    """The most bytes that a step is expected to hold on a device: worst lengths, and the process itself on a CPU."""
    config = own_share(config, devices)
    model = empty_model(student.model.config)
    shapes, products = shapes_of(model), products_of(student.dtype)
    layout = layout_of(config, student, problems, is_worst=True)
    is_gpu = next(student.model.parameters()).is_cuda
    traced = Traced(shapes, StandIn.of(config, model, student.dtype, is_gpu))
    varying = varying_parts(config, layout, traced, teacher_of(config, traced))
    parts = [*plan_of(config, shapes, products, devices), *varying]
    return peak([*parts, *process_parts(0 if is_gpu else process, products, is_gpu)])[1]


def process_bytes(student: Student) -> int:
    """What this process holds besides the student's weights."""
    weights = sum(parameter.nbytes for parameter in student.model.parameters() if parameter.device.type == "cpu")
    return int(max(0, held_memory_bytes() - weights))


def size(count: int) -> str:
    """ "1.5 GiB", "320 MiB"."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
