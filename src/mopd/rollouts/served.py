"""The engines that sample by vLLM servers: the student's, whose weights are pushed, and an external teacher's.

All rollouts of one problem are one request. Its seed comes from what the rollouts' randomness is for, so whichever
server answers draws the same numbers; what is drawn by them differs where servers, or other requests in their batch,
round otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mopd.config import ComputeConfig, Sampling, ServedTeacher, VllmEngineConfig
from mopd.core.errors import ServerError
from mopd.core.seeding import derive_seed
from mopd.core.types import Rollout
from mopd.models.student import Reader, Student
from mopd.models.tokenizer import ChatTokenizer
from mopd.rollouts.engine import SamplingRequest, tell_nobody
from mopd.scoring.rows import Row
from mopd.scoring.scorer import Scorer
from mopd.scoring.vocabulary import unknown_ids
from mopd.serving.answers import Written, prompt_body, read_completions, read_prompt
from mopd.serving.client import Client, Unanswered, Work
from mopd.serving.fleet import Ask, Fleet, Server
from mopd.serving.identity import identify
from mopd.serving.weights import Pushed, WeightsFolder, push, version_on

MOST_APART_NATS = 0.5
"""Mean distance of log-probabilities between a server and the learner, of which some .05 are rounding."""

TRAINING = "rollout"
"""The purpose, in a request's key, of rollouts that are trained on."""

NEVER = -100.0
"""Added to the logits of ids that no token has."""


COUNTED = ("pushes_count", "failed_pushes_count", "older_rollouts_count")
"""What is counted besides requests: servers that were given weights, that could not be, and rollouts by older ones."""


class Writer:
    """Completions from servers, whoever's weights they have."""

    def __init__(self, fleet: Fleet, tokenizer: ChatTokenizer, unknown: Sequence[int] = ()) -> None:
        self.fleet, self.tokenizer = fleet, tokenizer
        self.bias = {str(index): NEVER for index in unknown}

    def body(self, request: SamplingRequest, sampling: Sampling) -> dict[str, Any]:
        """What a server is asked. Every option that its model's own configuration could set otherwise is said."""
        return {
            "prompt": list(request.prompt_ids),
            "n": request.count,
            "seed": derive_seed(*request.key) // 2,  # rollout j draws by the seed + j
            "max_tokens": sampling.completion_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "ignore_eos": True,  # what ends a completion is told:
            "stop_token_ids": sorted(self.tokenizer.end_ids),
            "logprobs": 0,
            "return_token_ids": True,
            **({"logit_bias": self.bias} if self.bias else {}),
        }

    async def write(
        self, client: Client, server: Server, request: SamplingRequest, sampling: Sampling, model: str | None
    ) -> list[Written]:
        """The completions of one request. Raises Unanswered."""
        named = {} if model is None else {"model": model}
        answer = await client.post(server.url, "/v1/completions", self.body(request, sampling) | named)
        ends, size = self.tokenizer.end_ids, self.tokenizer.size
        return read_completions(answer, request.count, sampling.completion_tokens, ends, size)

    def as_rollout(self, index: int, written: Written, version: str | None) -> Rollout:
        """A completion as a rollout of the weights `version`."""
        ids = written.token_ids
        return Rollout(
            index=index,
            token_ids=ids,
            is_own=(True,) * len(ids),
            sampler_logprobs=written.logprobs,
            text=self.tokenizer.decode(ids),
            is_truncated=ids[-1] not in self.tokenizer.end_ids,
            weights_version=version,
        )


