"""The configuration as a whole, and what must agree between its tables."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from mopd.config.engine import EngineConfig, LocalEngineConfig
from mopd.config.evaluation import EvaluationConfig, PreflightConfig
from mopd.config.judging import RewardsConfig, SandboxConfig, VerificationConfig
from mopd.config.learning import (
    ComputeConfig,
    EmaTeacher,
    ExternalTeacher,
    OptimizerConfig,
    ServedTeacher,
    TeacherConfig,
)
from mopd.config.lora import LoraConfig
from mopd.config.method import (
    ContextConfig,
    ContrastConfig,
    DistillObjective,
    DivergenceConfig,
    LessonsConfig,
    ObjectiveConfig,
    PeersConfig,
)
from mopd.config.problems import ProblemsConfig
from mopd.config.rollouts import ChatConfig, Sampling
from mopd.config.runs import AlarmsConfig, CheckpointConfig, ParallelConfig, TrackerConfig
from mopd.config.table import LARGEST, PositiveInt, Seed, Table
from mopd.config.warmup import WarmupConfig
from mopd.core.errors import ConfigError


class Config(Table):
    """A run. Every key has a default but those of a warm-up, so an empty file is a configuration."""

    student: str = "builtin:digits"
    """The model that learns: `builtin:digits`, `builtin:letters`, a folder, a .gguf file, or a hub id."""
    run: str = "runs/mopd"
    """The run's directory. `mopd train NAME.toml` sets it to `runs/NAME` unless told."""
    seed: Seed = 0
    """Seed of everything random in the run."""
    steps: PositiveInt = 30
    """Steps: sample, verify, teach, update."""
    group_size: Annotated[int, Field(ge=2, le=2**16)] = 8
    """Rollouts of one problem in one step (G)."""
    problems_per_step: PositiveInt = 8
    """Problems in one step."""
    success_reward: Annotated[float, Field(ge=-LARGEST, le=LARGEST)] = 1.0
    """A rollout is a success when its reward is at least this."""
    problems: ProblemsConfig = ProblemsConfig()
    warmup: WarmupConfig | None = None
    chat: ChatConfig = ChatConfig()
    sampling: Sampling = Sampling()
    engine: EngineConfig = LocalEngineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    preflight: PreflightConfig = PreflightConfig()
    peers: PeersConfig = PeersConfig()
    context: ContextConfig = ContextConfig()
    lessons: LessonsConfig = LessonsConfig()
    teacher: TeacherConfig = EmaTeacher()
    objective: ObjectiveConfig = DistillObjective()
    divergence: DivergenceConfig = DivergenceConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    lora: LoraConfig | None = None
    compute: ComputeConfig = ComputeConfig()
    verification: VerificationConfig = VerificationConfig()
    sandbox: SandboxConfig = SandboxConfig()
    rewards: RewardsConfig = RewardsConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    tracker: TrackerConfig = TrackerConfig()
    parallel: ParallelConfig = ParallelConfig()

    @property
    def evaluation_sampling(self) -> Sampling:
        """The run's own sampling, but for what `[evaluation]` says."""
        own, asked = self.sampling, self.evaluation
        return own.model_copy(
            update={"temperature": asked.temperature or own.temperature, "top_p": asked.top_p or own.top_p}
        )

    @property
    def external_teacher(self) -> ExternalTeacher | None:
        """The external teacher, where the objective has one."""
        is_taught = self.objective.kind == "distill"
        return self.teacher if is_taught and isinstance(self.teacher, ExternalTeacher) else None

    @property
    def served_teacher(self) -> ServedTeacher | None:
        """The served teacher, where the objective has one."""
        is_taught = self.objective.kind == "distill"
        return self.teacher if is_taught and isinstance(self.teacher, ServedTeacher) else None

    @property
    def is_taught_by_another(self) -> bool:
        """Whether the teacher is another model than the student, in this process or served."""
        return self.external_teacher is not None or self.served_teacher is not None

    @property
    def contrast(self) -> ContrastConfig | None:
        """The contrast of teachers, where the objective has one."""
        return self.objective.contrast if self.objective.kind == "distill" else None

    @property
    def grpo_share(self) -> float:
        """GRPO's share of an objective that distils: `objective.grpo_weight`, or what is in force where it is unset."""
        if self.objective.kind != "distill":
            return 0.0
        if self.objective.grpo_weight is not None:
            return self.objective.grpo_weight
        is_toward_a_target = self.contrast is not None and self.contrast.form == "target"
        return 0.5 if is_toward_a_target and self.warmup is None else 0.0

    @model_validator(mode="before")
    @classmethod
    def _unsaid_kinds(cls, values: Any) -> Any:
        """A table without its `kind` is of the default kind; of a warm-up, which has none, of the kind it must be."""
        if not isinstance(values, Mapping):
            return values
        found = dict(values)
        for name in ("engine", "teacher", "objective", "warmup"):
            table = values.get(name)
            if isinstance(table, Mapping) and "kind" not in table:
                default = cls.model_fields[name].default
                found[name] = {"kind": _warmup_kind(table) if default is None else default.kind, **table}
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        wanted = self.peers.successes + self.peers.failures
        if self.objective.kind == "distill" and wanted > self.group_size - 1:
            raise ValueError(
                f"peers.successes + peers.failures must be at most group_size - 1 = {self.group_size - 1}, "
                f"since a rollout is never its own peer; they ask for {wanted}"
            )
        if self.peers.require_success and self.peers.successes == 0 and self.objective.kind == "distill":
            raise ValueError("peers.require_success needs peers.successes of at least 1, but it is 0")
        if self.objective.kind == "distill" and wanted == 0 and not self._teaches_without_peers:
            raise ValueError(
                "a teacher of the student's own weights that reads neither peers nor feedback has nothing to teach: "
                "peers.successes or peers.failures must be at least 1, or teacher.kind external or served"
            )
        self._check_contrast()
        self._check_adapter()
        self._check_engine()
        self._check_served_teacher()
        self._check_fall_back()
        is_measured = self.objective.kind == "distill" and self.peers.recipe != "fixed"
        if is_measured and self.preflight.action == "off":
            raise ValueError(
                f"peers.recipe = {self.peers.recipe} is measured by the preflight, but preflight.action is off; "
                "set peers.successes and peers.failures"
            )
        if self.objective.kind == "sft" and self.lessons.rollouts == "failures":
            raise ValueError("objective.kind = sft learns from successes, but lessons.rollouts is failures")
        if self.peers.control == "unrelated_problem" and self.problems_per_step < 2:
            raise ValueError("peers.control = unrelated_problem needs problems_per_step of at least 2, but it is 1")
        if self.divergence.kind == "sampled_reverse_kl" and self.sampling.top_p < 1:
            raise ValueError("sampled_reverse_kl estimates from unfiltered samples and needs sampling.top_p = 1")
        return self

    def _check_fall_back(self) -> None:
        """An alarm compares up to four newest steps: a checkpoint from before them is kept."""
        behind = (self.checkpoint.keep - 1) * self.checkpoint.every
        if self.alarms.action == "fall_back" and behind < 4:
            raise ValueError(
                "alarms.action = fall_back goes back four steps or more, but (checkpoint.keep - 1) * checkpoint.every "
                f"= {behind}: raise checkpoint.keep or checkpoint.every"
            )

    def _check_adapter(self) -> None:
        """An adapter's base is held once, in the dtype of products; what is trained is small."""
        kept = [
            f"compute.{key} = '{how}'"
            for key in ("weights", "teacher")
            if (how := getattr(self.compute, key)) != "float32"
        ]
        if self.lora is not None and kept:
            raise ValueError(
                f"{' and '.join(kept)} with [lora], whose frozen weights are held in the dtype of products, once for "
                "student and teacher; leave them at 'float32', which is that of the few weights that are trained"
            )

    def _check_engine(self) -> None:
        """What vLLM samples and says is what the learner takes it for."""
        if self.engine.kind != "vllm":
            return
        if self.student.startswith("builtin:"):
            raise ValueError(f"engine.kind = vllm serves pretrained students, but student is {self.student}")
        if self.sampling.top_p < 1:
            raise ValueError(
                "engine.kind = vllm needs sampling.top_p = 1, since servers tell log-probabilities behind top-p alone, "
                "and importance weights compare those before it; evaluation.top_p may be lower"
            )
        if (least := min(self.sampling.temperature, self.evaluation_sampling.temperature)) < 0.01:
            raise ValueError(f"vLLM raises temperatures below 0.01 to that; a temperature of the run is {least}")

    def _check_served_teacher(self) -> None:
        """A served teacher tells the log-probabilities of its k most probable tokens and of the text's own, at
        temperature 1."""
        if self.served_teacher is None:
            return
        is_sampled = self.divergence.kind == "sampled_reverse_kl"
        if not is_sampled and self.divergence.support != "teacher_top_k":
            raise ValueError(
                "teacher.kind = served tells its own most probable tokens alone: divergence.support must be "
                f"teacher_top_k, but is {self.divergence.support}"
            )
        if self.sampling.temperature != 1 and (is_sampled or self.divergence.tail):
            raise ValueError(
                "teacher.kind = served tells log-probabilities at temperature 1, and what lies in the tail at another "
                "cannot be known: set sampling.temperature = 1, or divergence.tail = false, which is exact at any"
            )
        if self.contrast is not None:
            raise ValueError("objective.contrast needs whole distributions, which teacher.kind = served does not tell")

    @property
    def _teaches_without_peers(self) -> bool:
        return self.is_taught_by_another or self.context.feedback != "never"

    def _check_contrast(self) -> None:
        if self.contrast is None:
            return
        if (self.peers.successes, self.peers.failures) != (1, 1) or not self.peers.require_success:
            raise ValueError(
                "objective.contrast shows one peer to each teacher: peers.successes = 1, peers.failures = 1, "
                "peers.require_success = true"
            )
        if self.contrast.form == "advantage":
            if self.grpo_share:
                raise ValueError("objective.contrast.form = advantage is GRPO already: objective.grpo_weight must be 0")
            return
        if self.divergence.kind in ("reverse_kl", "sampled_reverse_kl"):
            raise ValueError(
                "objective.contrast gives most tokens no probability at all, where reverse KL is infinite: "
                "divergence.kind must be jensen_shannon or forward_kl"
            )


def _warmup_kind(table: Mapping[str, Any]) -> str:
    """The one kind that has all keys of the table. Raises ConfigError where none or both have."""
    tables: tuple[type[Table], ...] = typing.get_args(typing.get_args(WarmupConfig)[0])
    known = {key for of_kind in tables for key in of_kind.model_fields}
    given = table.keys() & known
    kinds = [of_kind.model_fields["kind"].default for of_kind in tables if given <= of_kind.model_fields.keys()]
    if len(kinds) == 1:
        return str(kinds[0])
    if table.keys() - known:  # whatever the kind, that key is what is at fault
        return str(tables[0].model_fields["kind"].default)
    raise ConfigError(
        "a warm-up says its kind, or has keys that one kind alone has",
        f"{', '.join(f'warmup.{key}' for key in sorted(given)) or 'no key'}, "
        f"which {'both kinds have' if kinds else 'no kind has together'}",
        "set warmup.kind = 'demonstrator' (for builtin students) or 'solutions' (for pretrained ones)",
    )
