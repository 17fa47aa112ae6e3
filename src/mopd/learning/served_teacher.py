"""A teacher behind servers: it reads contexts there, and tells its most probable tokens alone.

A server tells the log-probabilities of its k most probable next tokens and of the token that follows. What lies on all
others together follows from these; how it is spread among them does not. It is spread evenly here, since predictions
are whole distributions everywhere else: a divergence over the teacher's k tokens and one tail never looks at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mopd.config import Config, ServedTeacher
from mopd.core.errors import ServerError
from mopd.core.statistics import mean_gap
from mopd.core.types import Lesson
from mopd.learning.teacher import Health, Reading
from mopd.method.predictions import Predictions
from mopd.parallel.ranks import ONE, Ranks
from mopd.scoring.rows import teacher_row
from mopd.serving.answers import Told, prompt_body, read_prompt
from mopd.serving.client import Client
from mopd.serving.fleet import Ask, Fleet, Server

LEAST_MASS = 1e-7
"""What all other tokens have together at least: what is told is rounded."""


class TeacherOnServers:
    """A teacher on servers. It has no weights here: a checkpoint holds nothing of it, and it never moves."""

    changes_within_step = False
    has_own_weights = False
    model: Any = None

    def __init__(
        self, teacher: ServedTeacher, config: Config, known: Collection[int], device: torch.device, ranks: Ranks = ONE
    ) -> None:
        self.known, self.device, self.ranks = frozenset(known), device, ranks
        self.size = 1 + max(self.known)
        self.k = 0 if config.divergence.kind == "sampled_reverse_kl" else min(config.divergence.k, len(self.known))
        self.temperature = config.sampling.temperature
        self.fleet = Fleet(teacher.servers, teacher.timeout_s, teacher.retries, config.compute.sampling_rows)

    def read(self, lessons: Sequence[Lesson]) -> Reading:
        """Let the servers read all contexts with the completions behind them. Raises ServerError."""
        told = self.fleet.ask_all([self._asking(lesson) for lesson in lessons])

        def of_lessons(indices: Sequence[int]) -> Callable[[Sequence[int]], Predictions]:
            chosen = [one for index in indices for one in told[index]]

            def of_tokens(numbers: Sequence[int]) -> Predictions:
                logits = whole_distributions([chosen[number] for number in numbers], self.size, self.known)
                return Predictions(logits.to(self.device), self.temperature)

            return of_tokens

        return of_lessons

    def _asking(self, lesson: Lesson) -> Ask[list[Told]]:
        row = teacher_row(lesson)
        places = [1 + before for before in row.scored_from]

        async def ask(client: Client, server: Server) -> list[Told]:
            answer = await client.post(server.url, "/v1/completions", prompt_body(row.token_ids, self.k))
            return read_prompt(answer, places, row.token_ids, self.k, self.known)

        return ask

    def follow(self, student_model: Any, health: Health, step: int) -> dict[str, float]:
        """It stays; what went wrong with its servers, as metrics."""
        counts = self.ranks.sum_numbers(self.fleet.take_counts())
        return {f"teacher/{name}": value for name, value in counts.items()}

    @property
    def state(self) -> dict[str, Any]:
        """Nothing: it is where it was."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as it is."""


PROBED = 64
"""Tokens of a text by which a teacher is known again."""

SAME_NATS = 0.1
"""Mean distance of log-probabilities up to which servers have the same weights: rounding to half precision was some .05
nats in SmolLM2 (`preflight.trial`)."""


def what_it_says(teacher: ServedTeacher, ids: Sequence[int], known: Collection[int]) -> list[float]:
    """The log-probabilities in nats that a served teacher gives the tokens of a text but the first.

    It is known again by these. Raises ServerError where its servers do not agree.
    """
    text = tuple(ids[:PROBED])

    async def ask(client: Client, server: Server) -> list[float]:
        answer = await client.post(server.url, "/v1/completions", prompt_body(text, 0))
        return [told.own for told in read_prompt(answer, range(1, len(text)), text, 0, known)]

    first, *others = Fleet(teacher.servers, teacher.timeout_s, teacher.retries, 1).ask_each(ask)
    for url, other in zip(teacher.servers[1:], others, strict=True):
        if (gap := mean_gap(first, other)) > SAME_NATS:
            raise ServerError(
                f"the servers of one teacher have the same weights: they agree to {SAME_NATS} nats",
                f"{url} is {gap:.2f} nats from {teacher.servers[0]} on average",
                "start all of them with one model (`mopd serve CONFIG.toml`)",
            )
    return first


def whole_distributions(told: Sequence[Told], size: int, known: Collection[int]) -> Float[Tensor, "n vocabulary"]:
    """What was told of n tokens, as log-probabilities of `size` ids in float32: the told ones as they are, the others
    with what is left, spread evenly over those `known`, and minus infinity for ids that no token has."""
    found = torch.full((len(told), size), -torch.inf)
    ids = torch.tensor(sorted(known))
    for row, one in enumerate(told):
        given = {**dict(zip(one.token_ids, one.logprobs, strict=True)), one.own_id: one.own}
        left = max(LEAST_MASS, 1 - math.fsum(map(math.exp, given.values())))
        found[row, ids] = math.log(left / max(1, len(ids) - len(given)))
        found[row, torch.tensor(list(given))] = torch.tensor(list(given.values()))
    return found
