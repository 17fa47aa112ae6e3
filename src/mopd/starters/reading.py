"""The files of this room, read from the installed package: the working directory plays no part."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from importlib.resources import files

from mopd.core.errors import ConfigError, MopdError, ProblemError

PREFIX = "starter:"
"""What a source begins with that names a starter's problems."""

HEADER = ("# trains: ", "# needs: ", "# takes: ")
"""What the first lines of a starter begin with."""

_STUDENT = re.compile(r'^student = "[^"\n]*"', flags=re.MULTILINE)


def kinds() -> list[str]:
    """The kinds of starters, by name."""
    return _names(".toml")


def summary(kind: str) -> list[str]:
    """What a starter trains, what it needs and how long it takes, as its first lines say."""
    return [line.removeprefix(begin) for begin, line in zip(HEADER, starter(kind).splitlines(), strict=False)]


def starter(kind: str, student: str | None = None) -> str:
    """The TOML text of a starter, with `student` in place of its own. Raises ConfigError."""
    if kind not in kinds():
        raise _unknown(ConfigError, "`mopd init` has a starter of this kind", kind, kinds())
    text = (files(__name__.rpartition(".")[0]) / f"{kind}.toml").read_text(encoding="utf-8")
    if student is None:
        return text
    if not student.strip():
        raise ConfigError("--student names a model", "--student is empty", "see whether a variable is set")
    named = f"student = {json.dumps(student, ensure_ascii=False)}"
    return _STUDENT.sub(lambda found: named, text, count=1)


def problem_bytes(source: str) -> bytes:
    """The problem file that a source `starter:KIND` names. Raises ProblemError."""
    kind, known = source.removeprefix(PREFIX), _names(".jsonl")
    if kind not in known:
        raise _unknown(ProblemError, f"a source {PREFIX}KIND names problems that mopd brings along", kind, known)
    return (files(__name__.rpartition(".")[0]) / f"{kind}.jsonl").read_bytes()


def _names(suffix: str) -> list[str]:
    entries = files(__name__.rpartition(".")[0]).iterdir()
    return sorted(entry.name.removesuffix(suffix) for entry in entries if entry.name.endswith(suffix))


def _unknown(error: type[MopdError], must: str, kind: str, known: Sequence[str]) -> MopdError:
    near = difflib.get_close_matches(kind, known, n=1, cutoff=0.0)
    return error(must, repr(kind), f"did you mean {near[0]}? There are {', '.join(known)}")
