"""What a run depends on besides its configuration, found in its setup."""

from __future__ import annotations

from typing import Any

from mopd.learning.served_teacher import what_it_says
from mopd.preflight.setup import Setup
from mopd.runs.inputs import describe_inputs, freeze_day


def inputs_of(setup: Setup, began: str) -> dict[str, Any]:
    """What is compared when the run goes on. From here on templates write the day on which it `began`."""
    freeze_day(setup.student.tokenizer, began)
    functions = getattr(setup.judge, "functions", ())
    asked = setup.config.external_teacher
    external = None if setup.external is None or asked is None else (asked.model, setup.external)
    found = describe_inputs(setup.problems, functions, setup.student, external, _said_by_served_teacher(setup))
    setup.ranks.check_same("problems, reward functions, template and dtype", found)
    return found


def _said_by_served_teacher(setup: Setup) -> list[float] | None:
    """What a served teacher says of the first problem's prompt; None where the teacher is not served."""
    asked, tokenizer = setup.config.served_teacher, setup.student.tokenizer
    if asked is None:
        return None
    ids = tokenizer.encode_prompt(setup.problems.train[0].messages)
    return setup.ranks.first(lambda: what_it_says(asked, ids, tokenizer.token_ids))
