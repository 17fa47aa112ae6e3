"""Sources: JSON lines, JSON, parquet and Hugging Face data sets, read into records. Content decides, not a suffix.

Problems of a starter come from the installed package and are read like any file.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mopd.config import HUB_PREFIX, SourceConfig
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.types import Message, Problem
from mopd.problems import generated, schemas
from mopd.problems.passed import Passed, Problems, Records
from mopd.problems.records import COLUMNS, GivenCompletion, Reading, Record, look_up, to_completions, to_problems
from mopd.problems.tables import table_rows
from mopd.starters import PREFIX as STARTER_PREFIX
from mopd.starters import problem_bytes

PARQUET_MAGIC = b"PAR1"
"""What a parquet file begins and ends with."""


def read_problems(
    source: SourceConfig,
    seed: int,
    needs_answer: bool = True,
    key: str = "problems",
    left_out: Counter[str] | None = None,
    passed: Passed | None = None,
) -> list[Problem]:
    """The problems of one source, generated, read or `passed`. `key` is the table of the configuration that says which.

    Records that a `record_schema` leaves out are counted in `left_out`, by reason. Raises ProblemError naming the file
    or data set with line, record or row and field; ConfigError where keys do not suit the source.
    """
    given = (passed or Passed()).of(source.source)
    make = given if isinstance(given, Problems) else generated.find(source.source)
    _check_keys(source, is_generated=make is not None, key=key)
    if make is not None:
        made = make(source, seed)
        problems = [replace(p, domain=source.domain) for p in made] if source.domain else made
    else:
        records = given.records if isinstance(given, Records) else _records(source)
        problems = _from_records(records, source, needs_answer, key, Counter() if left_out is None else left_out)
    return [_instructed(p, source.instruction) for p in problems] if source.instruction else problems


def _from_records(
    records: Iterable[Record], source: SourceConfig, needs_answer: bool, key: str, left_out: Counter[str]
) -> list[Problem]:
    if source.record_schema:
        records = schemas.convert(records, source.record_schema, source.options, key, left_out)
    return to_problems(records, source.source, _reading(source, needs_answer, key))


def _instructed(problem: Problem, instruction: str) -> Problem:
    """The problem with an instruction at the end of its last turn, which is the user's."""
    *turns, last = problem.messages
    content = f"{last['content']}\n\n{instruction}"
    return replace(problem, messages=(*turns, Message(role="user", content=content)))


def read_completions(source: SourceConfig) -> list[GivenCompletion]:
    """The completions, with their problems, of a file or data set whose records hold them.

    Raises ProblemError naming the file or data set with line, record or row and field.
    """
    if generated.find(source.source) is not None:
        do = "name a file whose records hold completions"
        raise ProblemError("completions are read from a file or data set", source.source, do)
    return to_completions(_records(source), source.source, _reading(source))


def _reading(source: SourceConfig, needs_answer: bool = True, key: str = "problems") -> Reading:
    columns = {str(wanted): name for wanted, name in source.columns.items()}
    return Reading(columns, source.verifier, source.domain, needs_answer, key)


def read_jsonl(path: Path, verifier: str = "auto") -> list[Problem]:
    """Problems of a file of JSON lines. Raises ProblemError naming file, line and field."""
    return to_problems(_json_lines(path, _decode(path, _read_bytes(path))), str(path), Reading(verifier=verifier))


def _check_keys(source: SourceConfig, is_generated: bool, key: str) -> None:
    """Refuse keys that the source would not read."""
    if source.options and not is_generated and not source.record_schema:
        must = f"{key}.options belong to a generated source, or to {key}.record_schema"
        raise ConfigError(must, f"a file, {source.source}", "remove them")
    for name in ("columns", "record_schema"):
        if getattr(source, name) and is_generated:
            raise ConfigError(f"{key}.{name} belongs to a file or data set", source.source, "remove it")
    if source.columns and source.record_schema:
        must = f"{key}.record_schema says what columns hold, or {key}.columns does"
        raise ConfigError(must, f"both, {source.record_schema} and {dict(source.columns)}", "remove one of them")
    if "completion" in source.columns:
        raise ConfigError(
            f"{key}.columns.completion belongs to given completions", "problems to attempt", "give it to `mopd verify`"
        )
    for name in ("subset", "split"):
        if getattr(source, name) is not None and not source.source.startswith(HUB_PREFIX):
            raise ConfigError(f"{key}.{name} belongs to a data set, hub:NAME", source.source, "remove it")


