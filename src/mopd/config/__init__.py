"""The configuration: frozen pydantic tables, read from TOML, refused when misspelt or contradictory.

One module holds the tables that one room reads (`method` those of `method/`, and so on), so a reader of that room
finds its settings under the same name; `config` is the whole, `loading` reads files and overrides, `describing`
explains. Each field's docstring is its documentation: `mopd config` prints it, and docs/config.md is generated from
it.

May import: `core`. A new key: a field with a docstring in its room's module, `make docs`, and the one place that
reads it.
"""

from mopd.config.config import Config
from mopd.config.describing import config_keys, config_markdown, flatten
from mopd.config.engine import EngineConfig, LocalEngineConfig, VllmEngineConfig, is_on_this_machine
from mopd.config.evaluation import EvaluationConfig, PreflightConfig
from mopd.config.judging import RewardsConfig, SandboxConfig, VerificationConfig
from mopd.config.learning import (
    ComputeConfig,
    EmaTeacher,
    ExternalTeacher,
    FrozenTeacher,
    LiveTeacher,
    OptimizerConfig,
    ServedTeacher,
    SnapshotTeacher,
    TeacherConfig,
)
from mopd.config.loading import build_config, load_config, override_config, override_key
from mopd.config.lora import LoraConfig
from mopd.config.method import (
    ContextConfig,
    ContrastConfig,
    DistillObjective,
    DivergenceConfig,
    GrpoObjective,
    LessonsConfig,
    ObjectiveConfig,
    PeersConfig,
    SftObjective,
    TemplateConfig,
)
from mopd.config.problems import (
    HUB_PREFIX,
    PYTHON_PREFIX,
    FieldName,
    MixConfig,
    ProblemsConfig,
    SchemaName,
    SourceConfig,
)
from mopd.config.rollouts import ChatConfig, Sampling
from mopd.config.runs import AlarmsConfig, CheckpointConfig, ParallelConfig, TrackerConfig
from mopd.config.warmup import DemonstratorWarmup, SolutionsWarmup, WarmupConfig

__all__ = [
    "HUB_PREFIX",
    "PYTHON_PREFIX",
    "AlarmsConfig",
    "ChatConfig",
    "CheckpointConfig",
    "ComputeConfig",
    "Config",
    "ContextConfig",
    "ContrastConfig",
    "DemonstratorWarmup",
    "DistillObjective",
    "DivergenceConfig",
    "EmaTeacher",
    "EngineConfig",
    "EvaluationConfig",
    "ExternalTeacher",
    "FieldName",
    "FrozenTeacher",
    "GrpoObjective",
    "LessonsConfig",
    "LiveTeacher",
    "LocalEngineConfig",
    "LoraConfig",
    "MixConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "PeersConfig",
    "PreflightConfig",
    "ProblemsConfig",
    "RewardsConfig",
    "Sampling",
    "SandboxConfig",
    "SchemaName",
    "ServedTeacher",
    "SftObjective",
    "SnapshotTeacher",
    "SolutionsWarmup",
    "SourceConfig",
    "TeacherConfig",
    "TemplateConfig",
    "TrackerConfig",
    "VerificationConfig",
    "VllmEngineConfig",
    "WarmupConfig",
    "build_config",
    "config_keys",
    "config_markdown",
    "flatten",
    "is_on_this_machine",
    "load_config",
    "override_config",
    "override_key",
]
