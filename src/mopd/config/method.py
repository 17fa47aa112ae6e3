"""Peers, contexts, divergence and objective: read by `method/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mopd.config.table import LARGEST, NonNegativeInt, PositiveFloat, PositiveInt, Table


class PeersConfig(Table):
    """Which peers the teacher is shown: the recipe. MOPD is (2, 1), SDPO (1, 0)."""

    recipe: Literal["auto", "one_context", "fixed"] = "auto"
    """`auto`: before the first step the student generates from contexts of several recipes, of at most `successes` and
    `failures`, in both orders and two wordings, and the recipe that makes the best teacher is taken ([preflight]); a
    contrast of teachers (`objective.contrast`), where one reads a success as well as another recipe is read.
    `one_context`: the same without contrasts: one teacher reads all peers. `fixed`: what the other keys say; the
    default where `successes` or `failures` is set."""
    successes: NonNegativeInt = 2
    """Successful peers shown at most."""
    failures: NonNegativeInt = 1
    """Failed peers shown at most."""
    policy: Literal["first", "random", "group"] = "group"
    """Choice: `first` in rollout order; `random` for each rollout; `group`, one seeded block for the whole group."""
    require_success: bool = True
    """Give no lesson to a rollout without a successful peer. `false` where no peers are shown at all."""
    show_failures: Literal["always", "when_no_success"] = "always"
    """When failed peers are shown."""
    truncated_failures: bool = False
    """Whether a completion that was cut at the limit may serve as a failed peer."""
    control: Literal["none", "random_peer", "unrelated_problem"] = "none"
    """Ablation, with number and headings of blocks as they are: `random_peer` fills them from the group whatever the
    verdict, `unrelated_problem` with texts of the step's other problems."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_a_recipe(cls, values: Any) -> Any:
        """Who says how many peers are shown has fixed the recipe; who shows none requires none."""
        if not isinstance(values, Mapping) or not {"successes", "failures"} & values.keys():
            return values
        none = {"require_success": False} if (values.get("successes"), values.get("failures")) == (0, 0) else {}
        return {"recipe": "fixed", **none, **values}


class LessonsConfig(Table):
    """Which rollouts teach. Whom to teach is disputed: each choice is here to be compared on the task at hand."""

    rollouts: Literal["all", "failures", "successes", "positive_advantage"] = "all"
    """`failures` and `successes` by verdict; `positive_advantage`: a reward above the mean of the group."""
    truncated: bool = True
    """Whether a completion that was cut at the limit teaches."""
    pause: bool = True
    """Whether lessons from a teacher pause while it is right less often than the student, by more than one standard
    error over the newest two measurements (`evaluation.contexts_every`), or by two in the newest. Those of a contrast
    of teachers do not: it teaches students that are better than its readers."""


class TemplateConfig(Table):
    """Wording of the context. `{problem}`, `{text}` and `{blocks}` are replaced; nothing else is."""

    success: str
    """One successful peer; contains `{text}`."""
    failure: str
    """One failed peer; contains `{text}`."""
    attempt: str = ""
    """One peer of either kind, for a contrast of teachers, whose contexts differ in the peer alone; contains `{text}`.
    Empty: as `success`."""
    feedback: str
    """The verifier's feedback on the rollout itself; contains `{text}`."""
    turn: str
    """The whole user turn; contains `{problem}` and `{blocks}`."""
    peers_are_turns: bool = False
    """Each peer is a turn of the assistant. `success`, `failure` and `attempt` are then what the user says behind it,
    without `{text}`, as the `{blocks}` of a turn that states the problem again."""
    marker: str = " [...] "
    """Stands where the middle of a peer was cut out to hold the token budget."""

    @model_validator(mode="after")
    def _fields_present(self) -> TemplateConfig:
        wanted = {"feedback": ["{text}"], "turn": ["{problem}", "{blocks}"]}
        if not self.peers_are_turns:
            wanted = {"success": ["{text}"], "failure": ["{text}"], **wanted}
        for key, marks in wanted.items():
            for mark in marks:
                if mark not in getattr(self, key):
                    raise ValueError(f"context.template.{key} must contain {mark}")
        for key in ("success", "failure", "attempt") if self.peers_are_turns else ():
            if "{text}" in getattr(self, key):
                raise ValueError(f"context.template.{key} holds no {{text}} where peers are turns of their own")
        if self.attempt and "{text}" not in self.attempt and not self.peers_are_turns:
            raise ValueError("context.template.attempt must contain {text}, or be empty")
        return self


