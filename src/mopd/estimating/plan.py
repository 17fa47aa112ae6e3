"""The rules of bytes a parameter: what a run keeps of a model, in which numbers, where, and when.

One place: a new way of keeping weights is a value of `Keeping` and a line of a rule here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from mopd.config import Config, LoraConfig
from mopd.estimating.sizes import Shapes, architecture_of, empty_model, shapes_of
from mopd.learning.lean import BLOCK, SMALLEST
from mopd.models.adapters import is_named

Phase = Literal["sample", "teacher", "first microbatch", "other microbatches", "update", "measure"]
PHASES: tuple[Phase, ...] = ("sample", "teacher", "first microbatch", "other microbatches", "update", "measure")
"""The phases of a step that differ in what lies in memory. The largest microbatch comes first, when there are no
gradients yet; `measure` reads a few lessons again behind an update, when there are none any more."""

ALWAYS = frozenset(PHASES)


@dataclass(frozen=True)
class Part:
    """What takes memory under one name: bytes on the device, in main memory beside it, and in which phases.

    `is_certain`: it follows from shapes and settings alone; no length and no allocator changes it.
    """

    name: str
    bytes: int
    phases: frozenset[Phase] = ALWAYS
    host_bytes: int = 0
    is_certain: bool = False


@dataclass(frozen=True)
class Keeping:
    """In which numbers a run keeps its models. `products` are those of matrix products.

    `teacher` is None where there are no weights of a teacher's own (a live one, an adapter switched off, no
    distillation). `samples_here`: the engine is in this process. `adapter` has the numbers of each tensor of an
    adapter, where that alone is trained. `external` are the parameters of another model that teaches. `shards` are the
    devices that share what learns (`fsdp`).
    """

    products: Literal["float32", "bfloat16"] = "float32"
    weights: Literal["float32", "bfloat16", "offloaded"] = "float32"
    moments: Literal["float32", "8bit"] = "float32"
    teacher: Literal["float32", "bfloat16", "offloaded"] | None = "float32"
    is_bounded: bool = True
    samples_here: bool = True
    adapter: tuple[int, ...] | None = None
    external: int = 0
    shards: int = 1

    @property
    def product_bytes(self) -> int:
        """Bytes of a number in the dtype of products."""
        return 2 if self.products == "bfloat16" else 4


def keeping_of(config: Config, shapes: Shapes, products: str, devices: int = 1) -> Keeping:
    """What a configuration says of `Keeping`: the one place that reads its keys."""
    distills, teacher, compute = config.objective.kind == "distill", config.teacher, config.compute
    return Keeping(
        products="bfloat16" if products == "bfloat16" else "float32",
        weights=compute.weights,
        moments=compute.moments,
        teacher=compute.teacher if distills and teacher.kind not in ("live", "external", "served") else None,
        is_bounded=bool(config.optimizer.fall_share or config.optimizer.drift_nats),
        samples_here=config.engine.kind == "local",
        adapter=None if config.lora is None else adapter_numbers(adapted(shapes, config.lora), config.lora.rank),
        external=_shapes_of_model(config.external_teacher.model).count if config.external_teacher else 0,
        shards=devices if config.parallel.strategy == "fsdp" else 1,
    )


def adapted(shapes: Shapes, lora: LoraConfig) -> list[tuple[int, int]]:
    """The matrices [out, in] that an adapter changes."""
    return [
        (rows, columns)
        for name, rows, columns in shapes.matrices
        if isinstance(lora.targets, str) or is_named(name, lora.targets)
    ]


KERNELS = 350 * 2**20
"""Bytes that products in bfloat16 take on a CPU beside their results: kernels that oneDNN makes for each shape, and
holes that they and converted weights leave between what is kept. Measured on five settings, 297 to 520 MiB; about a
quarter is oneDNN's cache of kernels."""


def process_parts(process: int, products: str, is_gpu: bool) -> list[Part]:
    """What a process takes on its device whatever it trains: `process` bytes, and what its products need."""
    kernels = KERNELS if products == "bfloat16" and not is_gpu else 0
    parts = [Part("the process itself", process), Part("kernels of products in bfloat16", kernels)]
    return [part for part in parts if part.bytes]


def teacher_shapes(config: Config, student: Shapes) -> Shapes | None:
    """Of what reads contexts on this device: the student's own, those of an external teacher, or None, where servers
    read them or nobody does. Raises StudentError where an external teacher has no configuration."""
    if config.objective.kind != "distill" or config.served_teacher is not None:
        return None
    return _shapes_of_model(config.external_teacher.model) if config.external_teacher else student


@cache
def _shapes_of_model(model: str) -> Shapes:
    return shapes_of(empty_model(architecture_of(model)))


