"""Code: the last fenced block of a completion, run in a sandbox on the problem's tests; all must pass.

Three kinds of tests (`code_tests`): programs that read standard input and print, functions (or methods of a class
`Solution`) that are called, and tests that assert. Expected outputs never enter a sandbox: what a program answers is
compared here. Tests that assert run in a sandbox of their own, and the program's functions answer from another.

`public_tests` are run first, in a sandbox that never sees a hidden input, and may be shown; of the hidden `tests` the
feedback tells the kind of failure and the line of the program alone.
"""

from __future__ import annotations

import builtins
import math
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from mopd import sandbox
from mopd.code_tests import COMPARISONS, AssertTests, CodeTests, FunctionalTests, StdinTests, read_tests, says_nothing
from mopd.errors import VerifierError
from mopd.files import is_unicode
from mopd.sandbox import Ended, Sandbox, SandboxFailure, wall_s
from mopd.sandbox.harness.values import decode, encode
from mopd.thinking import strip_thinking
from mopd.types import Problem, Verdict
from mopd.verifiers.pool import GraderFailure

MAX_CODE_CHARACTERS = 100_000
"""A longer block is `unparsable`."""

SHOWN_CHARACTERS = 300
"""Inputs, outputs and messages are shown in feedback up to this length each."""

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)")
_RAISED = re.compile(r"(\w[\w.]*)(?:: (.*))?")
_LINE = re.compile(r'\s*File "<completion>", line (\d+)')


@dataclass(frozen=True)
class Case:
    """What came of one test. Texts are there for public tests alone, and for what happened before any test."""

    outcome: Literal["passed", "wrong", "raised", "timeout", "not run"]
    raised: str = ""
    line: int | None = None
    message: str = ""
    given: str = ""
    wanted: str = ""
    got: str = ""


def verify(problem: Problem, completion: str) -> Verdict:
    """Correct iff the last fenced block passes all tests. `details` has the share of tests that it passed.

    Raises GraderFailure where the tests cannot be read or test nothing, and where code cannot be run here.
    """
    public, hidden, compare = _tests_of(problem)
    code = last_block(strip_thinking(completion))
    if code is None:
        return Verdict(0.0, "unparsable", None, "There is no closed block of code (```) in the completion.")
    if len(code) > MAX_CODE_CHARACTERS:
        return Verdict(0.0, "unparsable", None, f"The block of code has over {MAX_CODE_CHARACTERS} characters.")
    if "\0" in code or not is_unicode(code):
        return Verdict(0.0, "unparsable", None, "The block of code holds characters that no program can have.")
    try:
        sandbox.check()
        cases = _run(code, public, compare, is_public=True) if public else []
        cases += _run(code, hidden, compare, is_public=False)
    except (SandboxFailure, VerifierError) as error:
        raise GraderFailure(str(error)) from error
    passed = sum(case.outcome == "passed" for case in cases)
    details = {"tests_passed_share": passed / len(cases)}
    failures = [case for case in cases if case.outcome not in ("passed", "not run")]
    if not failures:
        return Verdict(1.0, "correct", code, details=details)
    kind: Literal["timeout", "wrong"] = "timeout" if failures[0].outcome == "timeout" else "wrong"
    return Verdict(0.0, kind, code, _feedback(failures, code), details)


def last_block(completion: str) -> str | None:
    """The content of the last closed fenced block of Markdown; None where there is none. Linear in its length."""
    found: str | None = None
    fence, lines = "", list[str]()
    for line in completion.split("\n"):
        match = _FENCE.fullmatch(line.rstrip("\r"))
        if not fence and match:
            fence, lines = match[1], []
        elif fence and match and match[1].startswith(fence) and not match[2].strip():
            found, fence = "\n".join(lines), ""
        else:
            lines.append(line)
    return found


def demonstrate(program: str) -> str:
    """A program as a completion gives it."""
    return f"```python\n{program}\n```"


def _tests_of(problem: Problem) -> tuple[CodeTests | None, CodeTests, str]:
    columns = problem.columns
    compare = columns.get("compare") or "exact"
    try:
        shown = columns.get("public_tests")
        public = None if shown is None or says_nothing(shown) else read_tests(shown)
        hidden = read_tests(columns.get("tests"))
    except ValueError as error:
        raise GraderFailure("the problem's tests cannot be read", str(error)) from error
    if compare not in COMPARISONS:
        raise GraderFailure(f"compare is one of {', '.join(COMPARISONS)}")
    return public, hidden, compare


# --- running --------------------------------------------------------------------------------------------------------


def _run(code: str, tests: CodeTests, compare: str, is_public: bool) -> list[Case]:
    """One case a test, in order. After the first timeout the rest is not run."""
    if isinstance(tests, AssertTests):
        return _run_asserts(code, tests, is_public)
    cases: list[Case] = []
    pairs: list[tuple[Any, Any]] = list(zip(tests.inputs, tests.outputs, strict=True))
    run: type[_Programs | _Calls] = _Programs if isinstance(tests, StdinTests) else _Calls
    try:
        with Sandbox(sandbox.limits()) as box:
            runner = run(box, code, tests, compare)
            for given, wanted in pairs:
                case = runner.case(given, wanted)
                cases.append(case if is_public else _without_texts(case))
                if case.outcome == "timeout":
                    break
    except Ended as ended:
        cases.append(_ended(ended))
    except _DidNotLoad as error:
        cases.append(error.case)
    return cases + [Case("not run")] * (len(pairs) - len(cases))


