"""Write the problems of configs/stand-ins/: small files, one a domain, in the form of records of docs/data-sets.md.

The problems are trivial on purpose, so that a student of 0.4 million parameters solves some of them after a minute on
one CPU; the files are committed, and the same every time.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "configs" / "stand-ins"

Record = dict[str, Any]


# --- code -----------------------------------------------------------------------------------------------------------


def code(rng: random.Random) -> list[Record]:
    """Programs and functions about a number, with tests of the three kinds. Some have no public tests.

    Hidden inputs and outputs are long and in no prompt, so that one that leaked would be seen.
    """
    makers = {"stdin": _stdin, "functional": _functional, "assert": _assert}
    return [
        {
            "id": f"{kind}-{number}-{wording}",
            "kind": "code",
            "domain": "code",
            "prompt": _ASKED[kind][wording] + str(number),
        }
        | _some_public(make(number, rng), number)
        for number in range(2, 10)
        for wording in range(4)
        for kind, make in makers.items()
    ]


_ASKED = {
    "stdin": (
        "Program: print the input and ",
        "Program: echo the input and ",
        "Print what is read and ",
        "Print the line and ",
    ),
    "functional": ("Function f(x): x plus ", "f(x) is x plus ", "Write f: x plus ", "From f(x) return x + "),
    "assert": ("Function g(x): x times ", "g(x) is x times ", "Write g: x times ", "From g(x) return x * "),
}


def _some_public(record: Record, number: int) -> Record:
    return {key: value for key, value in record.items() if key != "public_tests" or number % 3}


def _stdin(number: int, rng: random.Random) -> Record:
    words = [f"zebra{rng.randrange(1000, 10_000)}" for _ in range(2)]
    body = rng.choice((f"print(input()+'{number}')", f'print(input()+"{number}")'))
    return {
        "solution": _block(body),
        "tests": {"testtype": "stdin", "inputs": words, "outputs": [f"{word}{number}\n" for word in words]},
        "public_tests": {"testtype": "stdin", "inputs": ["a"], "outputs": [f"a{number}\n"]},
    }


def _functional(number: int, rng: random.Random) -> Record:
    given = [rng.randrange(100_000, 1_000_000) for _ in range(2)]
    body = rng.choice((f"def f(x): return x+{number}", f"def f(x): return {number}+x"))
    return {
        "solution": _block(body),
        "tests": {
            "testtype": "functional",
            "fn_name": "f",
            "inputs": [[x] for x in given],
            "outputs": [x + number for x in given],
        },
        "public_tests": {"testtype": "functional", "fn_name": "f", "inputs": [[1]], "outputs": [1 + number]},
    }


def _assert(number: int, rng: random.Random) -> Record:
    given = [rng.randrange(100_000, 1_000_000) for _ in range(2)]
    body = rng.choice((f"def g(x): return x*{number}", f"def g(x): return {number}*x"))
    asserts = "".join(f"    assert g({x}) == {x * number}\n" for x in given)
    return {
        "solution": _block(body),
        "tests": {"testtype": "assert", "code": f"def check(g):\n{asserts}", "entry_point": "g"},
        "public_tests": {"testtype": "assert", "code": f"assert g(1) == {number}\n"},
    }


def _block(body: str) -> str:
    return f"```python\n{body}\n```"


# --- mathematics ----------------------------------------------------------------------------------------------------


def math(rng: random.Random) -> list[Record]:
    """Sums without a carry. As in DAPO-Math the final answer stands in `solution`; the way to it in `worked`."""
    pairs = rng.sample([(a, b) for a in range(100, 1000, 100) for b in range(10, 100)], 184)
    return [
        {"prompt": f"{a}+{b}=?", "solution": f"{a + b}", "worked": rng.choice(_WAYS).format(a=a, b=b, c=a + b)}
        for a, b in pairs
    ]


_WAYS = ("\\boxed{{{c}}}", "{a}+{b}=\\boxed{{{c}}}", "It is \\boxed{{{c}}}")


def math_examination(rng: random.Random) -> list[Record]:
    """Held-out sums, under the column names of MathArena."""
    made = math(rng)[160:]
    return [
        {"problem_idx": index, "problem": record["prompt"], "answer": int(record["solution"])}
        for index, record in enumerate(made, start=1)
    ]


# --- science --------------------------------------------------------------------------------------------------------

_THINGS = {
    "metal": ("gold", "iron", "zinc", "lead", "tin", "copper"),
    "gas": ("neon", "argon", "helium", "xenon", "radon", "ozone"),
    "planet": ("Mars", "Venus", "Saturn", "Uranus", "Jupiter", "Neptune"),
    "bone": ("femur", "tibia", "ulna", "skull", "rib", "fibula"),
}


def science(rng: random.Random) -> list[Record]:
    """Multiple choice: which of four things is of a kind."""
    return [_question(index, rng) for index in range(144)]


def _question(index: int, rng: random.Random) -> Record:
    kinds = rng.sample(list(_THINGS), 4)
    things = [rng.choice(_THINGS[kind]) for kind in kinds]
    right = rng.randrange(4)
    letter = "ABCD"[right]
    shown = "\n".join(f"{label}: {thing}" for label, thing in zip("ABCD", things, strict=True))
    answer = f"<answer>{letter}</answer>"
    return {
        "id": f"science-{index}",
        "kind": "mcq",
        "domain": "science",
        "prompt": f"Which is a {kinds[right]}?\n{shown}",
        "answer": letter,
        "solution": rng.choice((answer, f"{things[right]} {answer}")),
    }


# --- tool use -------------------------------------------------------------------------------------------------------

_TOOLS = {
    "weather": ("city", ("The weather in {}?", "Weather in {}?", "How is the weather in {}?")),
    "train": ("to", ("A train to {}.", "Book a train to {}.", "I take the train to {}.")),
    "hotel": ("place", ("A bed in {}.", "Find a hotel in {}.", "I sleep in {}.")),
}
_CITIES = ("Oslo", "Rome", "Lima", "Bern", "Riga", "Nice", "Kyiv", "Doha")


def tool_use(rng: random.Random) -> list[Record]:
    """Single calls of one of three tools."""
    records = [_request(tool, city, wording, rng) for tool in _TOOLS for city in _CITIES for wording in range(3)]
    rng.shuffle(records)
    return records


def _request(tool: str, city: str, wording: int, rng: random.Random) -> Record:
    parameter, asked = _TOOLS[tool]
    spaced = json.dumps({parameter: city})
    return {
        "id": f"{tool}-{city}-{wording}",
        "kind": "tooluse",
        "domain": "tool-use",
        "system": "Tools: weather(city), train(to), hotel(place)",
        "prompt": asked[wording].format(city),
        "answer": [{"Action": tool, "Action_Input": spaced}],
        "solution": f"Action: {tool}\nAction Input: {rng.choice((spaced, spaced.replace(' ', '')))}",
    }


# --- files ----------------------------------------------------------------------------------------------------------


def files() -> dict[str, str]:
    """Every file's name and text. JSONL, but for tool use, whose files are JSON arrays as its recipe's are."""
    calls = tool_use(random.Random(4))
    return {
        "code.jsonl": _lines(code(random.Random(1))),
        "math.jsonl": _lines(math(random.Random(2))[:160]),
        "math-held-out.jsonl": _lines(math_examination(random.Random(2))),
        "science.jsonl": _lines(science(random.Random(3))),
        "tool-use.json": _array(calls[:56]),
        "tool-use-held-out.json": _array(calls[56:]),
    }


def _lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _array(records: Sequence[Record]) -> str:
    return "[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