def plan_of(config: Config, shapes: Shapes, products: str, devices: int = 1) -> list[Part]:
    """What a run of `config` keeps of its models on each of some devices: parts that are certain."""
    return kept_parts(shapes, keeping_of(config, shapes, products, devices))


def kept_parts(shapes: Shapes, keeping: Keeping) -> list[Part]:
    """The parts of `keeping`, those without bytes left out."""
    trained = keeping.adapter or _of_one_device(shapes, keeping)
    count, moments = sum(trained), moment_bytes(trained, keeping.moments)
    is_offloaded = keeping.weights == "offloaded"
    weight = 4 if keeping.weights == "float32" else 2
    base = 0 if keeping.adapter is None else shapes.count * keeping.product_bytes
    learning: frozenset[Phase] = frozenset({"other microbatches", "update"})
    parts = [
        Part("base weights", base),
        Part("weights", weight * count, host_bytes=4 * count * is_offloaded),
        Part("gradients", weight * count, learning),
        Part("optimiser's moments", moments * (not is_offloaded), host_bytes=moments * is_offloaded),
        *_teacher(shapes, keeping),
        Part("another model that teaches", keeping.external * keeping.product_bytes),
        _before(count, weight, is_offloaded, keeping),
        Part("engine's copy", _engines_copy(shapes, keeping)),
        *_gathered(shapes, keeping),
    ]
    return [Part(p.name, p.bytes, p.phases, p.host_bytes, True) for p in parts if p.bytes or p.host_bytes]


def _of_one_device(shapes: Shapes, keeping: Keeping) -> tuple[int, ...]:
    """The numbers of each tensor of the student that a device holds: its share of every layer, and all that is around
    the layers."""
    if keeping.shards == 1:
        return shapes.parameters
    layers = sum(shapes.by_layer)
    return (*(-(-numbers // keeping.shards) for numbers in shapes.by_layer), shapes.count - layers)


def _engines_copy(shapes: Shapes, keeping: Keeping) -> int:
    """Whole, in the dtype of products, where the student's own weights are not: rounded from them, or gathered."""
    if not keeping.samples_here:
        return 0
    if keeping.shards > 1:
        return shapes.count * keeping.product_bytes
    is_rounded = keeping.weights == "float32" and keeping.products == "bfloat16"
    return 2 * shapes.count if is_rounded and keeping.adapter is None else 0


def _gathered(shapes: Shapes, keeping: Keeping) -> list[Part]:
    """Of shards: layers that are whole while they are computed, the one at hand and the one that is fetched meanwhile,
    and the gradient of the former."""
    if keeping.shards == 1:
        return []
    reading: frozenset[Phase] = frozenset({"teacher", "first microbatch", "other microbatches", "measure"})
    learning: frozenset[Phase] = frozenset({"first microbatch", "other microbatches"})
    largest = max(shapes.by_layer)
    return [
        Part("gathered weights", 4 * 2 * largest, reading),
        Part("gathered gradients", 4 * largest, learning),
    ]


def _before(count: int, weight: int, is_offloaded: bool, keeping: Keeping) -> Part:
    """The weights before an update, for its bounds; where masters are offloaded they lie beside those."""
    size = count * keeping.is_bounded
    on_device, on_host = (0, 4 * size) if is_offloaded else (weight * size, 0)
    return Part("weights before an update", on_device, frozenset({"update", "measure"}), on_host)


def _teacher(shapes: Shapes, keeping: Keeping) -> list[Part]:
    """A teacher's own weights, of the adapter alone where one is trained. An offloaded one is copied to the device, in
    the dtype of products, while it reads; of that copy the output embedding stays until the update."""
    count = sum(keeping.adapter or _of_one_device(shapes, keeping))
    if keeping.teacher == "offloaded":
        each = keeping.product_bytes
        learning: frozenset[Phase] = frozenset({"first microbatch", "other microbatches"})
        return [
            Part("teacher", each * count, frozenset({"teacher"}), 4 * count),
            Part("teacher's output embedding", each * shapes.head_weights, learning),
        ]
    return [Part("teacher", {"float32": 4, "bfloat16": 2, None: 0}[keeping.teacher] * count)]


def moment_bytes(parameters: Sequence[int], kind: str) -> int:
    """AdamW's two moments. In 8 bits each block of `BLOCK` numbers has a float32 scale for each moment."""
    if kind == "float32":
        return 8 * sum(parameters)
    blocked = sum(size for size in parameters if size >= SMALLEST and size % BLOCK == 0)
    return 2 * blocked + 8 * (blocked // BLOCK) + 8 * (sum(parameters) - blocked)


def adapter_numbers(matrices: Sequence[tuple[int, int]], rank: int) -> tuple[int, ...]:
    """Numbers of an adapter's tensors: for each matrix [out, in] one of [rank, in] and one of [out, rank] (LoRA)."""
    return tuple(rank * side for rows, columns in matrices for side in (columns, rows))
