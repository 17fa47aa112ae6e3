"""Runs of a program on its tests, by their type (`code_tests`), in a sandbox.

Some programs read standard input and print, some have a function (or a method of a class `Solution`) that is called,
and some are asked by tests that assert. Expected outputs never enter a sandbox: what a program answers is compared
here. Tests that assert run in a sandbox of their own, and the program's functions answer from another.
"""

from __future__ import annotations

import time
from typing import Any

from mopd import sandbox
from mopd.sandbox import Ended, Sandbox, wall_s
from mopd.sandbox.harness.values import decode, encode
from mopd.verifiers.code_cases import Case, case_of_end, case_of_raised, case_of_traceback, without_texts
from mopd.verifiers.code_comparison import are_same_text, are_same_values
from mopd.verifiers.code_tests import AssertTests, CodeTests, FunctionalTests, StdinTests
from mopd.verifiers.pool import GraderFailure


def cases_of(code: str, tests: CodeTests, compare: str, is_public: bool) -> list[Case]:
    """One case a test, in order. After the first timeout the rest is not run."""
    if isinstance(tests, AssertTests):
        return _cases_of_asserts(code, tests, is_public)
    cases: list[Case] = []
    pairs: list[tuple[Any, Any]] = list(zip(tests.inputs, tests.outputs, strict=True))
    run: type[_Programs | _Calls] = _Programs if isinstance(tests, StdinTests) else _Calls
    try:
        with Sandbox(sandbox.limits()) as box:
            runner = run(box, code, tests, compare)
            for given, wanted in pairs:
                case = runner.case(given, wanted)
                cases.append(case if is_public else without_texts(case))
                if case.outcome == "timeout":
                    break
    except Ended as ended:
        cases.append(case_of_end(ended))
    except _DidNotLoad as error:
        cases.append(error.case)
    return cases + [Case("not run")] * (len(pairs) - len(cases))


class _DidNotLoad(Exception):
    """A program that fails before it is asked anything, so that its message can be shown."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case


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
            return case_of_traceback(said.stderr, said.status, given)
        is_same = are_same_text(said.stdout, wanted, self.compare)
        return Case("passed" if is_same else "wrong", given=given, wanted=wanted, got=said.stdout)


class _Calls:
    """Calls of a function of the program's, one after another in one process. It may answer, and no more."""

    def __init__(self, box: Sandbox, code: str, tests: StdinTests | FunctionalTests, compare: str) -> None:
        assert isinstance(tests, FunctionalTests)
        self.box, self.compare, self.function = box, compare, tests.function
        self.time_s = tests.time_limit_s or box.limits.time_s
        _load(box, code, self.time_s * (1 + len(tests.inputs)), wall_s(self.time_s))

    def case(self, given: tuple[Any, ...], wanted: Any) -> Case:
        shown = ", ".join(map(repr, given))
        within_s = wall_s(self.time_s)
        self.box.send({"call": self.function, "args": [encode(value, _no_handle) for value in given]}, within_s)
        reply = self.box.receive(within_s, self.box.limits.output_bytes + 2 * len(repr(wanted)))
        if "raised" in reply:
            case = case_of_raised(reply)
            return Case(case.outcome, case.raised, case.line, case.message, shown)
        try:
            got = decode(reply["value"], lambda _: _Unsent())
            is_same, text = are_same_values(got, wanted, self.compare), repr(got)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return Case("wrong", message="What it returned cannot be read.", given=shown)
        return Case("passed" if is_same else "wrong", given=shown, wanted=repr(wanted), got=text)


class _Unsent:
    """What a program returned that is no value. It equals nothing."""

    def __repr__(self) -> str:
        return "an object that is no value"


def _no_handle(value: object) -> int:
    raise TypeError(f"no argument of a test is a {type(value).__name__}")


def _load(box: Sandbox, code: str, cpu_s: float, within_s: float) -> None:
    """Have the program loaded, to answer calls. Raises _DidNotLoad where it fails."""
    box.begin(within_s, do="serve", code=code, cpu_s=cpu_s)
    reply = box.receive(within_s, 2**17)
    if "raised" in reply:
        raise _DidNotLoad(case_of_raised(reply))


def _cases_of_asserts(code: str, tests: AssertTests, is_public: bool) -> list[Case]:
    """The tests' units as cases; one case alone where they do not come to an end."""
    time_s = tests.time_limit_s or sandbox.limits().time_s
    try:
        with Sandbox(sandbox.limits()) as program, Sandbox(sandbox.limits()) as tester:
            _load(program, code, time_s, wall_s(time_s))
            deadline = time.monotonic() + wall_s(time_s)
            tester.begin(wall_s(time_s), do="test", code=tests.code, entry_point=tests.entry_point)
            verdict = _relayed_verdict(program, tester, deadline)
    except Ended as ended:
        return [case_of_end(ended)]
    except _DidNotLoad as error:
        return [error.case]
    if "broken" in verdict:
        raise GraderFailure(f"the tests that assert are no tests: {verdict['broken']}")
    first = _case_of_first_failure(verdict["first"], tests) if verdict["first"] else Case("wrong")
    failures = [first if is_public else without_texts(first), *[Case("wrong")] * (verdict["failed"] - 1)]
    return [Case("passed")] * verdict["passed"] + (failures if verdict["failed"] else [])


def _relayed_verdict(program: Sandbox, tester: Sandbox, deadline: float) -> dict[str, Any]:
    """The tests' verdict. Each side asks and answers in turns, and what it says goes to the other as it is."""
    most = program.limits.output_bytes
    while True:
        asked = tester.receive(deadline - time.monotonic(), 2 * most)
        if "verdict" in asked:
            verdict: dict[str, Any] = asked["verdict"]
            return verdict
        program.send(asked, deadline - time.monotonic())
        reply = program.receive(deadline - time.monotonic(), most)
        tester.send(reply, deadline - time.monotonic())


def _case_of_first_failure(first: dict[str, Any], tests: AssertTests) -> Case:
    """The first unit that failed: where the program raised, that; else the assertion as it stands in the tests."""
    source = tests.code.split("\n")[first["lines"][0] - 1 : first["lines"][1]] if first["lines"] else []
    given = "\n".join(source)
    if not first["raised"]:
        return Case("wrong", given=given)
    case = case_of_raised(first["raised"])
    return Case(case.outcome, case.raised, case.line, case.message, given)
