"""Fetch MBPP (974 short Python problems with tests, CC BY 4.0) and write its published splits as JSON lines.

    python scripts/fetch_mbpp.py [--from mbpp.jsonl] [--folder data/mbpp]

Without `--from` the data set google-research-datasets/mbpp is loaded from the Hugging Face hub; a file has the same
columns. `train.jsonl` holds problems 601 to 974, `test.jsonl` 11 to 510, as published.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mopd.core.files import write_file

SPLITS = {"train": range(601, 975), "test": range(11, 511)}
"""Task ids of each split, as the paper has them (Austin et al. 2021, arXiv 2108.07732)."""


def read_records(file: Path | None) -> Iterable[Mapping[str, Any]]:
    """All records, of a file or from the hub."""
    if file is not None:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    from datasets import concatenate_datasets, load_dataset

    try:
        return list(concatenate_datasets(list(load_dataset("google-research-datasets/mbpp", "full").values())))
    except Exception as error:  # the hub's own errors are of many kinds
        reason = str(error).splitlines()[0]
        raise SystemExit(f"error: MBPP cannot be loaded from the hub ({reason}); give a file with --from") from error


def main() -> None:
    """Write the splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="file", type=Path, help="a file of MBPP's records, one JSON object a line")
    parser.add_argument("--folder", type=Path, default=Path("data/mbpp"))
    options = parser.parse_args()
    if all((options.folder / f"{name}.jsonl").is_file() for name in SPLITS):
        print(f"{options.folder} is there")
        return
    by_id = {record["task_id"]: dict(record) for record in read_records(options.file)}
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, ids in SPLITS.items():
        if missing := [number for number in ids if number not in by_id]:
            raise SystemExit(f"error: {len(missing)} problems of MBPP's {name} split are missing, such as {missing[0]}")
        text = "".join(json.dumps(by_id[number]) + "\n" for number in ids)
        write_file(options.folder / f"{name}.jsonl", text)
    print(f"{options.folder} is ready: {', '.join(f'{name} {len(ids)}' for name, ids in SPLITS.items())} problems")


if __name__ == "__main__":
    main()
