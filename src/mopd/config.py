"""The configuration: frozen pydantic models, read from TOML, refused when misspelt or contradictory.

Each field's docstring is its documentation: `mopd config` prints it and docs/config.md is generated from it.
"""

from __future__ import annotations

import difflib
import json
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mopd.errors import ConfigError

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """A table of the configuration: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


HUB_PREFIX = "hub:"
"""What a source begins with that `datasets` opens."""

FieldName = Literal[
    "prompt",
    "answer",
    "id",
    "system",
    "kind",
    "domain",
    "solution",
    "tests",
    "public_tests",
    "compare",
    "ordered",
    "completion",
]
"""What a record of a file may say of a problem; `completion` is read by `mopd verify` alone."""

SchemaName = Literal["humaneval", "livecodebench", "mbpp", "sciknoweval"]
"""The public data sets whose records are read as they are."""


class SourceConfig(Table):
    """One source of problems, and how its records are read."""

    source: str = "sort-digits"
    """Where problems come from: a JSONL, JSON or parquet file; `hub:ORG/NAME`, a data set that `datasets` loads, or
    `hub:./FOLDER`, one on this disk; `reasoning_gym:NAME`; or generated ones, `sort-digits`."""
    verifier: str = "auto"
    """Verifier for every problem, or `auto`: what the source or the record's `kind` says."""
    size: PositiveInt = 4096
    """Problems to generate, training and held-out together (generated sources only; a file is used whole)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of a generated source, passed to it unchanged (for example reasoning-gym's `max_word_len`), or of
    `record_schema`: which records it takes."""
    record_schema: SchemaName | None = None
    """Public data set whose records the file or data set has, in place of `columns`: docs/data-sets.md. Options are
    `since` and `until` for `livecodebench` (dates of the contests), `level` and `domain` for `sciknoweval`."""
    columns: dict[FieldName, str] = Field(default_factory=dict)
    """Columns that hold `prompt`, `answer`, `id`, `system`, `kind`, `domain`, `solution`, `tests`, `public_tests`,
    `compare`, `ordered` where a file calls them otherwise, as in `{ prompt = "question", answer = "extra.answer" }`; a
    dot goes into nested columns. `mopd verify` reads `completion` too."""
    subset: str | None = None
    """Configuration of a `hub:` data set; unset: its default."""
    split: str | None = None
    """Split of a `hub:` data set, as `datasets` writes it (`train[:500]`); unset: its only one, else `train`."""
    domain: str | None = None
    """Domain of all problems of the source; unset: what each record says."""
    instruction: str = ""
    """Text put behind every prompt, after an empty line, where prompts do not say how to answer: what verifiers read,
    such as a \\boxed{} for `math`, is read from completions only where it is there."""


class MixConfig(SourceConfig):
    """One source of a mix."""

    source: str
    """As `problems.source`."""


