"""An adapter's files: PEFT's `adapter_config.json` and `adapter_model.safetensors` in a folder or on the hub, and
beside them `base.json`, a digest of the weights that the adapter was trained on."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mopd.core.errors import AdapterError, ConfigError, StudentError
from mopd.core.files import dump_json
from mopd.models.places import OPENED, from_hub, is_path

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
PREFIX = "base_model.model."
"""What PEFT's files write before the names of a model's tensors."""

ALLOWED = {
    *("r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "use_rslora"),
    *("layers_to_transform", "layers_pattern", "fan_in_fan_out", "lora_dropout", "base_model_name_or_path"),
    *("peft_type", "peft_version", "auto_mapping", "inference_mode", "init_lora_weights", "task_type"),
}
"""Keys of adapter_config.json with which an adapter is weights A and B of linear layers, and nothing else. Dropout is
for training, and none is applied here."""

BASE_KEPT_BY = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base as it is; PiSSA and others take what they put into A and B out."""


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter on this disk, called `name`: its folder and the contents of adapter_config.json."""

    name: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def base(self) -> str:
        """The model that it is for: a path that is there, seen from its folder first, or a hub id.

        Raises AdapterError.
        """
        text = str(self.config.get("base_model_name_or_path") or "")
        if not text:
            raise self.refusal("an adapter names its base", f"no base_model_name_or_path in {CONFIG}", "set it there")
        path = Path(text).expanduser()
        places = [path] if path.is_absolute() else [self.folder / path, path]
        found = next((place for place in places if place.exists()), None)
        if found is None and (path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1):
            raise self.refusal(
                "the base of an adapter is where the adapter says",
                f"{text} does not exist",
                f"put the model back there (a link will do), or set base_model_name_or_path in its {CONFIG}",
            )
        return text if found is None else str(found.resolve())

    @property
    def digest(self) -> str | None:
        """The digest of the weights that it was trained on; None in files of other programs."""
        try:
            return str(json.loads((self.folder / BASE).read_text(encoding="utf-8"))["digest"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self.refusal(f"{BASE} of an adapter can be read", f"{BASE}: {error}", "restore it") from error

    def refusal(self, must: str, got: str, do: str) -> AdapterError:
        """An error of this adapter."""
        return AdapterError(must, f"adapter {self.name}: {got}", do)


def find_adapter(name: str) -> AdapterFiles | None:
    """The adapter that a folder or a hub id is; None of what is none. Raises StudentError, AdapterError."""
    path = Path(name).expanduser()
    if name.endswith(".gguf") or not name.strip():
        return None
    if path.is_dir():
        if not any(path.glob("adapter_*")):
            return None
        has_weights = any((path / file).is_file() for file in (WEIGHTS, "adapter_model.bin"))
        if any((path / file).exists() for file in OPENED) or not (path / CONFIG).is_file() or not has_weights:
            _refuse_half(name)
        return read_adapter(name, path)
    return None if is_path(name) else _find_adapter_on_hub(name)


def _find_adapter_on_hub(name: str) -> AdapterFiles | None:
    from transformers.utils import cached_file

    def fetched(file: str) -> str | None:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        return None if found is None else str(found)

    config = from_hub(name, lambda: fetched(CONFIG))
    if config is None:
        return None
    weights = from_hub(name, lambda: fetched(WEIGHTS))
    if weights is None or any(from_hub(name, partial(fetched, file)) for file in OPENED):
        _refuse_half(name)
    from_hub(name, lambda: [fetched(file) for file in (BASE, "tokenizer_config.json", "tokenizer.json")])
    return read_adapter(name, Path(config).parent)


def _refuse_half(name: str) -> None:
    """An adapter changes the model beside it, or one elsewhere; alone, either half is another model."""
    raise StudentError(
        f"a student's folder holds one whole model, or one adapter alone: {CONFIG} and {WEIGHTS}",
        f"{name} has an adapter beside a model's weights, or half of an adapter",
        "put the adapter into a folder of its own and use that; or merge it into its model (PEFT: "
        "`model.merge_and_unload().save_pretrained(FOLDER)`) and use that folder",
    )


def read_adapter(name: str, folder: Path) -> AdapterFiles:
    """The adapter in a folder, `name` being what a user calls it. Raises AdapterError where it is no plain LoRA."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise AdapterError(f"{CONFIG} can be read", f"adapter {name}: {CONFIG}: {error}", "fetch it again") from error
    found = AdapterFiles(name, folder, config)
    if unusual := _unusual(config):
        raise found.refusal(
            "an adapter is a plain LoRA of linear layers",
            f"{', '.join(unusual)} in its {CONFIG}",
            "merge it into its model first (PEFT: `model.merge_and_unload().save_pretrained(FOLDER)`) and use that "
            "folder",
        )
    return found


def _unusual(config: Mapping[str, Any]) -> list[str]:
    """What of an adapter's configuration makes it something else than A and B of linear layers."""
    if config.get("peft_type") != "LORA":
        return [f"peft_type = {config.get('peft_type')!r}"]
    plain = peft().LoraConfig().to_dict()
    found = [key for key, value in config.items() if key not in ALLOWED and value and value != plain.get(key)]
    if config.get("init_lora_weights", True) not in BASE_KEPT_BY:
        found.append("init_lora_weights")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        found.append("task_type")
    return [f"{key} = {config[key]!r}" for key in found]


def peft() -> Any:
    """The package peft. Raises ConfigError where it is missing."""
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("adapters need the package peft", "it is not installed", 'pip install "mopd[lora]"')
    return importlib.import_module("peft")


def read_weights(files: AdapterFiles) -> dict[str, Tensor]:
    """The tensors of an adapter's file by the names that PEFT writes. Raises AdapterError where it cannot be read."""
    try:
        loaded = peft().utils.save_and_load.load_peft_weights(str(files.folder), device="cpu")
    except Exception as error:  # safetensors and pickle each raise errors of their own
        got = f"{type(error).__name__}: {str(error)[:200]}"
        raise files.refusal("an adapter's weights can be read", got, "fetch it again") from error
    return {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in loaded.items()}


def check_base(files: AdapterFiles, digest: str) -> None:
    """Raises AdapterError where the base is not the one that the adapter was trained on, where that is known."""
    if files.digest not in (None, digest):
        raise files.refusal(
            "an adapter is used on the weights that it was trained on",
            f"the weights of its base, {files.base}, are others than those",
            "put that model back as it was",
        )


def write_adapter(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], digest: str | None) -> None:
    """Write an adapter's files; without a digest of its base where none is known."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    (folder / CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    if digest is not None:
        (folder / BASE).write_text(dump_json({"digest": digest}), encoding="utf-8")


def rewrite_adapter(files: AdapterFiles, folder: Path, dtype: torch.dtype) -> None:
    """Write an adapter to another folder in `dtype`, with its base named so that it is found from anywhere."""
    tensors = {name: tensor.to(dtype) for name, tensor in read_weights(files).items()}
    write_adapter(folder, {**files.config, "base_model_name_or_path": files.base}, tensors, files.digest)
