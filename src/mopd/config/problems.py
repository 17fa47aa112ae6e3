"""Where problems come from and how they are split: read by `problems/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mopd.config.table import LARGEST, HeldCount, NonNegativeInt, Seed, Table

HUB_PREFIX = "hub:"
"""What a source begins with that `datasets` opens."""

PYTHON_PREFIX = "python:"
"""What a source or a student begins with that was passed in Python: a configuration can name it, and not open it."""

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

SchemaName = Literal["gsm8k", "humaneval", "livecodebench", "mbpp", "sciknoweval"]
"""The public data sets whose records are read as they are."""


class SourceConfig(Table):
    """One source of problems, and how its records are read."""

    source: str = "sort-digits"
    """Where problems come from: a JSONL, JSON, CSV, TSV or parquet file, compressed or not (`.gz`, `.zst`);
    `hub:ORG/NAME`, a data set that `datasets` loads, or `hub:./FOLDER`, one on this disk; `starter:KIND`, small ones
    that mopd brings along (`mopd init`); `reasoning_gym:NAME`; or generated ones, `sort-digits` and
    `tool-calls`."""
    verifier: str = "auto"
    """Verifier for every problem, or `auto`: what the source or the record's `kind` says."""
    size: HeldCount = 4096
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
    weights: dict[str, Annotated[float, Field(ge=0, le=LARGEST)]] = Field(default_factory=dict)
    """Each domain's weight in the draws of the steps, as in `{ biology = 2, physics = 1 }`; 0 leaves a domain out.
    Unset: passes over all problems, so that domains come in proportion to their size."""
    seed: Seed = 0
    """Seed of generated problems and of the held-out split. Not the run's: runs of all seeds share one test."""
    held_out: NonNegativeInt = 128
    """Problems kept from training and used for evaluation, from each domain in proportion to its size."""
    held_out_source: str | None = None
    """File or `hub:` data set that held-out problems are drawn from, read as `problems.source` is; unset: the
    training problems' own sources. Training problems with the prompt of a held-out one are removed."""
    held_out_split: str | None = None
    """Split of `held_out_source`; alone, the split of a `hub:` source that held-out problems are drawn from."""
    over_long: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of problems whose prompt and completion are over the student's window, or whose prompt is over
    `context.tokens`: a run is refused, or they are left out, of training and held-out ones alike, and counted."""
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