class ProblemsConfig(SourceConfig):
    """Where problems come from and how they are split."""

    mix: tuple[MixConfig, ...] = ()
    """Several sources instead of `problems.source`, each a `[[problems.mix]]` with the keys of a source. Where two
    share an id, all ids get their source's domain or name in front, as in `physics/12`."""
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Each domain's weight in the draws of the steps, as in `{ biology = 2, physics = 1 }`; 0 leaves a domain out.
    Unset: passes over all problems, so that domains come in proportion to their size."""
    seed: NonNegativeInt = 0
    """Seed of generated problems and of the held-out split. Not the run's: runs of all seeds share one test."""
    held_out: NonNegativeInt = 128
    """Problems kept from training and used for evaluation, from each domain in proportion to its size."""
    held_out_source: str | None = None
    """File or `hub:` data set that held-out problems are drawn from, read as `problems.source` is; unset: the
    training problems' own sources. Training problems with the prompt of a held-out one are removed."""
    held_out_split: str | None = None
    """Split of `held_out_source`; alone, the split of a `hub:` source that held-out problems are drawn from."""
    train_on_half_of_held_out_tests: bool = False
    """Train on the held-out problems too, each with a seeded half of its tests. What is then measured is no held-out
    figure: whoever quotes it must say that training saw half of the tests of the very problems. Only to compare with
    published figures obtained so."""

    @model_validator(mode="before")
    @classmethod
    def _no_default_source_in_a_mix(cls, values: Any) -> Any:
        """In a mix an unset source is empty, so that one which is set cannot pass for the default."""
        if isinstance(values, Mapping) and values.get("mix"):
            return {"source": "", **values}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> ProblemsConfig:
        if self.mix and self.source:
            raise ValueError(f"problems.mix takes the place of problems.source, but both are set ({self.source})")
        if not self.mix and not self.source:
            raise ValueError("problems.source is empty, and there is no problems.mix")
        own = {"options", "size", "split"} | (set() if self.held_out_source else {*SourceConfig.model_fields})
        if self.held_out_source and self.record_schema:
            own -= {"options"}  # they are the schema's, by which the held-out source is read
        for key in sorted(own - {"source"} if self.mix else ()):
            if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True):
                raise ValueError(f"problems.{key} belongs into the entries of problems.mix")
        if self.held_out_split and not (self.held_out_source or self.source).startswith(HUB_PREFIX):
            raise ValueError("problems.held_out_split belongs to a data set, hub:NAME")
        if self.train_on_half_of_held_out_tests and not self.held_out:
            raise ValueError("problems.train_on_half_of_held_out_tests needs held-out problems, but held_out is 0")
        if (self.held_out_source or self.held_out_split) and not self.held_out:
            raise ValueError("problems.held_out is 0, but it is said where held-out problems come from")
        return self


class DemonstratorWarmup(Table):
    """For embedded students: a noisy demonstrator's answers, on bare prompts and behind contexts, in one stage."""

    kind: Literal["demonstrator"] = "demonstrator"
    steps: PositiveInt
    """Supervised updates."""
    batch_size: PositiveInt = 64
    """Demonstrations in one update."""
    learning_rate: PositiveFloat = 3e-3
    """Peak learning rate; linear warm-up over the first 5 % of the steps, then a cosine to 5 % of the peak."""
    demonstrator_error: Share = 0.15
    """Share of demonstrations without a useful context in which the demonstrator's answer is corrupted."""
    context_share: Share = 0.5
    """Share of demonstrations that begin with a context of peers instead of the bare prompt."""
    unrelated_share: Share = 0.15
    """Share of those contexts with another problem's peers; the demonstrator then errs as without a context."""


class SolutionsWarmup(Table):
    """For pretrained students: worked solutions, then solutions behind contexts of the student's own rollouts."""

    kind: Literal["solutions"] = "solutions"
    steps: PositiveInt
    """Supervised updates on bare prompts. The target is the column `solution`, else the answer in the task's format."""
    context_steps: NonNegativeInt = 0
    """Further updates in which a share of prompts is a context of peers, so that the student learns to read them."""
    batch_size: PositiveInt = 16
    """Demonstrations in one update."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate of each stage; linear warm-up over its first 5 %, then a cosine to 5 % of the peak."""
    problems: PositiveInt = 1024
    """Training problems whose solutions are shown on bare prompts; a fixed, seeded part where there are more."""
    context_problems: PositiveInt = 128
    """Other training problems (where there are enough), attempted between the stages; their rollouts are the peers of
    the second. With few problems the student learns their solutions by heart, and not to read."""
    context_rollouts: PositiveInt = 4
    """Attempts at each of them."""
    context_share: Share = 0.75
    """Share of prompts in the second stage that are contexts."""
    unrelated_share: Share = 0.15
    """Share of those contexts whose peers belong to another problem."""
    order: Literal["failures_first", "successes_first", "shuffled"] = "shuffled"
    """Order of blocks in those contexts. `shuffled` teaches to read headings, wherever a block stands; the order of
    `context.order` is learnt in fewer updates, by where a block stands."""


WarmupConfig = Annotated[DemonstratorWarmup | SolutionsWarmup, Field(discriminator="kind")]