class ServedEngine:
    """Samples with the student's weights, or its teacher's, on servers that are given them.

    A server is given weights before it is first asked with them, so one that was restarted is noticed: it tells others
    than it should have. It tells again behind every answer, and an answer by other weights is asked for again.
    `window` is the shortest of the servers', in tokens.
    """

    def __init__(self, config: VllmEngineConfig, student: Student, compute: ComputeConfig) -> None:
        self.config, self.student = config, student
        self.fleet = Fleet(config.servers, config.timeout_s, config.retries, compute.sampling_rows)
        self.writer = Writer(self.fleet, student.tokenizer, unknown_ids(student.model))
        self.window = min(one.window for one in identify(self.fleet, student.tokenizer))
        self.folder = WeightsFolder(config.folder, student)
        self.current: Pushed | None = None
        self.of_student: set[str] = set()
        self.push_s = 0.0
        self.begun: Work[list[list[Rollout]]] | None = None
        self.sync(student.model)
        self._check_agrees(Scorer.of(compute, student.dtype, may_compile=False))

    def sync(self, model: Any, state: dict[str, Tensor] | None = None) -> None:
        """Write the weights of `model` as they are now. Each server reads them before it is next asked.

        `state` are those of a model that is split over ranks, whole.
        """
        self._settle()
        began = time.perf_counter()
        before, self.current = self.current, self.folder.write(model, self.current, state)
        if model is self.student.model:
            self.of_student.add(self.current.version)
        if before is not self.current:
            self.fleet.forget()
        self.push_s += time.perf_counter() - began

    def sample(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> list[list[Rollout]]:
        """For each request its rollouts. Raises ServerError where no server answers one."""
        return self.begin(requests, sampling, on_batch).result()

    def begin(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> Work[list[list[Rollout]]]:
        """The same, begun with the weights as they are: servers write while the caller does something else. What is
        asked of this engine meanwhile waits until they have."""
        self._settle()
        may_be_older = self.config.older == "weight" and all(request.key[1] == TRAINING for request in requests)
        self.begun = self.fleet.begin([self._asking(r, sampling, on_batch, may_be_older) for r in requests])
        return self.begun

    def _settle(self) -> None:
        if self.begun is not None:
            self.begun.settle()

    def take_metrics(self) -> dict[str, float]:
        """What went wrong with servers, and the seconds that writing and reading weights took."""
        taken, self.push_s = self.push_s, 0.0
        counts = dict.fromkeys(COUNTED, 0.0) | self.fleet.take_counts()
        return {f"engine/{name}": value for name, value in counts.items()} | {"time/push_s": taken}

    def _asking(
        self, request: SamplingRequest, sampling: Sampling, on_batch: Callable[[int], None], may_be_older: bool
    ) -> Ask[list[Rollout]]:
        async def ask(client: Client, server: Server) -> list[Rollout]:
            version = await self._ready(client, server, may_be_older)
            current = self._current
            model = version if current.is_adapter else None
            written = await self.writer.write(client, server, request, sampling, model)
            if (now := await version_on(client, server, current)) != version:
                raise Unanswered(f"{server.url}: its weights became {now} while it wrote by {version}")
            if version != current.version:
                self.fleet.counts["older_rollouts_count"] += len(written)
            on_batch(len(written))
            return [self.writer.as_rollout(index, one, version) for index, one in enumerate(written)]

        return ask

    @property
    def _current(self) -> Pushed:
        assert self.current is not None
        return self.current

    async def _ready(self, client: Client, server: Server, may_be_older: bool) -> str:
        """The weights by which a server is to write: those of the last `sync`, which it reads first where it has
        others. Older ones of the student's where it cannot, and they may be. Raises Unanswered."""
        async with server.lock:
            current = self._current
            if server.version == current.version or (may_be_older and server.version in self.of_student):
                return str(server.version)
            server.version = await version_on(client, server, current)
            if server.version != current.version:
                await self._push(client, server, may_be_older)
            return str(server.version)

    async def _push(self, client: Client, server: Server, may_be_older: bool) -> None:
        began = time.perf_counter()
        self.fleet.counts["pushes_count"] += 1
        try:
            await push(client, server, self._current)
        except Unanswered:
            self.fleet.counts["failed_pushes_count"] += 1
            server.version = await version_on(client, server, self._current)
            if not (may_be_older and server.version in self.of_student):
                raise
        else:
            server.version = self._current.version
        finally:
            self.push_s += time.perf_counter() - began

    def _check_agrees(self, scorer: Scorer) -> None:
        """Refuse servers whose log-probabilities are not the learner's once they have its weights. Raises
        ServerError."""
        ids = tuple(sorted(self.student.tokenizer.token_ids)[:: max(1, self.student.tokenizer.size // 16)][:16])
        with torch.no_grad():
            (states,) = scorer.read(self.student.model, [Row(ids[:1], ids[1:], (True,) * (len(ids) - 1))])
            ours = scorer.predict(self.student.model, states, 1.0).of(torch.tensor(ids[1:], device=states.device))

        async def ask(client: Client, server: Server) -> list[float]:
            version = await self._ready(client, server, may_be_older=False)
            named = {"model": version} if self._current.is_adapter else {}
            answer = await client.post(server.url, "/v1/completions", prompt_body(ids, 0) | named)
            told = read_prompt(answer, range(1, len(ids)), ids, 0, ids)
            return [one.own for one in told]

        for url, theirs in zip(self.fleet.urls, self.fleet.ask_each(ask), strict=True):
            apart = sum(abs(a - b) for a, b in zip(ours.tolist(), theirs, strict=True)) / len(theirs)
            if not apart <= MOST_APART_NATS:
                raise ServerError(
                    "a server that has the student's weights gives tokens their probabilities",
                    f"{url} is {apart:.2g} nats from what the learner computes, on average over {len(theirs)} tokens",
                    "start it with this student (`mopd serve CONFIG.toml`)",
                )


class ServedTeacherEngine:
    """Writes by the servers of a teacher, which keep their weights. `window` is the shortest of theirs, in tokens."""

    def __init__(self, config: ServedTeacher, reader: Reader, most_at_once: int) -> None:
        self.fleet = Fleet(config.servers, config.timeout_s, config.retries, most_at_once)
        self.writer = Writer(self.fleet, reader.tokenizer)
        self.window = min(one.window for one in identify(self.fleet, reader.tokenizer))

    def sync(self, model: Any) -> None:
        """Nothing: nobody changes a served teacher."""

    def sample(
        self, requests: Sequence[SamplingRequest], sampling: Sampling, on_batch: Callable[[int], None] = tell_nobody
    ) -> list[list[Rollout]]:
        """For each request its rollouts. Raises ServerError where no server answers one."""
        return self.fleet.ask_all([self._asking(request, sampling, on_batch) for request in requests])

    def take_metrics(self) -> dict[str, float]:
        """What went wrong with servers while completions were written."""
        return {f"teacher/writing_{name}": value for name, value in self.fleet.take_counts().items()}

    def _asking(
        self, request: SamplingRequest, sampling: Sampling, on_batch: Callable[[int], None]
    ) -> Ask[list[Rollout]]:
        async def ask(client: Client, server: Server) -> list[Rollout]:
            written = await self.writer.write(client, server, request, sampling, None)
            on_batch(len(written))
            return [self.writer.as_rollout(index, one, None) for index, one in enumerate(written)]

        return ask