class _DidNotLoad(Exception):
    """A program that fails before it is asked anything, so that its message can be shown."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case


def _without_texts(case: Case) -> Case:
    return Case(case.outcome, case.raised, case.line)


def _ended(ended: Ended) -> Case:
    if ended.reason == "time":
        return Case("timeout")
    return Case("wrong", message="It wrote too much." if ended.reason == "output" else "It ended its own process.")


class _Programs:
    """Programs that read standard input and print: a fresh process for each test."""

    def __init__(self, box: Sandbox, code: str, tests: StdinTests | FunctionalTests, compare: str) -> None:
        self.box, self.code, self.compare = box, code, compare
        self.time_s = tests.time_limit_s or box.limits.time_s

    def case(self, given: str, wanted: str) -> Case:
        output_bytes = max(self.box.limits.output_bytes, 2 * len(wanted))
        said = self.box.run(self.code, given, self.time_s, output_bytes)
        if said.limit == "time":
            return Case("timeout", given=given)
        if said.limit == "output" or said.status is None:
            return Case("wrong", message=f"It printed over {output_bytes} bytes.", given=given)
        if said.status != 0:
            return _raised_in(said.stderr, said.status, given)
        is_same = are_same_text(said.stdout, wanted, self.compare)
        return Case("passed" if is_same else "wrong", given=given, wanted=wanted, got=said.stdout)


def _raised_in(stderr: str, status: int, given: str) -> Case:
    """The error that a traceback of the program ends in; of whatever else it wrote, nothing is believed."""
    lines = stderr.rstrip().split("\n")
    match = _RAISED.fullmatch(lines[-1])
    numbers = [int(found[1]) for line in lines if (found := _LINE.match(line))]
    if match is None or not numbers:
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        return Case("raised", message=f"It ended with {how}.", given=given)
    return Case("raised", match[1], numbers[-1], match[2] or "", given)


class _Calls:
    """Calls of a function of the program's, one after another in one process. It may answer, and no more."""

    def __init__(self, box: Sandbox, code: str, tests: StdinTests | FunctionalTests, compare: str) -> None:
        assert isinstance(tests, FunctionalTests)
        self.box, self.compare, self.function = box, compare, tests.function
        self.time_s = tests.time_limit_s or box.limits.time_s
        _load(box, code, self.time_s * (1 + len(tests.inputs)), wall_s(self.time_s))

    def case(self, given: tuple[Any, ...], wanted: Any) -> Case:
        shown = ", ".join(map(repr, given))
        self.box.send({"call": self.function, "args": [encode(value, _no_handle) for value in given]})
        reply = self.box.receive(wall_s(self.time_s), self.box.limits.output_bytes + 2 * len(repr(wanted)))
        if "raised" in reply:
            case = _raised_by(reply)
            return Case(case.outcome, case.raised, case.line, case.message, shown)
        try:
            got = decode(reply["value"], lambda _: object())
            is_same, text = are_same_values(got, wanted, self.compare), repr(got)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return Case("wrong", message="What it returned cannot be read.", given=shown)
        return Case("passed" if is_same else "wrong", given=shown, wanted=repr(wanted), got=text)


def _no_handle(value: object) -> int:
    raise TypeError(f"no argument of a test is a {type(value).__name__}")


def _load(box: Sandbox, code: str, cpu_s: float, within_s: float) -> None:
    """Have the program loaded, to answer calls. Raises _DidNotLoad where it fails."""
    box.begin(do="serve", code=code, cpu_s=cpu_s)
    reply = box.receive(within_s, 2**17)
    if "raised" in reply:
        raise _DidNotLoad(_raised_by(reply))


def _raised_by(reply: dict[str, Any]) -> Case:
    line = reply.get("line")
    return Case(
        "raised", str(reply["raised"]), line if isinstance(line, int) else None, str(reply.get("message") or "")
    )


def _run_asserts(code: str, tests: AssertTests, is_public: bool) -> list[Case]:
    """The tests' units as cases; one case alone where they do not come to an end."""
    time_s = tests.time_limit_s or sandbox.limits().time_s
    try:
        with Sandbox(sandbox.limits()) as program, Sandbox(sandbox.limits()) as tester:
            _load(program, code, time_s, wall_s(time_s))
            tester.begin(do="test", code=tests.code, entry_point=tests.entry_point)
            verdict, raised = _relay(program, tester, time.monotonic() + wall_s(time_s))
    except Ended as ended:
        return [_ended(ended)]
    except _DidNotLoad as error:
        return [error.case]
    if "broken" in verdict:
        raise GraderFailure(f"the tests that assert are no tests: {verdict['broken']}")
    first = _first_failure(verdict["first"], raised, tests) if verdict["first"] else Case("wrong")
    failures = [first if is_public else _without_texts(first), *[Case("wrong")] * (verdict["failed"] - 1)]
    return [Case("passed")] * verdict["passed"] + (failures if verdict["failed"] else [])