class ChatConfig(Table):
    """How conversations become token ids."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the student's chat template with prompts and contexts alike, for example `enable_thinking = false`."""


class SamplingConfig(Table):
    """How the student attempts problems."""

    temperature: PositiveFloat = 1.0
    """Softmax temperature of rollouts; the objective divides both distributions' logits by it too."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus mass kept when sampling rollouts."""
    completion_tokens: PositiveInt = 64
    """Longest completion, in tokens, end token included. One cut here is a failure of kind `truncated`."""


class EvaluationConfig(Table):
    """What is measured beside training, and how often."""

    every: NonNegativeInt = 0
    """Steps between evaluations on held-out problems; 0 evaluates only before the first and after the last step."""
    rollouts: PositiveInt = 8
    """Attempts at each held-out problem: the n of mean@n and pass@n."""
    temperature: PositiveFloat | None = None
    """Sampling temperature at evaluation; unset: the run's own."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus mass at evaluation; unset: the run's own."""
    reading_contexts: PositiveInt = 24
    """Contexts generated from in one measurement, at most: of a step, and after a warm-up of each recipe."""
    contexts_every: NonNegativeInt = 4
    """Steps between measurements of the teacher's accuracy when it generates from the step's contexts; 0: never."""


class PeersConfig(Table):
    """Which peers the teacher is shown: the recipe. MOPD is (2, 1), SDPO (1, 0)."""

    successes: NonNegativeInt = 2
    """Successful peers shown at most."""
    failures: NonNegativeInt = 1
    """Failed peers shown at most."""
    policy: Literal["first", "random", "group"] = "group"
    """Choice: `first` in rollout order; `random` for each rollout; `group`, one seeded block for the whole group."""
    require_success: bool = True
    """Give no lesson to a rollout without a successful peer."""
    show_failures: Literal["always", "when_no_success"] = "always"
    """When failed peers are shown."""
    truncated_failures: bool = False
    """Whether a completion that was cut at the limit may serve as a failed peer."""
    control: Literal["none", "unrelated_problem"] = "none"
    """Ablation: `unrelated_problem` keeps number and headings of blocks, with texts of the step's other problems."""


class TemplateConfig(Table):
    """Wording of the context. `{problem}`, `{text}` and `{blocks}` are replaced; nothing else is."""

    success: str
    """One successful peer; contains `{text}`."""
    failure: str
    """One failed peer; contains `{text}`."""
    feedback: str
    """The verifier's feedback on the rollout itself; contains `{text}`."""
    turn: str
    """The whole user turn; contains `{problem}` and `{blocks}`."""
    marker: str = " [...] "
    """Stands where the middle of a peer was cut out to hold the token budget."""

    @model_validator(mode="after")
    def _fields_present(self) -> TemplateConfig:
        wanted = {"success": ["{text}"], "failure": ["{text}"], "feedback": ["{text}"]}
        for key, marks in {**wanted, "turn": ["{problem}", "{blocks}"]}.items():
            for mark in marks:
                if mark not in getattr(self, key):
                    raise ValueError(f"context.template.{key} must contain {mark}")
        return self


class ContextConfig(Table):
    """What the teacher reads before a completion."""

    tokens: PositiveInt = 1024
    """Token budget of a context, generation header included."""
    order: Literal["failures_first", "successes_first", "shuffled"] = "failures_first"
    """Order of the blocks of peers. A weak teacher copies the block that comes last."""
    over_budget: Literal["shorten", "drop"] = "shorten"
    """Over budget: cut peers in the middle with a marker, or leave peers out, failures first. Both are counted."""
    feedback: Literal["never", "when_no_success", "always"] = "never"
    """When the verifier's feedback on the rollout itself is shown."""
    strip_thinking: bool = True
    """Remove thinking spans from all peers, successes and failures, closed or not."""
    template: TemplateConfig | None = None
    """Wording; unset: the student's own (builtin students) or the English default."""


class EmaTeacher(Table):
    """Exponential moving average of the student: t <- (1 - rate) t + rate s, once a step that updated."""

    kind: Literal["ema"] = "ema"
    rate: Share = 0.05
    """Weight of the student in one average."""


