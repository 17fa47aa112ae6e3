"""What is wrong with a configuration, in words: pydantic's first finding as an error that names key, law and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mopd.config.describing import config_keys, kind_names, kinds_with
from mopd.core.errors import ConfigError

KNOWN_ELSEWHERE: Mapping[str, str] = {
    "lr": "optimizer.learning_rate",
    "max_steps": "steps",
    "max_grad_norm": "optimizer.clip_norm",
    "num_generations": "group_size",
    "n": "group_size",
    "batch_size": "problems_per_step",
    "train_batch_size": "problems_per_step",
    "max_completion_length": "sampling.completion_tokens",
    "max_new_tokens": "sampling.completion_tokens",
    "max_tokens": "sampling.completion_tokens",
    "max_prompt_length": "problems.over_long",
    "model": "student",
    "model_name_or_path": "student",
    "output_dir": "run",
    "dataset": "problems.source",
    "dataset_name": "problems.source",
    "reward_funcs": "rewards.functions",
    "reward_weights": "rewards.weights",
    "report_to": "tracker.kind",
    "save_steps": "checkpoint.every",
    "eval_steps": "evaluation.every",
}
"""Names that other trainers give to what a key here says."""

WORDS: Mapping[str, str] = {
    "int_type": "is a whole number",
    "int_parsing": "is a whole number",
    "int_parsing_size": "is a whole number",
    "int_from_float": "is a whole number",
    "float_type": "is a number",
    "float_parsing": "is a number",
    "finite_number": "is a finite number",
    "bool_type": "is true or false",
    "bool_parsing": "is true or false",
    "string_type": "is text",
    "list_type": "is a list, [...]",
    "tuple_type": "is a list, [...]",
    "dict_type": "is a table",
    "model_type": "is a table",
    "model_attributes_type": "is a table",
    "missing": "is given",
    "greater_than": "is over {gt:g}",
    "greater_than_equal": "is at least {ge:g}",
    "less_than": "is under {lt:g}",
    "less_than_equal": "is at most {le:g}",
    "literal_error": "is {expected}",
    "union_tag_invalid": "is {expected_tags}",
}
"""What must hold of a value, by pydantic's name of the fault."""


@dataclass(frozen=True)
class Origin:
    """Where the values of a configuration came from: some keys from overrides, all others from `where`."""

    where: str
    overridden: tuple[str, ...] = ()

    def of(self, name: str) -> str:
        """As errors name it; `name` is a dotted key."""
        found = [key for key in self.overridden if name == key or name.startswith(f"{key}.")]
        return f"the override of {found[-1]}" if found and self.where != COMMAND_LINE else self.where

    @property
    def all(self) -> str:
        """As errors name it that concern several keys."""
        return f"{self.where} with overrides" if self.overridden and self.where != COMMAND_LINE else self.where


COMMAND_LINE = "the command line"
"""Where overrides come from of which there is no other configuration."""


def explain(error: ValidationError, origin: Origin) -> ConfigError:
    """The first fault that was found in a configuration."""
    first: Mapping[str, Any] = error.errors()[0]
    name = _key_of(first)
    where = origin.of(name)
    if first["type"] == "extra_forbidden":
        return _unknown_key(name, first, where)
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        if name in config_keys():  # one value is at fault, not several that do not agree
            return ConfigError(f"{name} {message}", f"{name} = {first['input']!r} (from {where})", "change it")
        return ConfigError(
            "the options of a configuration agree", f"{message} (from {origin.all})", "change one of them"
        )
    return _wrong_value(name, first, where)


def _key_of(first: Mapping[str, Any]) -> str:
    """The dotted key of a fault, without the kinds that pydantic puts between."""
    kinds = kind_names()
    parts = [str(part) for place, part in enumerate(first["loc"]) if place != 1 or part not in kinds]
    if first["type"] == "union_tag_invalid":
        parts.append("kind")
    return ".".join(part for part in parts if part != "str")


def _unknown_key(name: str, first: Mapping[str, Any], where: str) -> ConfigError:
    table = name.rpartition(".")[0]
    if others := kinds_with(name):
        must = f"{name} belongs to {table}.kind = {' or '.join(map(repr, others))}"
        got = f"{name} is set beside {table}.kind = {first['loc'][1]!r} (from {where})"
        return ConfigError(must, got, f"set {table}.kind, or leave {name} out")
    near = nearest_key(name)
    do = f"did you mean {near}?" if near else "see all keys with `mopd config`"
    return ConfigError("every key of the configuration is known", f"unknown key {name} (from {where})", do)


def nearest_key(name: str) -> str | None:
    """The key that was probably meant by `name`, with its table."""
    keys, last = list(config_keys()), name.rpartition(".")[2]
    if last in KNOWN_ELSEWHERE:
        return KNOWN_ELSEWHERE[last]
    same = [key for key in keys if key.rpartition(".")[2] == last]
    if same:
        return difflib.get_close_matches(name, same, n=1, cutoff=0.0)[0]
    return _nearest(name, keys, 0.7) or _nearest_ending(last, keys) or _nearest(name, keys, 0.5)


def _nearest_ending(last: str, keys: Sequence[str]) -> str | None:
    endings = {key.rpartition(".")[2]: key for key in reversed(keys)}
    near = _nearest(last, endings, 0.7)
    return endings[near] if near else None


def _nearest(name: str, names: Iterable[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)), None)


def _wrong_value(name: str, first: Mapping[str, Any], where: str) -> ConfigError:
    context = {key: _readable(value) for key, value in first.get("ctx", {}).items()}
    words = WORDS.get(first["type"])
    if first["loc"][-1] == "[key]":
        table = name.removesuffix(".[key]").rpartition(".")[0]
        must, got = f"a key of {table} {(words or '').format(**context)}", f"{table} has the key {first['input']!r}"
        return ConfigError(must, f"{got} (from {where})", _remedy(first["input"], context))
    must = f"{name or 'the configuration'} {words.format(**context) if words else first['msg']}"
    if first["type"] == "missing":
        return ConfigError(must, f"{name} is missing (from {where})", "give it")
    value = first["ctx"].get("tag", first["input"]) if first["type"] == "union_tag_invalid" else first["input"]
    return ConfigError(must, f"{name} = {_shown(value)} (from {where})", _remedy(value, context))


def _readable(value: Any) -> Any:
    """Quoted choices in words: "'a', 'b'" and "'a', 'b' or 'c'" alike."""
    if not isinstance(value, str):
        return value
    choices = re.findall(r"'([^']*)'", value)
    return " or ".join((", ".join(map(repr, choices[:-1])), repr(choices[-1]))) if len(choices) > 1 else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def _remedy(value: Any, context: Mapping[str, Any]) -> str:
    """The choice that was probably meant, or where the key is explained."""
    choices = re.findall(r"'([^']*)'", str(context.get("expected", context.get("expected_tags", ""))))
    folded = {choice.casefold(): choice for choice in choices}
    near = _nearest(str(value).casefold(), folded, 0.5)
    return f"did you mean {folded[near]!r}?" if near else "see its meaning with `mopd config`"
