"""Code: the last fenced block of Python of a completion, run in a sandbox on the problem's tests; all must pass.

`code_blocks` finds the block, `code_runs` runs it on tests of any type, `code_comparison` compares its answers with the
right ones, `code_cases` is what came of each test, and `code_feedback` what is said of those that failed.

`public_tests` are run first, in a sandbox that never sees a hidden input, and may be shown; of the hidden `tests` the
feedback tells the kind of failure and the line of the program alone.
"""

from __future__ import annotations

from typing import Literal

from mopd import sandbox
from mopd.core.errors import VerifierError
from mopd.core.files import is_unicode
from mopd.core.thinking import strip_thinking
from mopd.core.types import Problem, Verdict
from mopd.sandbox import SandboxFailure
from mopd.verifiers.code_blocks import demonstrate, last_block
from mopd.verifiers.code_cases import Case
from mopd.verifiers.code_comparison import are_same_text, are_same_values
from mopd.verifiers.code_feedback import SHOWN_CHARACTERS, feedback
from mopd.verifiers.code_runs import cases_of
from mopd.verifiers.code_tests import COMPARISONS, USUAL_COMPARISON, CodeTests, read_tests, says_nothing
from mopd.verifiers.pool import GraderFailure

__all__ = [
    "MAX_CODE_CHARACTERS",
    "SHOWN_CHARACTERS",
    "Case",
    "are_same_text",
    "are_same_values",
    "demonstrate",
    "last_block",
    "verify",
]

MAX_CODE_CHARACTERS = 100_000
"""A longer block is `unparsable`."""


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the program, which `last_block` finds, passes all tests. `details` has the share that it passed.

    Raises GraderFailure where the tests cannot be read or test nothing, and where code cannot be run here.
    """
    public, hidden, compare = _tests_of(problem)
    code = last_block(strip_thinking(completion))
    if code is None:
        return Verdict(0.0, "unparsable", None, "There is no closed block of Python (```python) in the completion.")
    if len(code) > MAX_CODE_CHARACTERS:
        return Verdict(0.0, "unparsable", None, f"The block of code has over {MAX_CODE_CHARACTERS} characters.")
    if "\0" in code or not is_unicode(code):
        return Verdict(0.0, "unparsable", None, "The block of code holds characters that no program can have.")
    try:
        sandbox.check()
        cases = cases_of(code, public, compare, is_public=True) if public else []
        cases += cases_of(code, hidden, compare, is_public=False)
    except (SandboxFailure, VerifierError) as error:
        raise GraderFailure(str(error)) from error
    passed = sum(case.outcome == "passed" for case in cases)
    details = {"tests_passed_share": passed / len(cases)}
    failures = [case for case in cases if case.outcome not in ("passed", "not run")]
    if not failures:
        return Verdict(1.0, "correct", code, details=details)
    kind: Literal["timeout", "wrong"] = "timeout" if failures[0].outcome == "timeout" else "wrong"
    return Verdict(0.0, kind, code, feedback(failures, code), details)


def _tests_of(problem: Problem) -> tuple[CodeTests | None, CodeTests, str]:
    columns = problem.columns
    compare = columns.get("compare") or USUAL_COMPARISON
    try:
        shown = columns.get("public_tests")
        public = None if shown is None or says_nothing(shown) else read_tests(shown)
        hidden = read_tests(columns.get("tests"))
    except ValueError as error:
        raise GraderFailure("the problem's tests cannot be read", str(error)) from error
    if compare not in COMPARISONS:
        raise GraderFailure(f"compare is one of {', '.join(COMPARISONS)}")
    return public, hidden, compare
