"""From a TOML file, a mapping or text, and overrides, to a configuration; errors name the key and where it stands."""

from __future__ import annotations

import datetime
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mopd.config.config import Config
from mopd.config.describing import kinds_with
from mopd.config.explaining import Origin, explain
from mopd.core.errors import ConfigError

Overrides = Sequence[str] | Mapping[str, Any]
"""A list of `key=value`, each one line of TOML, or a mapping.

A mapping's keys may be dotted; a table in it overrides its keys one by one, and an empty one empties the table.
"""


def load_config(source: str | Path | Mapping[str, Any], overrides: Overrides = (), /, **keys: Any) -> Config:
    """The configuration in a TOML file, a nested mapping or TOML text, with overrides and then `keys` applied.

    A Path is a file. A string is TOML text where it holds a newline or "=" and no file is called so; else it names a
    file. Without a key `run` the run's directory is runs/NAME for NAME.toml, and runs/mopd for a mapping or text. A
    byte order mark before a file's text, as some editors write, is no part of it.

    Example: `load_config("demo.toml", ["seed=1"], steps=20, peers={"failures": 0})`.

    Raises ConfigError, which says where the value at fault came from, where the file is missing, the TOML malformed, a
    key unknown, or where options contradict.
    """
    pairs = [*_pairs(overrides), *_pairs(keys)]
    if isinstance(source, Mapping):
        return _build(source, pairs, "the mapping")
    if isinstance(source, str) and _is_text(source):
        return _build(_parse_toml(source, "the TOML text"), pairs, "the TOML text")
    if not isinstance(source, str | Path):
        raise ConfigError(
            "a configuration is a file, a mapping, or TOML text", f"a {type(source).__name__}", "pass one of them"
        )
    path = Path(source)
    values = _parse_toml(_read(path), str(path))
    values.setdefault("run", f"runs/{path.stem}")
    config = _build(values, pairs, str(path))
    if config.rewards.functions and config.rewards.folder is None:
        rewards = config.rewards.model_copy(update={"folder": str(path.parent.resolve())})
        config = config.model_copy(update={"rewards": rewards})
    return config


def _is_text(source: str) -> bool:
    return ("\n" in source or "=" in source) and not os.path.exists(source)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        do = "check the path; `mopd init` helps to write a first one"
        raise ConfigError("a configuration is a TOML file that can be read", f"{path}: {error.strerror}", do) from error
    except UnicodeDecodeError as error:
        raise ConfigError("a configuration is text in UTF-8", f"{path}: {error}", "save the file as UTF-8") from error


def _parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError("a configuration is valid TOML", f"{where}: {error}", "mend that line") from error


def build_config(values: Mapping[str, Any], overrides: Overrides = (), where: str = "the configuration") -> Config:
    """The configuration that nested `values` and overrides say. Raises ConfigError.

    Dates and times are text in ISO form, as if they had been quoted: no key is a date, and a run keeps its
    configuration as JSON, which has none.
    """
    return _build(values, _pairs(overrides), where)


def _build(values: Mapping[str, Any], overrides: Sequence[tuple[str, Any]], where: str) -> Config:
    merged: dict[str, Any] = dict(values)
    for key, value in overrides:
        merged = _with_override(merged, key, value)
    origin = Origin(where, tuple(key for key, _ in overrides))
    merged = _as_json(merged, "", origin)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise explain(error, origin) from error


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


def _pairs(overrides: Overrides) -> list[tuple[str, Any]]:
    """Dotted keys with the values that overrides give them, in order. Raises ConfigError."""
    if isinstance(overrides, Mapping):
        return [pair for key, value in overrides.items() for pair in _flat(str(key), value)]
    if isinstance(overrides, str):
        raise ConfigError(
            "overrides are a list of key=value, or a mapping", f"overrides = {overrides!r}", "put it into a list"
        )
    return [(override_key(override), _parse_value(override)) for override in overrides]


def _flat(key: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        return [(key, value)]
    return [pair for name, inner in value.items() for pair in _flat(f"{key}.{name}", inner)]


def _with_override(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`values` with what one override says; they stay as they are themselves."""
    *parents, last = key.split(".")
    found = inner = dict(values)
    for parent in parents:
        child = inner.get(parent)
        if not isinstance(child, Mapping | None):
            raise ConfigError("an override names a key of a table", f"{parent} in {key} is no table", "check the key")
        inner[parent] = inner = dict(child or {})
    inner[last] = value
    return found


def _parse_value(override: str) -> Any:
    """The TOML value of an override; what is none (student=runs/a) is taken as a string."""
    text = override.partition("=")[2].strip()
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _as_json(value: Any, key: str, origin: Origin) -> Any:
    """What JSON holds of a value: dates, times and paths are text. Raises ConfigError where it is nothing like it."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(inner, f"{key}.{name}".lstrip("."), origin) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner, f"{key}.{index}", origin) for index, inner in enumerate(value)]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        got = f"{key} = {value} (from {origin.of(key)})"
        raise ConfigError(f"{key} is a finite number", got, "see its meaning with `mopd config`")
    if value is None or isinstance(value, str | int | float):
        return value
    must = f"{key} is text, a number, true or false, an array or a table"
    raise ConfigError(must, f"{key} = {value!r} (from {origin.of(key)})", "write it as one of them")
