"""The generated task `tool-calls`: a request in English, to be written as one call of one of six tools.

A task of the paper's kind, small enough for a model of 135 M parameters: which tool, which parameter gets which value,
and JSON without a slip. Values are said as tools want them: what a small model gets wrong in one attempt and right in
another can be learnt from peers, what it gets wrong always (a 7 pm that is 19:00) cannot. A prompt is the request
behind `TOOLS`; or the request alone, where the student's chat template says the tools in the form the model was
taught (configs/qwen-tool-calls.toml names them).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

TOOLS = """Write one tool call that does what is asked, as two lines:
Action: name of the tool
Action Input: JSON with its parameters

weather: city, date
alarm: time, label
convert: amount, from, to
table: place, people, time
train: from, to, date
message: to, text"""

_CITIES = (
    *("Paris", "Rome", "Oslo", "Cairo", "Lima", "Tokyo", "Delhi", "Quito", "Dakar", "Perth"),
    *("Turin", "Lyon", "Porto", "Bern", "Riga", "Minsk", "Sofia", "Milan", "Nice", "Kyoto"),
)
_PEOPLE = (
    *("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Hugo"),
    *("Iris", "Jonas", "Kate", "Leo", "Maria", "Noah", "Olga", "Peter"),
)
_CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CHF", "INR", "MXN", "SEK")
_LABELS = ("gym", "work", "school", "lunch", "dinner", "tea", "medicine", "yoga", "music", "running")
_PLACES = ("Luigi", "Sakura", "Bistro", "Verde", "Olive", "Lotus", "Harbor", "Garden", "Corner", "Palace")
_TEXTS = (
    "I am late",
    "call me",
    "see you soon",
    "happy birthday",
    "all is well",
    "bring milk",
    "good luck",
    "thank you",
)

Made = tuple[str, str, dict[str, Any]]
"""A request, the right tool's name, and its parameters."""


def _a_date(rng: random.Random) -> str:
    return f"{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _a_time(rng: random.Random) -> str:
    return f"{rng.randrange(24):02}:{rng.randrange(0, 60, 15):02}"


def _weather(rng: random.Random) -> Made:
    city, date = rng.choice(_CITIES), _a_date(rng)
    form = rng.choice(("Will it rain in {} on {}?", "What will {} be like on {}, sun or snow?"))
    return form.format(city, date), "weather", {"city": city, "date": date}


def _alarm(rng: random.Random) -> Made:
    label, time = rng.choice(_LABELS), _a_time(rng)
    form = rng.choice(("Wake me at {} for {}.", "Ring at {}, it is for {}."))
    return form.format(time, label), "alarm", {"time": time, "label": label}


def _convert(rng: random.Random) -> Made:
    amount = rng.randint(2, 99) * rng.choice((1, 5, 10))
    one, two = rng.sample(_CURRENCIES, 2)
    form = rng.choice(("How many {2} do I get for {0} {1}?", "I have {0} {1} and need {2}."))
    return (
        form.format(amount, one, two),
        "convert",
        {"amount": amount, "from": one, "to": two},
    )


def _table(rng: random.Random) -> Made:
    place, people, time = rng.choice(_PLACES), rng.randint(2, 9), _a_time(rng)
    form = rng.choice(("We are {1} and want to eat at {0} at {2}.", "Book {0} for {1} at {2}."))
    return form.format(place, people, time), "table", {"place": place, "people": people, "time": time}


def _train(rng: random.Random) -> Made:
    (one, two), date = rng.sample(_CITIES, 2), _a_date(rng)
    form = rng.choice(("I travel by rail to {1} from {0} on {2}.", "Get me from {0} to {1} on {2}."))
    return form.format(one, two, date), "train", {"from": one, "to": two, "date": date}


def _message(rng: random.Random) -> Made:
    person, text = rng.choice(_PEOPLE), rng.choice(_TEXTS)
    form = rng.choice(('Tell {0} "{1}".', 'Write "{1}" to {0}.'))
    return form.format(person, text), "message", {"to": person, "text": text}


_MAKERS: tuple[Callable[[random.Random], Made], ...] = (_weather, _alarm, _convert, _table, _train, _message)


def make_request(rng: random.Random) -> tuple[str, str]:
    """A request and its reference, in the form that the verifier `tool_use` reads."""
    request, name, parameters = rng.choice(_MAKERS)(rng)
    return request, json.dumps([{"Action": name, "Action_Input": json.dumps(parameters)}])