def _relay(program: Sandbox, tester: Sandbox, deadline: float) -> tuple[dict[str, Any], Case | None]:
    """The tests' verdict, and what the program raised last. Tests ask; the program's answers go back as they are."""
    most, raised = program.limits.output_bytes, None
    while True:
        asked = tester.receive(deadline - time.monotonic(), 2 * most)
        if "verdict" in asked:
            return asked["verdict"], raised
        program.send(asked)
        reply = program.receive(deadline - time.monotonic(), most)
        if "raised" in reply:
            raised = _raised_by(reply)
        tester.send(reply)


def _first_failure(first: dict[str, Any], raised: Case | None, tests: AssertTests) -> Case:
    """The first unit that failed: where the program raised, that; else the assertion as it stands in the tests."""
    source = tests.code.split("\n")[first["lines"][0] - 1 : first["lines"][1]] if first["lines"] else []
    given = "\n".join(source)
    if raised is not None and first["raised"] in (raised.raised, "ProgramRaised"):
        return Case("raised", raised.raised, raised.line, raised.message, given)
    return Case("wrong", given=given)


# --- comparing ------------------------------------------------------------------------------------------------------


def are_same_text(got: str, wanted: str, compare: str) -> bool:
    """Whether a program printed what it should have, as `COMPARISONS` says."""
    if compare == "exact":
        return _stripped(got) == _stripped(wanted)
    ours, theirs = got.split(), wanted.split()
    if compare == "tokens":
        return ours == theirs
    return len(ours) == len(theirs) and all(map(_are_close_words, ours, theirs))


def _stripped(text: str) -> list[str]:
    """Lines without trailing white space, and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _are_close_words(got: str, wanted: str) -> bool:
    if got == wanted:
        return True
    if len(got) > 400 or "_" in got:  # no number that a program prints, whatever `float` accepts
        return False
    try:
        return math.isclose(float(got), float(wanted), rel_tol=1e-6)
    except ValueError:
        return False


def are_same_values(got: Any, wanted: Any, compare: str) -> bool:
    """Whether a function returned what it should have: as JSON has values, so that a tuple is a list."""
    if isinstance(got, list | tuple) and isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(are_same_values(a, b, compare) for a, b in zip(got, wanted, strict=True))
    if isinstance(got, dict) and isinstance(wanted, dict):
        ours = {str(key): value for key, value in got.items()}
        return ours.keys() == wanted.keys() and all(are_same_values(ours[k], v, compare) for k, v in wanted.items())
    if compare == "float" and isinstance(got, int | float) and isinstance(wanted, int | float):
        return got == wanted or math.isclose(got, wanted, rel_tol=1e-6)
    if isinstance(got, str) and isinstance(wanted, str) and compare != "exact":
        return are_same_text(got, wanted, compare)
    return bool(got == wanted)


# --- feedback -------------------------------------------------------------------------------------------------------


def _feedback(failures: list[Case], code: str) -> str:
    """The first error, else the first timeout, else the shortest wrong public case, else that hidden tests fail."""
    raised = [case for case in failures if case.outcome == "raised"]
    if raised:
        return _on_error(raised[0], code)
    late = [case for case in failures if case.outcome == "timeout"]
    if late:
        return "The program ran over its time limit" + (
            f" on the input:\n{_cut(late[0].given)}" if late[0].given else "."
        )
    public = [case for case in failures if case.given or case.message]
    if not public:
        return "The answer to a hidden test is wrong."
    case = min(public, key=lambda case: len(case.given))
    if case.message or not case.wanted:
        return f"{case.message or 'A test fails:'}\n{_cut(case.given)}".strip()
    return f"Wrong answer on the input:\n{_cut(case.given)}\nexpected:\n{_cut(case.wanted)}\ngot:\n{_cut(case.got)}"


def _on_error(case: Case, code: str) -> str:
    """Of an error its built-in name and the line of the program; its message only where the test may be shown."""
    kind = getattr(builtins, case.raised, None)
    is_builtin = isinstance(kind, type) and issubclass(kind, BaseException)
    name = case.raised if is_builtin or case.message or case.given else "an exception of its own"
    said = f"{name}: {_cut(case.message)}" if case.message and name else case.message or name
    lines = code.split("\n")
    where = ""
    if case.line is not None and 0 < case.line <= len(lines):
        where = f" in line {case.line} (`{_cut(lines[case.line - 1].strip())}`)"
    return f"The program fails{where}: {said or 'an error'}" + (
        f"\non the input:\n{_cut(case.given)}" if case.given else ""
    )


def _cut(text: str) -> str:
    """`text`, or its beginning and end around how much is left out."""
    if len(text) <= SHOWN_CHARACTERS:
        return text.rstrip("\n")
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters left out) ... {text[-half:]}".rstrip("\n")
