"""Write the problems of the starters, src/mopd/starters/*.jsonl: what `problems.source = "starter:KIND"` names.

They are small and easy, so that a model of some hundred million parameters solves some of them. The files are
committed, and the same every time.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starter_programs import PROGRAMS

FOLDER = Path(__file__).parents[1] / "src" / "mopd" / "starters"

Record = dict[str, Any]


# --- mathematics ----------------------------------------------------------------------------------------------------

_STORIES = (
    ("{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have now?", "+"),
    ("{name} had {c} {thing} and gave away {b}. How many {thing} are left?", "-"),
    ("There are {a} boxes with {b} {thing} in each. How many {thing} are there in all?", "*"),
    ("{c} {thing} are shared equally among {b} children. How many does each child get?", "/"),
)
_NAMES = ("Ana", "Ben", "Chen", "Dara", "Emil", "Fatima", "Goran", "Hana")
_PLAIN = {
    "+": "What is {a} + {b}?",
    "-": "What is {c} - {b}?",
    "*": "What is {a} times {b}?",
    "/": "Divide {c} by {b}.",
}
_THINGS = ("apples", "pencils", "stamps", "coins", "books", "marbles", "shells", "cards")


def math(rng: random.Random) -> list[Record]:
    """One step of arithmetic, asked plainly and in a story by turns, with the way to the answer as solution."""
    made: dict[str, Record] = {}
    while len(made) < 64:
        record = _sum(len(made), rng)
        made.setdefault(record["prompt"], record)
    return list(made.values())


def _sum(index: int, rng: random.Random) -> Record:
    story, sign = _STORIES[index // 2 % 4]
    high = 9 if sign in "*/" else 40
    a, b = rng.randint(2, high), rng.randint(2, high)
    c = a + b if sign in "+-" else a * b
    shown, answer = {
        "+": (f"{a} + {b}", c),
        "-": (f"{c} - {b}", a),
        "*": (f"{a} \\times {b}", c),
        "/": (f"{c} / {b}", a),
    }[sign]
    asked = story if index % 2 else _PLAIN[sign]
    names = {"name": _NAMES[index // 8], "thing": _THINGS[index % 8]}
    return {
        "kind": "math",
        "domain": "math",
        "prompt": asked.format(a=a, b=b, c=c, **names),
        "answer": str(answer),
        "solution": f"{shown} = \\boxed{{{answer}}}",
    }


# --- multiple choice ------------------------------------------------------------------------------------------------

_KINDS = {
    "a bird": ("sparrow", "eagle", "owl", "penguin", "heron", "robin", "stork", "finch"),
    "a fruit": ("apple", "pear", "mango", "plum", "cherry", "banana", "peach", "fig"),
    "a metal": ("iron", "copper", "zinc", "gold", "tin", "lead", "silver", "nickel"),
    "a planet": ("Mars", "Venus", "Saturn", "Jupiter", "Neptune", "Uranus", "Mercury", "Earth"),
    "a musical instrument": ("violin", "flute", "drum", "piano", "trumpet", "harp", "cello", "oboe"),
    "a country": ("Peru", "Kenya", "Norway", "Japan", "Chile", "Egypt", "India", "Cuba"),
    "a part of the body": ("elbow", "knee", "ear", "ankle", "shoulder", "wrist", "thumb", "heel"),
    "a piece of furniture": ("table", "chair", "sofa", "desk", "shelf", "bed", "stool", "wardrobe"),
}


def multiple_choice(rng: random.Random) -> list[Record]:
    """Which of four things is of a kind; every thing is asked for once."""
    asked = [(kind, thing) for kind, things in _KINDS.items() for thing in things]
    rng.shuffle(asked)
    return [_question(kind, thing, rng) for kind, thing in asked]


def _question(kind: str, thing: str, rng: random.Random) -> Record:
    others = [rng.choice(_KINDS[other]) for other in rng.sample([k for k in _KINDS if k != kind], 3)]
    options = [thing, *others]
    rng.shuffle(options)
    letter = "ABCD"[options.index(thing)]
    shown = "\n".join(f"{label}: {option}" for label, option in zip("ABCD", options, strict=True))
    return {
        "kind": "mcq",
        "domain": "multiple_choice",
        "prompt": f"Which of these is {kind}?\n\n{shown}",
        "answer": letter,
        "solution": f"<answer>{letter}</answer>",
    }


# --- tool use -------------------------------------------------------------------------------------------------------

_SYSTEM = (
    "You have three tools:\nweather(city): the weather in a city\ntimer(minutes): rings after some minutes\n"
    "translate(word): a word in French\nAnswer with one call and nothing else, in this form:\n"
    'Action: weather\nAction Input: {"city": "Oslo"}'
)
_TOOLS = {
    "weather": (
        "city",
        ("Rome", "Lima", "Bern", "Riga", "Nice", "Doha", "Cairo", "Quito", "Tunis", "Seoul"),
        ("What is the weather in {}?", "Do I need an umbrella in {} today?"),
    ),
    "timer": (
        "minutes",
        ("5", "8", "10", "12", "15", "20", "25", "30", "40", "45"),
        ("Wake me in {} minutes.", "The eggs need {} minutes, tell me when."),
    ),
    "translate": (
        "word",
        ("bread", "river", "window", "garden", "winter", "letter", "bridge", "candle", "forest", "mirror"),
        ("How do the French say {}?", "I need the French word for {}."),
    ),
}


def tool_use(rng: random.Random) -> list[Record]:
    """Requests that one call of one of three tools fulfils."""
    records = [
        {
            "kind": "tooluse",
            "domain": "tool_use",
            "system": _SYSTEM,
            "prompt": asked.format(value),
            "answer": [{"Action": tool, "Action_Input": json.dumps({parameter: value})}],
            "solution": f"Action: {tool}\nAction Input: {json.dumps({parameter: value})}",
        }
        for tool, (parameter, values, wordings) in _TOOLS.items()
        for value in values
        for asked in wordings
    ]
    rng.shuffle(records)
    return records


# --- code -----------------------------------------------------------------------------------------------------------


def code(rng: random.Random) -> list[Record]:
    """Functions to write. What the tests expect is what the solutions return."""
    records = [_program(*program) for program in PROGRAMS]
    rng.shuffle(records)
    return records


def _program(asked: str, source: str, calls: Sequence[Sequence[Any]]) -> Record:
    names: dict[str, Any] = {}
    exec(source, names)
    name = source.partition("(")[0].removeprefix("def ")
    tests = {
        "testtype": "functional",
        "fn_name": name,
        "inputs": [list(arguments) for arguments in calls],
        "outputs": [names[name](*arguments) for arguments in calls],
    }
    first = {key: held[:1] if isinstance(held, list) else held for key, held in tests.items()}
    shown = ", ".join(map(repr, calls[0]))
    return {
        "kind": "code",
        "domain": "code",
        "prompt": f"Write a Python function {asked} For example, {name}({shown}) is {tests['outputs'][0]!r}.",
        "tests": tests,
        "public_tests": first,
        "solution": f"```python\n{source.strip()}\n```",
    }


# --- reward ---------------------------------------------------------------------------------------------------------

_SUBJECTS = {
    "rain": ("umbrella", "cloud"),
    "a cat": ("mouse", "milk"),
    "the sea": ("ship", "waves"),
    "breakfast": ("bread", "coffee"),
    "winter": ("snow", "coat"),
    "a garden": ("roses", "bees"),
    "a train": ("station", "window"),
    "music": ("piano", "song"),
    "school": ("teacher", "lesson"),
    "a forest": ("trees", "path"),
    "the moon": ("night", "light"),
    "a market": ("fruit", "basket"),
    "a bicycle": ("road", "bell"),
    "a birthday": ("cake", "friends"),
    "a river": ("bridge", "fish"),
    "a letter": ("stamp", "mail"),
}


def reward(rng: random.Random) -> list[Record]:
    """Orders for one sentence. There is no answer: the columns `word` and `most_words` are for the reward function."""
    wishes = [(subject, word, most) for subject, words in _SUBJECTS.items() for word in words for most in (9, 14)]
    rng.shuffle(wishes)
    return [
        {
            "domain": "reward",
            "prompt": f"Write one sentence about {subject}. Use the word {word}, and at most {most} words in all.",
            "word": word,
            "most_words": most,
        }
        for subject, word, most in wishes
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def problem_files() -> dict[str, str]:
    """Every file's name and text, in JSON lines."""
    makers = (code, math, multiple_choice, reward, tool_use)
    return {
        f"{make.__name__}.jsonl": "".join(json.dumps(record) + "\n" for record in make(random.Random(seed)))
        for seed, make in enumerate(makers)
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in problem_files().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
