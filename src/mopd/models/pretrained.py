"""Pretrained students: a folder, a GGUF file or a hub id, opened by transformers with errors that say what to do.

Weights come in float32 whatever the file holds: they are the masters that the optimiser updates. Code that a model
repository brings along is never run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from mopd.core.errors import StudentError
from mopd.models.adapter_files import AdapterFiles, check_base, find_adapter
from mopd.models.adapters import attach, merge
from mopd.models.gguf import Gguf, apply_pre_tokenizer, apply_rope, check_all_read, read_gguf, rope_scaling
from mopd.models.places import HUB_HELP, OPENED, first_lines, from_hub, is_path
from mopd.models.weights import weights_digest

WEIGHTS = ("*.safetensors", "*.bin")


def open_pretrained(name: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, a `.gguf` file, or a hub id such as `Qwen/Qwen3-0.6B`; of an adapter its base,
    the adapter merged into it. Raises StudentError, AdapterError."""
    if (adapter := find_adapter(name)) is None:
        return _open_whole(name)
    model, tokenizer = open_base(adapter)
    check_base(adapter, weights_digest(model) if adapter.digest else "")
    attach(model, adapter)
    merge(model)
    return model, tokenizer


def open_base(adapter: AdapterFiles) -> tuple[Any, Any]:
    """(model, tokenizer): the base of an adapter, and the tokenizer that lies beside it, or else the base's. Raises
    AdapterError."""
    base = adapter.base
    try:
        if find_adapter(base) is not None:
            raise adapter.refusal(
                "the base of an adapter is a whole model", f"{base} is an adapter", "merge that first"
            )
        model, tokenizer = _open_whole(base)
    except StudentError as error:
        raise adapter.refusal(error.must, f"its base: {error.got}", error.do) from error
    return model, _own_tokenizer(adapter) or tokenizer


def _own_tokenizer(adapter: AdapterFiles) -> Any:
    """The tokenizer that lies beside an adapter, with the template that it was trained under; None where none does."""
    from transformers import AutoTokenizer

    if not any((adapter.folder / file).is_file() for file in ("tokenizer_config.json", "tokenizer.json")):
        return None
    folder = str(adapter.folder)
    return _opened(adapter.name, True, lambda kind: kind.from_pretrained(folder), AutoTokenizer)[0]


def _open_whole(name: str) -> tuple[Any, Any]:
    hide_transformers_bars()
    if not name.strip():
        raise StudentError("a student has a name", "student is empty", "set student; see whether a variable is set")
    path = Path(name).expanduser()
    if name.endswith(".gguf"):
        return _open_gguf(path)
    if path.is_dir():
        _check_folder(path)
        return _open(str(path), is_local=True)
    if is_path(name):
        raise StudentError(
            "a student is `builtin:NAME`, a folder with a transformers model, a .gguf file or a hub id",
            f"student {name} does not exist",
            "check the key student",
        )
    return _open_hub(name)


def open_tokenizer(name: str) -> tuple[Any, ...]:
    """(configuration, tokenizer) of a student named as for `open_pretrained`, no weights. Raises StudentError,
    AdapterError."""
    from transformers import AutoConfig, AutoTokenizer

    if (adapter := find_adapter(name)) is not None:
        config, tokenizer = open_tokenizer(adapter.base)
        return config, _own_tokenizer(adapter) or tokenizer
    opened = _without_weights(name, AutoConfig, AutoTokenizer)
    if name.endswith(".gguf"):
        apply_pre_tokenizer(_read_gguf(Path(name).expanduser()), opened[1])
    return opened


def open_config(name: str) -> Any:
    """The configuration alone of a student named as for `open_pretrained`. Raises StudentError, AdapterError."""
    from transformers import AutoConfig

    adapter = find_adapter(name)
    return _without_weights(name, AutoConfig)[0] if adapter is None else open_config(adapter.base)


def _without_weights(name: str, *kinds: Any) -> tuple[Any, ...]:
    path = Path(name).expanduser()
    is_gguf, is_local = name.endswith(".gguf"), path.exists()
    where = str(path.parent if is_gguf else path) if is_local else name
    options = {"gguf_file": path.name} if is_gguf else {}
    return _opened(name, is_local, lambda kind: kind.from_pretrained(where, **options), *kinds)


def _open(name: str, is_local: bool, config: Any = None, **options: Any) -> tuple[Any, Any]:
    """(model, tokenizer), the model under `config` if given, else under its file's; all of its tensors are used."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for_model: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    for_model |= {} if config is None else {"config": config}

    def open_one(kind: Any) -> Any:
        more = for_model if kind is AutoModelForCausalLM else {}
        return kind.from_pretrained(name, local_files_only=is_local, **more, **options)

    (model, report), tokenizer = _opened(name, is_local, open_one, AutoModelForCausalLM, AutoTokenizer)
    _check_all_used(name, type(model).__name__, report)
    _move_into_aligned_memory(model)
    return model, tokenizer


def _check_all_used(name: str, architecture: str, report: Mapping[str, Any]) -> None:
    """Refuse a file that is not the model's: transformers fills a missing tensor with random numbers, drops others.

    Both happen with a prefix of a wrapper in the names, a folder of another kind of model, or one layer too many or few
    in config.json; and each time the model opens otherwise.
    """
    missing, unused = (sorted(report[key]) for key in ("missing_keys", "unexpected_keys"))
    if not missing and not unused:
        return
    said = [f"{len(keys)} {what}, {keys[0]} first" for what, keys in (("missing", missing), ("unused", unused)) if keys]
    prefix = next((key.removesuffix(wanted) for wanted in missing for key in unused if key.endswith(wanted)), "")
    raise StudentError(
        f"a student's files have every tensor of {architecture}, and no other",
        f"{name}: {'; '.join(said)}",
        f"take the prefix {prefix!r} off the names (save the model itself, not what wraps it)"
        if prefix
        else "save the causal language model whole, with its own config.json; what a trainer adds to it (a value head, "
        "a classifier) cannot be trained here",
    )


def _opened(name: str, is_local: bool, open_one: Callable[[Any], Any], *kinds: Any) -> tuple[Any, ...]:
    """What transformers opens of each kind. transformers, tokenizers and safetensors each raise errors of their own."""
    try:
        return tuple(open_one(kind) for kind in kinds)
    except StudentError:
        raise
    except Exception as error:
        raise StudentError(
            "transformers can open the student as a causal language model",
            f"{name}: {type(error).__name__}: {first_lines(error)}",
            "check the folder's files; a model that needs code of its own is not supported" if is_local else HUB_HELP,
        ) from error


def _move_into_aligned_memory(model: Any) -> None:
    """Weights mapped from a file lie where its header happens to end, and matrix products round by that.

    A run that is resumed opens another file than the one it began with, and must compute the same.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def _open_hub(name: str) -> tuple[Any, Any]:
    """From the hub or its cache. The configuration is asked for first, so that an unreachable hub is told at once."""
    from transformers import AutoConfig

    config = from_hub(name, lambda: AutoConfig.from_pretrained(name))
    _refuse_quantised(name, config.to_dict())
    return _open(name, is_local=False)


