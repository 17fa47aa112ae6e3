"""Teacher, optimiser and compute: read by `learning/`, `scoring/` and `models/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mopd.config.engine import Servers
from mopd.config.table import (
    LARGEST,
    LearningRate,
    NonNegativeInt,
    NotTinyFloat,
    PositiveFloat,
    PositiveInt,
    Share,
    Table,
)


class EmaTeacher(Table):
    """Exponential moving average of the student: t <- (1 - rate) t + rate s, once a step that updated."""

    kind: Literal["ema"] = "ema"
    rate: Share = 0.05
    """Weight of the student in one average."""


class FrozenTeacher(Table):
    """The student as it was before step 0."""

    kind: Literal["frozen"] = "frozen"


class SnapshotTeacher(Table):
    """The student as it was at the last refresh. It is refreshed only while the student is sound: its success has not
    fallen, and the 95th percentile of its lengths has not grown by half, since the refresh before."""

    kind: Literal["snapshot"] = "snapshot"
    every: PositiveInt = 10
    """Steps between refreshes, over which success and lengths are averaged."""


class LiveTeacher(Table):
    """The current student itself, without gradient."""

    kind: Literal["live"] = "live"


class ExternalTeacher(Table):
    """Another model with the same token ids, which never moves: on-policy distillation (OPD). A rollout without peers
    is taught from its own prompt; with `peers.successes = 0`, `peers.failures = 0` all are."""

    kind: Literal["external"] = "external"
    model: Annotated[str, Field(min_length=1)]
    """The model: a folder, a .gguf file, or a hub id. Opened in the dtype of the student's matrix products."""


class ServedTeacher(Table):
    """Another model with the same token ids behind vLLM servers, which never moves. It tells its `divergence.k` most
    probable tokens: `divergence.support` must be `teacher_top_k`, unless `divergence.kind` is `sampled_reverse_kl`."""

    kind: Literal["served"] = "served"
    servers: Servers = ("http://127.0.0.1:8100",)
    """Where the servers are, all with the same model. They need no development mode, and get no weights."""
    model: str = ""
    """For `mopd serve`: the model to start them with, a folder or a hub id. Empty: somebody else starts them."""
    timeout_s: PositiveFloat = 600.0
    """Wall time of one request: one context and completion to read, or one completion to write."""
    retries: NonNegativeInt = 8
    """How often a request that a server did not answer is sent again, as `engine.retries`."""


TeacherConfig = Annotated[
    EmaTeacher | FrozenTeacher | SnapshotTeacher | LiveTeacher | ExternalTeacher | ServedTeacher,
    Field(discriminator="kind"),
]


_Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Table):
    """AdamW, its learning rate behind a linear warm-up constant or falling."""

    learning_rate: LearningRate = 1e-5
    """Learning rate after warm-up."""
    warmup_steps: NonNegativeInt = 10
    """Steps over which the learning rate rises linearly to its value."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """What the learning rate does behind its warm-up: stay, or fall to 0 by the end of the run. A run that is prolonged
    falls by its new length."""
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST)] = 0.01
    """Decoupled weight decay: each update takes learning_rate x weight_decay of every weight. Norms and biases decay
    too, which transformers' Trainer leaves out: one update of the default takes a ten-millionth. 0 for none."""
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    """Decay of AdamW's first and second moments, below 1."""
    clip_norm: NotTinyFloat = 1.0
    """Gradients are scaled down to this global norm."""
    fall_share: Share = 0.5
    """An update is shortened where the loss would fall by more than this share of itself, to first order (Polyak's
    step: a divergence has nothing to fall below 0). The learning rate is then an upper bound. 0 for no such bound.
    GRPO, whose loss has no lower bound, has `drift_nats` alone."""
    drift_nats: Annotated[float, Field(ge=0, le=LARGEST)] = 0.01
    """An update is shortened until the student has drifted by no more than this, mean KL(old || new) at an eighth of
    its lessons; 0 for no such bound. Sound updates drift by .0001 to .01."""
    updates_per_step: PositiveInt = 1
    """Updates on the lessons of one step; after the first, tokens are weighted by current over first probability."""
    minibatches: PositiveInt = 1
    """Parts of a step's lessons, by whole groups, each with an update of its own; never more than there are groups."""
    importance_cap: Annotated[float, Field(ge=1, le=LARGEST)] = 2.0
    """Upper bound of every importance weight (sampler against learner, and reused batches)."""


class ComputeConfig(Table):
    """Device, threads, sizes that change speed and memory but no result, and what weights are kept in."""

    device: str = "auto"
    """Device of student and teacher: `auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; all else stays float32. `auto`: bfloat16 where the processor is fast at it and the student
    has at least 20 million parameters."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of torch, at most 1024, since the system ends a process with far more; unset: torch's choice. Exact
    resume holds for 1."""
    microbatch_tokens: PositiveInt = 512
    """Tokens of the student scored at once, shared prefixes counted once; the teacher reads four times as many. A
    longer sequence is scored alone, and its layers are computed again in the backward pass instead of kept. Changes
    speed and memory, never the objective."""
    compile: bool = False
    """Compile decoder layers with torch.compile for scoring and update (a C++ compiler is needed on a CPU). Takes tens
    of seconds once; `time/compile_s` counts them."""
    sampling_rows: PositiveInt = 512
    """Rollouts sampled at once."""
    weights: Literal["float32", "bfloat16", "offloaded"] = "float32"
    """Of the student. `bfloat16`: weights and their gradients take 2 bytes each, updates are rounded stochastically,
    and the student is sampled from without a copy. `offloaded`: the device holds the same, float32 masters and AdamW's
    moments are in main memory, and the processor updates them. Both need products in bfloat16."""
    moments: Literal["float32", "8bit"] = "float32"
    """AdamW's two moments, 4 bytes each, or one (`pip install "mopd[lean]"`): each number one of 256, times a scale
    that 256 of them share. Slow on a CPU: two thirds of a microsecond a parameter."""
    teacher: Literal["float32", "bfloat16", "offloaded"] = "float32"
    """Of a teacher with weights of its own. `bfloat16`: 2 bytes; a moving average is rounded stochastically, and needs
    products in bfloat16. `offloaded`: float32 in main memory, copied to the device while it reads."""
