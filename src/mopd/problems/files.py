"""Problem files: bytes, compressed or not, to records. Content decides what a file is; a suffix, whether it is CSV."""

from __future__ import annotations

import difflib
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mopd.config import HUB_PREFIX
from mopd.core.errors import ProblemError
from mopd.problems import generated
from mopd.problems.columns import Record, look_up
from mopd.problems.tables import csv_records, first_line, parquet_records
from mopd.starters import PREFIX as STARTER_PREFIX
from mopd.starters import problem_bytes

PARQUET_MAGIC = b"PAR1"
"""What a parquet file begins and ends with."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""What parts the values of a row, by the suffix of the file: nothing in its content says so for certain."""


def file_records(path: Path, prompt: str) -> Iterable[Record]:
    """The records of a file, or of a starter: JSON lines, JSON, parquet or CSV, compressed with gzip or zstd or not.

    `prompt` is the column that holds prompts. Raises ProblemError naming the file, and line or record where there is
    one.
    """
    is_starter = str(path).startswith(STARTER_PREFIX)
    data = problem_bytes(str(path)) if is_starter else _uncompressed(path, _read_bytes(path))
    suffix = _inner_suffix(path)
    if data.startswith(PARQUET_MAGIC) or suffix == ".parquet":
        return parquet_records(path, data)
    text = _decode(path, data)
    if suffix in SEPARATORS:
        return csv_records(path, text, SEPARATORS[suffix])
    return _json_records(path, text, prompt)


def lines_of(path: Path) -> Iterator[Record]:
    """The records of a file of JSON lines, compressed or not. Raises ProblemError naming file and line."""
    return _json_lines(path, _decode(path, _uncompressed(path, _read_bytes(path))))


# --- bytes ----------------------------------------------------------------------------------------------------------


def _unpack_zstd(data: bytes) -> bytes:
    import pyarrow

    return bytes(pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read())


COMPRESSED: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    ".gz": (b"\x1f\x8b", gzip.decompress),
    ".zst": (b"\x28\xb5\x2f\xfd", _unpack_zstd),
}
"""What compressed files begin with, and what reads them, by their suffix."""


def _uncompressed(path: Path, data: bytes) -> bytes:
    for suffix, (magic, unpack) in COMPRESSED.items():
        if data.startswith(magic) or (data and path.suffix.lower() == suffix):
            try:
                return unpack(data)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise ProblemError(
                    "a compressed file can be read to its end",
                    f"{path}, {len(data)} bytes: {first_line(error)}",
                    f"download or write it again; if it is not compressed, take {suffix} off its name",
                ) from error
    return data


def _inner_suffix(path: Path) -> str:
    """The suffix that says what a file holds, in small letters, whether it is compressed or not."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


def _read_bytes(path: Path) -> bytes:
    """The file's content, read once: a pipe cannot be read again."""
    must = "a problem file exists and can be read"
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        do = f"write {HUB_PREFIX}{path} for a folder that `datasets` opens"
        raise ProblemError(must, f"{path}: {error.strerror}", do) from error
    except OSError as error:
        near = difflib.get_close_matches(str(path), generated.GENERATED, n=1)
        do = f"did you mean {near[0]}?" if near else "check problems.source"
        raise ProblemError(must, f"{path}: {error.strerror}", do) from error


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")  # a byte order mark, as some editors write it, is no part of the text
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        got = f"{path}, line {number}: {error.reason}"
        raise ProblemError("a problem file is UTF-8 text, or parquet", got, "save the file as UTF-8") from error


# --- JSON -----------------------------------------------------------------------------------------------------------


def _json_records(path: Path, text: str, prompt: str) -> Iterable[Record]:
    """JSON lines, or an array of records, or an object with one list of them: whichever the content is.

    An object that holds something in the column `prompt` is a record, whatever lists it has.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    first = _try_json(lines[0]) if lines else {}
    if isinstance(first, dict) and (
        len(lines) != 1 or look_up(first, prompt) is not None or not _lists_of_records(first)
    ):
        return _json_lines(path, text)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.lstrip().startswith("[") and (len(lines) == 1 or lines[1].lstrip().startswith("{")):
            return _json_lines(path, text)  # JSON lines, the first of them broken
        where = f"{path}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
        raise ProblemError(
            "a problem file is JSON lines, or one JSON array of records", f"{where}: {error}", "mend the file"
        ) from error
    return _array_records(path, whole)


def _try_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lists_of_records(value: dict[str, Any]) -> list[str]:
    """The keys of an object that hold lists of records; a prompt's list of turns is none."""
    return [
        key
        for key, held in value.items()
        if isinstance(held, list)
        and held
        and all(isinstance(e, dict) and not {"role", "content"} <= {*e} for e in held)
    ]


def _array_records(path: Path, whole: Any) -> Iterator[Record]:
    if isinstance(whole, dict):
        keys = _lists_of_records(whole)
        if len(keys) != 1:
            raise ProblemError(
                "a JSON object that is a problem file has one list of records",
                f"{path}: {'none' if not keys else 'lists in ' + ', '.join(keys)}",
                "make it an array of records, or JSON lines",
            )
        whole = whole[keys[0]]
    if not isinstance(whole, list):
        got = f"{path}: {type(whole).__name__}"
        raise ProblemError("a problem file is JSON lines, or one JSON array of records", got, "mend the file")
    for number, values in enumerate(whole, start=1):
        if not isinstance(values, dict):
            got = f"{path}, record {number}: {type(values).__name__}"
            raise ProblemError("every record of a problem file is one JSON object", got, "mend the record")
        yield Record(values, str(path), "record", number)


def _json_lines(path: Path, text: str) -> Iterator[Record]:
    must = "every line of a problem file is one JSON object"
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProblemError(must, f"{path}, line {number}: {error}", "mend the line") from error
        if not isinstance(values, dict):
            raise ProblemError(must, f"{path}, line {number}: {type(values).__name__}", "mend the line")
        yield Record(values, str(path), "line", number)