def _records(source: SourceConfig) -> Iterable[Record]:
    if source.source.startswith(HUB_PREFIX):
        return _hub_records(source)
    path = Path(source.source)
    data = problem_bytes(source.source) if source.source.startswith(STARTER_PREFIX) else _read_bytes(path)
    if data.startswith(PARQUET_MAGIC) or path.suffix == ".parquet":
        return _parquet_records(path, data)
    return _json_records(path, _decode(path, data), source.columns.get("prompt", COLUMNS["prompt"][0]))


# --- text -----------------------------------------------------------------------------------------------------------


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


# --- tables ---------------------------------------------------------------------------------------------------------


def _parquet_records(path: Path, data: bytes) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)) as file:
            yield from table_rows(file.iter_batches(), str(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise ProblemError(
            "a parquet file can be read to its end",
            f"{path}, {len(data)} bytes: {_first_line(error)}",
            "download or write it again",
        ) from error


# --- data sets ------------------------------------------------------------------------------------------------------


def _hub_records(source: SourceConfig) -> Iterator[Record]:
    import pyarrow

    name = source.source.removeprefix(HUB_PREFIX)
    where = source.source + (f" ({source.split})" if source.split else "")
    data = _open_folder(name, source) if name.startswith((".", "/", "~")) else _load(name, source)
    try:
        yield from table_rows(data.with_format("arrow").iter(batch_size=1000), where)
    except (pyarrow.ArrowException, OSError) as error:
        raise _cannot_open(source, error, "download or write it again") from error


def _open_folder(name: str, source: SourceConfig) -> Any:
    """A folder on this disk: one that `save_to_disk` wrote, or one with data files."""
    path = Path(name).expanduser()
    if not path.is_dir():
        raise ProblemError("a data set's folder exists", f"no folder {path}", "check problems.source")
    if any((path / written).is_file() for written in ("state.json", "dataset_dict.json")):
        return _load_saved(path, source)
    return _load(str(path.resolve()), source)


def _load_saved(path: Path, source: SourceConfig) -> Any:
    """What `save_to_disk` wrote: one split, or several by name."""
    import datasets

    if source.subset is not None:
        raise ConfigError("a data set that save_to_disk wrote has no subsets", source.subset, "remove problems.subset")
    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        raise _cannot_open(source, error, "write the folder again with save_to_disk") from error
    if isinstance(saved, dict):
        return _one_split(saved, source)
    if source.split not in (None, str(saved.split)):
        got = f"a data set of one split{'' if saved.split is None else f', {saved.split}'}"
        raise ProblemError(f"{source.source} has the split {source.split!r}", got, "remove problems.split")
    return saved


def _load(path: str, source: SourceConfig) -> Any:
    """What `datasets` loads, without ever running code that comes with the data."""
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(path, source.subset, split=source.split, trust_remote_code=False)
    except Exception as error:  # `datasets` raises what its readers raise: of arrow, pandas, the hub, its own
        if is_network_error(error):
            raise ProblemError(
                "the hub can be reached, or its data set is in the cache of `datasets`",
                f"{source.source}: {_first_line(error)}",
                "download its files where there is a network and give their path as problems.source (JSON, JSONL, "
                "parquet, or hub:./FOLDER); or fill the cache there (HF_HOME) and set HF_HUB_OFFLINE=1 here",
            ) from error
        raise _cannot_open(
            source, error, "check the name, problems.subset and problems.split, and its files"
        ) from error
    return _one_split(loaded, source) if source.split is None else loaded


def is_network_error(error: BaseException | None) -> bool:
    """True where an error or one that it came from is that of a network, by any of the libraries that `datasets` uses.

    An answer of the hub, such as 404, is none.
    """
    names = {"ConnectionError", "Timeout", "TimeoutError", "TransportError", "OfflineModeIsEnabled"}
    while error is not None:
        if any(base.__name__ in names for base in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False


def _cannot_open(source: SourceConfig, error: Exception, do: str) -> ProblemError:
    got = f"{source.source}: {type(error).__name__}: {_first_line(error)}"
    return ProblemError("`datasets` can open the data set", got, do)


def _one_split(splits: dict[str, Any], source: SourceConfig) -> Any:
    """The split asked for; else the only one, else `train`."""
    wanted = source.split or (next(iter(splits)) if len(splits) == 1 else "train")
    if wanted not in splits:
        raise ProblemError(
            f"{source.source} has the split {wanted!r}", f"the splits {', '.join(splits)}", "set problems.split"
        )
    return splits[wanted]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__
