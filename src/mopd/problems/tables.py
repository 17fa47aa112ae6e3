"""Rows of tables, as parquet files and data sets hold them, as records."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable, Iterator
from typing import Any

from mopd.problems.records import Record


def table_rows(batches: Iterable[Any], source: str) -> Iterator[Record]:
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
