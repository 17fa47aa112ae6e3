"""The configuration as a whole, and what must agree between its tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from mopd.config.evaluation import EvaluationConfig
from mopd.config.judging import RewardsConfig, SandboxConfig, VerificationConfig
from mopd.config.learning import ComputeConfig, EmaTeacher, OptimizerConfig, TeacherConfig
from mopd.config.method import ContextConfig, DistillObjective, DivergenceConfig, ObjectiveConfig, PeersConfig
from mopd.config.problems import ProblemsConfig
from mopd.config.rollouts import ChatConfig, Sampling
from mopd.config.runs import CheckpointConfig, TrackerConfig
from mopd.config.table import NonNegativeInt, PositiveInt, Table
from mopd.config.warmup import WarmupConfig


class Config(Table):
    """A run. Every key has a default but those of a warm-up, so an empty file is a configuration."""

    student: str = "builtin:digits"
    """The model that learns: `builtin:digits`, `builtin:letters`, a folder, a .gguf file, or a hub id."""
    run: str = "runs/mopd"
    """The run's directory. `mopd train NAME.toml` sets it to `runs/NAME` unless told."""
    seed: NonNegativeInt = 0
    """Seed of everything random in the run."""
    steps: PositiveInt = 30
    """Steps: sample, verify, teach, update."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """Rollouts of one problem in one step (G)."""
    problems_per_step: PositiveInt = 8
    """Problems in one step."""
    success_reward: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """A rollout is a success when its reward is at least this."""
    problems: ProblemsConfig = ProblemsConfig()
    warmup: WarmupConfig | None = None
    chat: ChatConfig = ChatConfig()
    sampling: Sampling = Sampling()
    evaluation: EvaluationConfig = EvaluationConfig()
    peers: PeersConfig = PeersConfig()
    context: ContextConfig = ContextConfig()
    teacher: TeacherConfig = EmaTeacher()
    objective: ObjectiveConfig = DistillObjective()
    divergence: DivergenceConfig = DivergenceConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    compute: ComputeConfig = ComputeConfig()
    verification: VerificationConfig = VerificationConfig()
    sandbox: SandboxConfig = SandboxConfig()
    rewards: RewardsConfig = RewardsConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracker: TrackerConfig = TrackerConfig()

    @property
    def evaluation_sampling(self) -> Sampling:
        """The run's own sampling, but for what `[evaluation]` says."""
        own, asked = self.sampling, self.evaluation
        return own.model_copy(
            update={"temperature": asked.temperature or own.temperature, "top_p": asked.top_p or own.top_p}
        )

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
        if self.peers.control == "unrelated_problem" and self.problems_per_step < 2:
            raise ValueError("peers.control = unrelated_problem needs problems_per_step of at least 2, but it is 1")
        if self.divergence.kind == "sampled_reverse_kl" and self.sampling.top_p < 1:
            raise ValueError("sampled_reverse_kl estimates from unfiltered samples and needs sampling.top_p = 1")
        return self
