"""Tables: parquet and other arrow batches, and CSV, as records."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mopd.core.errors import ProblemError
from mopd.problems.columns import Record


def parquet_records(path: Path, data: bytes) -> Iterator[Record]:
    """The rows of a parquet file. Raises ProblemError where it is damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)) as file:
            yield from rows_of(file.iter_batches(), str(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise ProblemError(
            "a parquet file can be read to its end",
            f"{path}, {len(data)} bytes: {first_line(error)}",
            "download or write it again",
        ) from error


def rows_of(batches: Iterable[Any], source: str) -> Iterator[Record]:
    """The rows of arrow batches. They are not decoded further, so no image or sound library is needed."""
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield Record({name: _plain(value) for name, value in values.items()}, source, "row", number)


def _plain(value: Any) -> Any:
    """A value as JSON could hold it where arrow has a type of its own: times and decimals become text."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_plain(held) for held in value]
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    return value


def first_line(error: Exception) -> str:
    """What an error says, in a line; libraries say more."""
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


# --- CSV ------------------------------------------------------------------------------------------------------------


def csv_records(path: Path, text: str, separator: str) -> Iterator[Record]:
    """The rows below the header of a CSV file, each numbered by the line that it begins on; an empty cell is None.

    Raises ProblemError naming the line where a row does not suit the header, or cannot be read.
    """
    rows = _csv_rows(path, text, separator)
    if not rows:
        return
    (line, names), *below = rows
    _check_header(f"{path}, line {line}", names)
    for line, cells in below:
        if len(cells) != len(names):
            raise ProblemError(
                "every row of a CSV file has one value for each column of its header",
                f"{len(cells)} values for {len(names)} columns in {path}, line {line}",
                "mend the row; a value that holds the separator or a line break stands in double quotes",
            )
        values = {name: cell or None for name, cell in zip(names, cells, strict=True)}
        yield Record(values, str(path), "line", line, are_cells=True)


def _csv_rows(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """The cells of each row with the line that it begins on; blank lines are none."""
    rows, line = [], 1
    usual = csv.field_size_limit(sys.maxsize)  # a prompt may be longer than Python's usual limit
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for cells in reader:
            if len(cells) > 1 or any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        do = 'mend the row; a double quote within a quoted value is written twice ("")'
        raise ProblemError("a CSV file can be read to its end", f"{path}, line {line}: {error}", do) from error
    finally:
        csv.field_size_limit(usual)
    return rows


def _check_header(where: str, names: list[str]) -> None:
    must = "the first row of a CSV file names its columns, each once"
    if not all(name.strip() for name in names):
        got = f"no name for column {1 + [bool(name.strip()) for name in names].index(False)} in {where}"
        raise ProblemError(must, got, "name it, or leave it out (pandas: to_csv(..., index=False))")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ProblemError(must, f"{twice[0]!r} more than once in {where}", "rename one of them")
