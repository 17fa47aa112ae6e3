"""From a TOML file and overrides to a configuration, with errors that name the key."""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mopd.config.config import Config
from mopd.config.describing import kinds_with
from mopd.config.explaining import explain
from mopd.core.errors import ConfigError


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a TOML file, with `key=value` overrides (each one line of TOML) applied.

    A byte order mark before the text, as some editors write, is no part of it. Raises ConfigError where the
    file is missing or malformed, a key is unknown, or options contradict.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        do = "check the path; `mopd init` helps to write a first one"
        raise ConfigError("a configuration is a TOML file that can be read", f"{path}: {error.strerror}", do) from error
    except UnicodeDecodeError as error:
        raise ConfigError("a configuration is text in UTF-8", f"{path}: {error}", "save the file as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError("a configuration is valid TOML", f"{path}: {error}", "mend that line") from error
    values.setdefault("run", f"runs/{path.stem}")
    config = build_config(values, overrides, where=str(path))
    if config.rewards.functions and config.rewards.folder is None:
        rewards = config.rewards.model_copy(update={"folder": str(path.parent.resolve())})
        config = config.model_copy(update={"rewards": rewards})
    return config


def build_config(values: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "the configuration") -> Config:
    """The configuration that nested `values` and `key=value` overrides say. Raises ConfigError.

    Dates and times are text in ISO form, as if they had been quoted: no key is a date, and a run keeps its
    configuration as JSON, which has none.
    """
    merged: dict[str, Any] = dict(values)
    for override in overrides:
        merged = _with_override(merged, override)
    merged = _as_json(merged, "", where)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise explain(error, where) from error


def override_config(config: Config, overrides: Sequence[str], where: str) -> Config:
    """`config` with `key=value` overrides applied. Raises ConfigError.

    Another `kind` of a table takes the keys with it that the new kind has, and drops the old kind's own.
    """
    values = config.model_dump(mode="json")
    for override in overrides:
        table, _, key = override_key(override).rpartition(".")
        if key == "kind" and isinstance(values.get(table), dict):
            kind = _parse_value(override)
            values[table] = {k: v for k, v in values[table].items() if kind in kinds_with(f"{table}.{k}")}
    return build_config(values, overrides, where)


def override_key(override: str) -> str:
    """The key of an override, dotted. Raises ConfigError."""
    key, separator, _ = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError("an override has the form key=value", f"{override!r} is none", "write for example steps=20")
    return key.strip()


def _with_override(values: Mapping[str, Any], override: str) -> dict[str, Any]:
    """`values` with what one override says; they stay as they are themselves."""
    key = override_key(override)
    *parents, last = key.split(".")
    found = inner = dict(values)
    for parent in parents:
        child = inner.get(parent)
        if not isinstance(child, Mapping | None):
            raise ConfigError("an override names a key of a table", f"{parent} in {key} is no table", "check the key")
        inner[parent] = inner = dict(child or {})
    inner[last] = _parse_value(override)
    return found


def _parse_value(override: str) -> Any:
    """The TOML value of an override; what is none (student=runs/a) is taken as a string."""
    text = override.partition("=")[2].strip()
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _as_json(value: Any, key: str, where: str) -> Any:
    """What JSON holds of a value: dates and times are text. Raises ConfigError where it holds nothing like it."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(inner, f"{key}.{name}".lstrip("."), where) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner, f"{key}.{index}", where) for index, inner in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        got = f"{key} = {value} (from {where})"
        raise ConfigError(f"{key} is a finite number", got, "see its meaning with `mopd config`")
    if value is None or isinstance(value, str | int | float):
        return value
    must = f"{key} is text, a number, true or false, an array or a table"
    raise ConfigError(must, f"{key} = {value!r} (from {where})", "write it as one of them")