class ContextConfig(Table):
    """What the teacher reads before a completion."""

    tokens: PositiveInt = 1024
    """Token budget of a context, generation header included."""
    order: Literal["auto", "failures_first", "successes_first", "shuffled"] = "auto"
    """Order of the blocks of peers. A weak teacher copies the block that comes last. `auto`: as measured with
    `peers.recipe = "auto"`, else failures first."""
    over_budget: Literal["shorten", "drop"] = "shorten"
    """Over budget: cut peers in the middle with a marker, or leave peers out, failures first. Both are counted."""
    feedback: Literal["never", "when_no_success", "always"] = "never"
    """When the verifier's feedback on the rollout itself is shown."""
    strip_thinking: bool = True
    """Remove thinking spans from all peers, successes and failures, closed or not."""
    wording: Literal["auto", "peers_behind", "peers_first", "peers_as_turns"] = "auto"
    """Where peers stand: behind the problem or before it, in English; or each as a turn of the assistant, behind which
    the user says the verdict and states the problem again. `auto`: as measured with `peers.recipe = "auto"`, which
    does not try turns, else the student's own wording (builtin students) or behind."""
    template: TemplateConfig | None = None
    """A wording of one's own, instead of `wording`."""

    @model_validator(mode="after")
    def _one_wording(self) -> ContextConfig:
        if self.template is not None and self.wording != "auto":
            raise ValueError("context.wording and context.template both give a wording: leave one of them out")
        return self


class ContrastConfig(Table):
    """Contrast of teachers: one reads a success, the other a failure, in contexts that differ in the peer alone."""

    form: Literal["target", "advantage"] = "target"
    """`target`: toward log a + beta (log t_success - log t_failure), over plausible tokens. `advantage`: GRPO, whose
    advantage is larger in size at tokens for which the ratio speaks, and smaller at those against which it speaks; the
    verdict keeps its sign."""
    beta: PositiveFloat = 0.5
    """Weight of the ratio. At 1 a weak student copies the success more often."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.05
    """A token is plausible at so large a share of the most probable one, under the mean of anchor and success."""
    anchor: Literal["student", "success"] = "student"
    """What the ratio is applied to: the student, or the teacher that reads the success."""

    @model_validator(mode="after")
    def _keys_of_the_form(self) -> ContrastConfig:
        if self.form == "advantage" and (self.beta, self.alpha, self.anchor) != (0.5, 0.05, "student"):
            raise ValueError("beta, alpha and anchor belong to objective.contrast.form = target")
        return self


class DistillObjective(Table):
    """Toward the teacher, token by token, on the student's own completions: the method itself."""

    kind: Literal["distill"] = "distill"
    aggregation: Literal["token_mean", "rollout_mean", "domain_balanced"] = "token_mean"
    """Mean over all loss tokens, over lessons of their token means, or over domains of their token means."""
    contrast: ContrastConfig | None = None
    """Set (`{}` for its defaults): two teachers, one peer each. Unset: the same where `peers.recipe = "auto"` finds it
    fit, else one teacher reads all peers in one context."""
    grpo_weight: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share w of GRPO's loss on the same rollouts: (1 - w) distillation + w GRPO, each normalised over its own lessons.
    Unset: .5 under a contrast of teachers whose form is `target`, unless a `[warmup]` has taught the student to read
    peers; else 0. GRPO's clipping is that of `objective.kind = grpo` by default."""


class GrpoObjective(Table):
    """Group-relative policy gradient: advantage = reward - group mean, no division by the standard deviation."""

    kind: Literal["grpo"] = "grpo"
    aggregation: Literal["token_mean", "rollout_mean", "domain_balanced"] = "token_mean"
    """As for `distill`."""
    clip_low: PositiveFloat = 0.2
    """The ratio is clipped below at 1 - clip_low."""
    clip_high: PositiveFloat = 0.28
    """The ratio is clipped above at 1 + clip_high."""
    dual_clip: Annotated[float, Field(gt=1, le=LARGEST)] = 3.0
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
    support: Literal["student_top_k", "teacher_top_k", "full"] = "student_top_k"
    """Token ids the divergence sums over (not read by `sampled_reverse_kl`): the k most probable ones of the student,
    or of the teacher, which is all that a served teacher tells."""
    k: PositiveInt = 100
    """Size of a `..._top_k`; a vocabulary no larger than k is used whole."""
    tail: bool = True
    """Add one bucket with the mass outside the support; without it both sides are renormalised."""
    clip: PositiveFloat | None = None
    """Bound c on a token's divergence D, in nats; unset: none. A token above it keeps its gradient's direction, scaled
    by c / D: tokens of style have many times the divergence of those of content."""
    entry_clip: PositiveFloat | None = None
    """Bound on what one entry of the support adds to a token's divergence, p (log p - log q), in nats; unset: none. An
    entry above it has no gradient, the others keep theirs."""

    @model_validator(mode="after")
    def _consistent(self) -> DivergenceConfig:
        if self.kind != "jensen_shannon" and self.weight != 0.5:
            raise ValueError(f"divergence.weight belongs to jensen_shannon, but kind is {self.kind}")
        if self.kind == "sampled_reverse_kl" and (self.clip is not None or self.entry_clip is not None):
            raise ValueError(
                "clip and entry_clip bound a divergence, but sampled_reverse_kl has only its gradient's estimate"
            )
        if self.support == "full" and (self.k != 100 or not self.tail):
            raise ValueError("divergence.k and divergence.tail belong to a top_k, but support is full")
        return self
