"""Several servers that share work. A request that one of them does not answer is sent to another, or again later.

Which server answers changes nothing but rounding: what is random in a request comes from the request. So none is lost
where a server dies, and none is counted twice, since its place in the results is filled once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mopd.core.errors import ServerError
from mopd.serving.client import Client, Unanswered, Work, connected

T = TypeVar("T")

FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0
"""How long a server that gave no answer is left alone: at first, and at most; twice as long each time."""


@dataclass
class Server:
    """One server. `version` names the weights that it was last seen to have; None where that must be asked."""

    url: str
    version: str | None = None
    asked: int = 0
    rest_s: float = 0.0
    rests_until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def set_aside(self, since: float) -> bool:
        """Leave it alone for a while; False where that was decided after `since`, when the request began."""
        self.version = None
        if since < self.rests_until:
            return False
        self.rest_s = min(LONGEST_REST_S, 2 * self.rest_s) or FIRST_REST_S
        self.rests_until = time.monotonic() + self.rest_s
        return True


Ask = Callable[[Client, Server], Awaitable[T]]
"""One request: asks a server, and gives what is made of the answer. Raises Unanswered where it makes no sense."""


class Fleet:
    """Servers, by their addresses, and what went wrong with them, counted until it is taken."""

    def __init__(self, urls: Sequence[str], timeout_s: float, retries: int, most_at_once: int) -> None:
        self.urls = tuple(urls)
        self.timeout_s, self.retries, self.most_at_once = timeout_s, retries, most_at_once
        self.counts: Counter[str] = Counter()
        self._versions: dict[str, str | None] = {}

    def ask_all(self, asks: Sequence[Ask[T]]) -> list[T]:
        """The answers, in order. Raises ServerError where a request found none in 1 + `retries` attempts."""
        return self.begin(asks).result()

    def begin(self, asks: Sequence[Ask[T]]) -> Work[list[T]]:
        """The same, begun: its result is waited for when it is needed. Nothing else is asked before."""
        return Work(self._ask_all(asks))

    def ask_each(self, ask: Ask[T]) -> list[T]:
        """What each server answers, once and at once: before a run begins. Raises ServerError naming one that does not
        answer."""

        async def each() -> list[T]:
            async with connected(self.timeout_s) as client:
                return await asyncio.gather(*(ask(client, Server(url)) for url in self.urls))

        try:
            return Work(each()).result()
        except Unanswered as error:
            raise ServerError(
                "every server is there before a run begins, and lets a run see its weights and change them",
                str(error),
                "`mopd serve CONFIG.toml` starts the servers of a configuration, and with --print says how they are "
                "started (docs/serving.md)",
            ) from error

    def forget(self) -> None:
        """There are new weights: which ones a server has must be asked."""
        self._versions = {}

    async def _ask_all(self, asks: Sequence[Ask[T]]) -> list[T]:
        servers = [Server(url, self._versions.get(url)) for url in self.urls]
        places = asyncio.Semaphore(self.most_at_once)
        async with connected(self.timeout_s) as client:

            async def in_turn(ask: Ask[T]) -> T:
                async with places:
                    return await self._answer(client, servers, ask)

            tasks = [asyncio.ensure_future(in_turn(ask)) for ask in asks]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._versions = {server.url: server.version for server in servers}

    async def _answer(self, client: Client, servers: Sequence[Server], ask: Ask[T]) -> T:
        said = ""
        for attempt in range(1 + self.retries):
            self.counts["retries_count"] += attempt > 0
            server = _next(servers)
            server.asked += 1  # before anything is waited for: others choose meanwhile
            try:
                await asyncio.sleep(max(0.0, server.rests_until - time.monotonic()))
                began = time.monotonic()
                answer = await ask(client, server)
            except Unanswered as error:
                said = str(error)
                self.counts["servers_set_aside_count"] += server.set_aside(began)
            else:
                server.rest_s = 0.0
                return answer
            finally:
                server.asked -= 1
        raise ServerError(
            "one of the servers answers each request",
            f"none did in {1 + self.retries} attempts; the last: {said}",
            f"see whether {', '.join(self.urls)} are there (`mopd serve CONFIG.toml` starts them); a run is resumed",
        )

    def take_counts(self) -> dict[str, float]:
        """What was counted since it was last taken."""
        taken, self.counts = self.counts, Counter()
        return {
            name: float(taken[name]) for name in dict.fromkeys(("retries_count", "servers_set_aside_count", *taken))
        }


def _next(servers: Sequence[Server]) -> Server:
    """The server that may be asked first, and of several the one that has least to do."""
    now = time.monotonic()
    return min(servers, key=lambda server: (max(server.rests_until, now), server.asked))