class FrozenTeacher(Table):
    """The student as it was before step 0."""

    kind: Literal["frozen"] = "frozen"


class LiveTeacher(Table):
    """The current student itself, without gradient."""

    kind: Literal["live"] = "live"


TeacherConfig = Annotated[EmaTeacher | FrozenTeacher | LiveTeacher, Field(discriminator="kind")]


class DistillObjective(Table):
    """Toward the teacher, token by token, on the student's own completions: the method itself."""

    kind: Literal["distill"] = "distill"
    aggregation: Literal["token_mean", "rollout_mean", "domain_balanced"] = "token_mean"
    """Mean over all live tokens, over lessons of their token means, or over domains of their token means."""


class GrpoObjective(Table):
    """Group-relative policy gradient: advantage = reward - group mean, no division by the standard deviation."""

    kind: Literal["grpo"] = "grpo"
    aggregation: Literal["token_mean", "rollout_mean", "domain_balanced"] = "token_mean"
    """As for `distill`."""
    clip_low: PositiveFloat = 0.2
    """The ratio is clipped below at 1 - clip_low."""
    clip_high: PositiveFloat = 0.28
    """The ratio is clipped above at 1 + clip_high."""
    dual_clip: Annotated[float, Field(gt=1)] = 3.0
    """Bound on the loss of tokens with a negative advantage, in units of the advantage's size."""


class SftObjective(Table):
    """Verified supervised fine-tuning: minus the log-probability of the step's own successes."""

    kind: Literal["sft"] = "sft"
    aggregation: Literal["token_mean", "rollout_mean", "domain_balanced"] = "rollout_mean"
    """As for `distill`; the usual form is the mean over successes of -logp / length."""


ObjectiveConfig = Annotated[DistillObjective | GrpoObjective | SftObjective, Field(discriminator="kind")]


class DivergenceConfig(Table):
    """How far student and teacher are apart at one token."""

    kind: Literal["jensen_shannon", "forward_kl", "reverse_kl", "sampled_reverse_kl"] = "jensen_shannon"
    """Divergence at one token, in nats."""
    weight: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Teacher's weight in the mixture (`jensen_shannon` only)."""
    support: Literal["student_top_k", "full"] = "student_top_k"
    """Token ids the divergence sums over (not read by `sampled_reverse_kl`)."""
    k: PositiveInt = 100
    """Size of `student_top_k`; a vocabulary no larger than k is used whole."""
    tail: bool = True
    """Add one bucket with the mass outside the support; without it both sides are renormalised."""
    clip: PositiveFloat | None = None
    """Bound on a token's divergence, in nats; unset: none."""

    @model_validator(mode="after")
    def _consistent(self) -> DivergenceConfig:
        if self.kind != "jensen_shannon" and self.weight != 0.5:
            raise ValueError(f"divergence.weight belongs to jensen_shannon, but kind is {self.kind}")
        if self.kind == "sampled_reverse_kl" and self.clip is not None:
            raise ValueError(
                "divergence.clip bounds a divergence, but sampled_reverse_kl has only its gradient estimate"
            )
        if self.support == "full" and (self.k != 100 or not self.tail):
            raise ValueError("divergence.k and divergence.tail belong to student_top_k, but support is full")
        return self