# --- folders --------------------------------------------------------------------------------------------------------


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise StudentError(
            "a student's folder holds a transformers model",
            f"{path} has no config.json",
            "check the key student",
        )
    _refuse_quantised(str(path), _read_json(path / "config.json"))
    if not any(file for pattern in WEIGHTS for file in path.glob(pattern)):
        raise StudentError(
            "a student's folder holds weights (*.safetensors)",
            f"{path} has no weights",
            "fetch the weights too; `hf download ID --local-dir DIR` fetches all files",
        )
    used = next((path / name for name in OPENED if (path / name).exists()), None)
    if used is not None and used.suffix == ".json":
        _check_shards(path, used)
    for file in sorted(path.glob("*.safetensors")):
        _check_safetensors(file)


def _read_json(file: Path) -> dict[str, Any]:
    """An object; empty where the file holds none, which transformers then says."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_quantised(name: str, config: Mapping[str, Any]) -> None:
    """Some ways can be opened here and on no GPU, some the other way round; none of them can be trained as it is."""
    method = config.get("quantization_config")
    if method:
        kind = method.get("quant_method") if isinstance(method, Mapping) else method
        raise StudentError(
            "a student's weights are not quantised: all of them are trained",
            f"{name} has a quantization_config ({kind})",
            "use the model that it was made from, or a .gguf file, whose weights are made full again",
        )


INTEGERS_AS_WEIGHTS = ("I8", "I16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4")
"""Numbers, in the words of a safetensors file, that are weights only with a scale. (Masks are BOOL or U8, ids I64.)"""


def _check_shards(path: Path, index: Path) -> None:
    try:
        wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StudentError("a model's index of shards can be read", f"{index}: {error}", "fetch it again") from error
    if missing := sorted(name for name in wanted if not (path / name).is_file()):
        raise StudentError(
            f"all {len(wanted)} shards of the model are there",
            f"{len(missing)} missing in {path}, {missing[0]} first",
            "fetch them again; the download stopped half-way",
        )


def _check_safetensors(file: Path) -> None:
    """A file is as long as its header says. Half a download is named before anything reads it."""
    header: dict[str, Any] = {}
    size = 0
    try:
        size = file.stat().st_size
        with open(file, "rb") as opened:
            header_size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(header_size)) if header_size < size else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        is_whole = header_size < size and size == 8 + header_size + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise StudentError(
            "a file of weights is whole",
            f"{file}, {size} bytes, is shorter than its header says or is no safetensors file",
            "fetch it again; the download stopped half-way, or only a pointer file was fetched",
        )
    for name, entry in header.items():
        if name != "__metadata__" and len(entry["shape"]) > 1 and entry["dtype"] in INTEGERS_AS_WEIGHTS:
            raise StudentError(
                "weights are floating-point numbers of 16 bits or more",
                f"{file}: {name} is {entry['dtype']}, and nothing says by what it is scaled",
                "use the model that it was made from",
            )


# --- GGUF -----------------------------------------------------------------------------------------------------------


def _open_gguf(path: Path) -> tuple[Any, Any]:
    """A GGUF file, its weights made full again, as a model that can be trained and saved like any other."""
    from transformers import AutoConfig

    if not path.is_file():
        raise StudentError("a .gguf student is a file", f"{path} does not exist", "check the key student")
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise StudentError("a .gguf file begins with GGUF", f"{path} begins with something else", "fetch it again")
    gguf = _read_gguf(path)
    where, option = str(path.parent), {"gguf_file": path.name}
    config = None
    if scaling := rope_scaling(gguf):
        (config,) = _opened(str(path), True, lambda kind: kind.from_pretrained(where, **option), AutoConfig)
        apply_rope(gguf, scaling, config)
    model, tokenizer = _open(where, is_local=True, config=config, **option)
    check_all_read(gguf, model)
    apply_pre_tokenizer(gguf, tokenizer)
    if gguf.end_ids:
        model.generation_config.eos_token_id = gguf.end_ids
    # The weights are plain tensors now; transformers would refuse to save a model that is marked as quantised.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer


def _read_gguf(path: Path) -> Gguf:
    return cast(Gguf, _opened(str(path), True, lambda read: read(path), read_gguf)[0])


def hide_transformers_bars() -> None:
    """transformers would draw a bar for every checkpoint written or read."""
    from transformers.utils import logging

    logging.disable_progress_bar()
