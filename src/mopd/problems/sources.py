"""Sources: generated problems, files (`files`) and Hugging Face data sets, read into problems or given completions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mopd.config import HUB_PREFIX, SourceConfig
from mopd.core.errors import ConfigError, ProblemError
from mopd.core.types import Message, Problem
from mopd.problems import generated, schemas
from mopd.problems.columns import COLUMNS, Reading, Record
from mopd.problems.files import file_records, lines_of
from mopd.problems.passed import Passed, Problems, Records
from mopd.problems.records import GivenCompletion, to_completions, to_problems
from mopd.problems.tables import first_line, rows_of


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


def read_completions(source: SourceConfig, needs_answer: bool = True) -> list[GivenCompletion]:
    """The completions, with their problems, of a file or data set whose records hold them.

    Without `needs_answer` records may lack an answer. Raises ProblemError naming the file or data set with line, record
    or row and field.
    """
    if generated.find(source.source) is not None:
        do = "name a file whose records hold completions"
        raise ProblemError("completions are read from a file or data set", f"completions from {source.source}", do)
    return to_completions(_records(source), source.source, _reading(source, needs_answer))


def _reading(source: SourceConfig, needs_answer: bool = True, key: str = "problems") -> Reading:
    columns = {str(wanted): name for wanted, name in source.columns.items()}
    return Reading(columns, source.verifier, source.domain, needs_answer, key)


def read_jsonl(path: Path, verifier: str = "auto") -> list[Problem]:
    """Problems of a file of JSON lines. Raises ProblemError naming file, line and field."""
    return to_problems(lines_of(path), str(path), Reading(verifier=verifier))


def _check_keys(source: SourceConfig, is_generated: bool, key: str) -> None:
    """Refuse keys that the source would not read."""
    if source.options and not is_generated and not source.record_schema:
        must = f"{key}.options belong to a generated source, or to {key}.record_schema"
        raise ConfigError(must, f"{key}.options beside a file, {source.source}", "remove them")
    for name in ("columns", "record_schema"):
        if getattr(source, name) and is_generated:
            raise ConfigError(
                f"{key}.{name} belongs to a file or data set", f"{key}.{name} beside {source.source}", "remove it"
            )
    if source.columns and source.record_schema:
        must = f"{key}.record_schema says what columns hold, or {key}.columns does"
        raise ConfigError(
            must, f"both are set, {source.record_schema} and {dict(source.columns)}", "remove one of them"
        )
    if "completion" in source.columns:
        raise ConfigError(
            f"{key}.columns.completion belongs to given completions",
            "a column of completions beside problems to attempt",
            "give it to `mopd verify`",
        )
    for name in ("subset", "split"):
        if getattr(source, name) is not None and not source.source.startswith(HUB_PREFIX):
            raise ConfigError(
                f"{key}.{name} belongs to a data set, hub:NAME", f"{key}.{name} beside {source.source}", "remove it"
            )


def _records(source: SourceConfig) -> Iterable[Record]:
    if source.source.startswith(HUB_PREFIX):
        return _hub_records(source)
    return file_records(Path(source.source), source.columns.get("prompt", COLUMNS["prompt"][0]))


# --- data sets ------------------------------------------------------------------------------------------------------


def _hub_records(source: SourceConfig) -> Iterator[Record]:
    import pyarrow

    name = source.source.removeprefix(HUB_PREFIX)
    where = source.source + (f" ({source.split})" if source.split else "")
    data = _open_folder(name, source) if name.startswith((".", "/", "~")) else _load(name, source)
    try:
        yield from rows_of(data.with_format("arrow").iter(batch_size=1000), where)
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
        raise ConfigError(
            "a data set that save_to_disk wrote has no subsets", f"subset = {source.subset!r}", "remove problems.subset"
        )
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
                f"{source.source}: {first_line(error)}",
                "download its files where there is a network and give their path as problems.source (JSON, JSONL, "
                "CSV, parquet, or hub:./FOLDER); or fill the cache there (HF_HOME) and set HF_HUB_OFFLINE=1 here",
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
    got = f"{source.source}: {type(error).__name__}: {first_line(error)}"
    return ProblemError("`datasets` can open the data set", got, do)


def _one_split(splits: dict[str, Any], source: SourceConfig) -> Any:
    """The split asked for; else the only one, else `train`."""
    wanted = source.split or (next(iter(splits)) if len(splits) == 1 else "train")
    if wanted not in splits:
        raise ProblemError(
            f"{source.source} has the split {wanted!r}",
            f"{source.source} has the splits {', '.join(splits)}",
            "set problems.split",
        )
    return splits[wanted]