class OptimizerConfig(Table):
    """AdamW with a constant learning rate after a linear warm-up."""

    learning_rate: PositiveFloat = 1e-5
    """Learning rate after warm-up."""
    warmup_steps: NonNegativeInt = 10
    """Steps over which the learning rate rises linearly to its value."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay of AdamW's first and second moments."""
    clip_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this global norm."""
    updates_per_step: PositiveInt = 1
    """Updates on the lessons of one step; after the first, tokens are weighted by current over first probability."""
    importance_cap: Annotated[float, Field(ge=1)] = 2.0
    """Upper bound of every importance weight (sampler against learner, and reused batches)."""


class ComputeConfig(Table):
    """Device, threads, and sizes that change speed and memory but no result."""

    device: str = "auto"
    """Device of student and teacher: `auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; all else stays float32. `auto`: bfloat16 where the processor is fast at it and the student
    has at least 20 million parameters."""
    threads: PositiveInt | None = None
    """CPU threads of torch; unset: torch's choice. Exact resume holds for 1."""
    microbatch_tokens: PositiveInt = 512
    """Tokens of the student scored at once, shared prefixes counted once; the teacher reads four times as many. A
    longer sequence is scored alone, and its layers are computed again in the backward pass instead of kept. Changes
    speed and memory, never the objective."""
    compile: bool = False
    """Compile decoder layers with torch.compile for scoring and update (a C++ compiler is needed on a CPU). Takes tens
    of seconds once; `time/compile_s` counts them."""
    sampling_rows: PositiveInt = 512
    """Rollouts sampled at once."""


class VerificationConfig(Table):
    """How graders that need a process of their own are run."""

    workers: PositiveInt = 2
    """Processes that run graders which need one (math, reasoning-gym), and sandboxes that run code at a time."""
    time_limit_s: PositiveFloat = 10.0
    """Wall time of one grader call, in seconds; over it the worker is replaced and the verdict is `error`."""


class SandboxConfig(Table):
    """What a program under test may use; docs/sandbox.md says what it may not do at all."""

    time_limit_s: PositiveFloat = 10.0
    """Processor seconds of one test, where its record does not say; in wall time twice that and one second."""
    memory_mb: PositiveInt = 1024
    """Address space of each process, in MiB."""
    processes: PositiveInt = 16
    """Processes and threads of one sandbox, its own first one included."""
    output_kb: PositiveInt = 1024
    """What a program may print or return in one test, in KiB; more where the right answer is longer."""


class RewardsConfig(Table):
    """Functions of one's own, with the signature of TRL's reward functions, that judge instead of verifiers."""

    functions: list[str] = Field(default_factory=list)
    """Reward functions, each `module:function`. They judge all rollouts, instead of verifiers; none: verifiers do."""
    weights: list[Annotated[float, Field(allow_inf_nan=False)]] | None = None
    """Weight of each function's value in the reward, which is their weighted sum; unset: all 1."""
    form: Literal["messages", "text"] = "messages"
    """What functions get as prompts and completions: lists of messages, or text (a prompt's last user turn)."""
    time_limit_s: PositiveFloat = 60.0
    """Wall time of one call, in seconds; over it all its rollouts are of kind `error`. A late call is not killed."""
    folder: str | None = None
    """Where modules are looked for besides the current directory and Python's path; unset: beside CONFIG.toml."""

    @model_validator(mode="after")
    def _one_weight_each(self) -> RewardsConfig:
        if self.functions and self.weights is not None and len(self.weights) != len(self.functions):
            raise ValueError(
                f"rewards.weights has one weight for each of the {len(self.functions)} reward functions, "
                f"but holds {len(self.weights)}"
            )
        return self


class CheckpointConfig(Table):
    """When the run's state is saved."""

    every: PositiveInt = 10
    """Steps between checkpoints; the last step always has one."""
    keep: PositiveInt = 2
    """Checkpoints kept; older ones are removed after a new one is complete."""


class TrackerConfig(Table):
    """Where metrics are sent besides the run directory."""

    kind: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Where metrics are sent besides metrics.jsonl. Each but `none` needs its own package."""
    project: str = "mopd"
    """Project name at the tracker."""


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
    sampling: SamplingConfig = SamplingConfig()
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


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a TOML file, with `key=value` overrides (each one line of TOML) applied.

    Raises ConfigError where the file is missing or malformed, a key is unknown, or options contradict.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "a configuration is a TOML file that can be read", f"{path}: {error.strerror}", "check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("a configuration is valid TOML", f"{path}: {error}", "mend that line") from error
    values.setdefault("run", f"runs/{path.stem}")
    config = build_config(values, overrides, where=str(path))
    if config.rewards.functions and config.rewards.folder is None:
        rewards = config.rewards.model_copy(update={"folder": str(path.parent.resolve())})
        config = config.model_copy(update={"rewards": rewards})
    return config


def build_config(values: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "the configuration") -> Config:
    """The configuration that nested `values` and `key=value` overrides say. Raises ConfigError."""
    merged = json.loads(json.dumps(values))
    for override in overrides:
        _apply_override(merged, override)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise _explain(error, where) from error


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError("an override has the form key=value", repr(override), "write for example steps=20")
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError("an override names a key of a table", f"{key}: {parent} is no table", "check the key")
        values = child
    values[last] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    """A TOML value; a bare word that is none (student=runs/a) is taken as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


_KINDS = ("ema", "frozen", "live", "distill", "grpo", "sft", "demonstrator", "solutions")
"""Names of union members, which pydantic puts among the keys of an error."""


def _explain(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"] if part not in _KINDS]
    name = ".".join(keys)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(config_keys()), n=1, cutoff=0.5)
        do = f"did you mean {near[0]}?" if near else "see all keys with `mopd config`"
        return ConfigError("every key of the configuration is known", f"{name} in {where}", do)
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return ConfigError("the options of a configuration agree", f"{message} ({where})", "change one of them")
    got = repr(first["input"]) if first["type"] != "missing" else "nothing"
    must = f"{name or 'the configuration'}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return ConfigError(must, f"{got} in {where}", "see its meaning with `mopd config`")


def config_keys(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, tuple[str, str, str]]:
    """Every key of the configuration, dotted, with (type, default, meaning)."""
    keys: dict[str, tuple[str, str, str]] = {}
    for name, field in model.model_fields.items():
        tables = list(_tables(field.annotation))
        is_array = typing.get_origin(field.annotation) is tuple
        if len(tables) > 1:
            keys[f"{prefix}{name}.kind"] = _kind_row(tables)
        if not tables or is_array:
            default = "required" if field.is_required() else json.dumps(field.get_default(call_default_factory=True))
            keys[prefix + name] = (_type_name(field.annotation), default, field.description or "")
        inner = f"{prefix}{name}[]." if is_array else f"{prefix}{name}."
        for table in tables:
            for key, row in config_keys(table, inner).items():
                twin = prefix + key.removeprefix(inner)  # a key that an array's tables have from the table around them
                keys.setdefault(key, (*row[:2], f"As `{twin}`.") if is_array and keys.get(twin) == row else row)
    return keys


def _kind_row(tables: Sequence[type[BaseModel]]) -> tuple[str, str, str]:
    """The row of the `kind` that tells the tables of a union apart."""
    kinds = [json.dumps(table.model_fields["kind"].default) for table in tables]
    meanings = [(table.__doc__ or "").strip().splitlines()[0] for table in tables]
    meaning = " ".join(f"`{kind}`: {text}" for kind, text in zip(kinds, meanings, strict=True))
    return " or ".join(kinds), kinds[0], meaning


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _tables(argument)


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(json.dumps(argument) for argument in arguments)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is dict:
        return "table"
    if origin is list:
        return f"array of {_type_name(arguments[0])}s"
    if origin is tuple:
        return "array of " + " and ".join(_type_name(a) for a in arguments if a is not Ellipsis)
    if arguments:
        return " or ".join(_type_name(a) for a in arguments if a is not type(None))
    if issubclass(annotation, BaseModel):
        return "tables"
    return {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}[annotation.__name__]


def first_difference(ours: Config, theirs: Config) -> tuple[str, Any, Any] | None:
    """The first key (dotted) in which two configurations differ with both values.

    `run` and `rewards.folder` are not compared: they say where things are, not what they are.
    """
    a, b = flatten(ours.model_dump(mode="json")), flatten(theirs.model_dump(mode="json"))
    for key in [*a, *(key for key in b if key not in a)]:
        if key not in ("run", "rewards.folder") and a.get(key) != b.get(key):
            return key, a.get(key), b.get(key)
    return None


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one mapping from dotted keys to values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
