"""From a TOML file and overrides to a configuration, with errors that name the key."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mopd.config.config import Config
from mopd.config.describing import config_keys, kind_names
from mopd.core.errors import ConfigError


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


def _explain(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    kinds = kind_names()
    keys = [str(part) for part in first["loc"] if part not in kinds]
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
