"""One request to one server, and an event loop for many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mopd.core.errors import ConfigError, ServerError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

CONNECT_S = 10.0
"""In so many seconds a server that is there takes a connection."""

FAULTY_REQUEST = (400, 413, 422)
"""Of a request that no server will answer, however often it is sent. (404: a server has other weights than before.)"""


class Unanswered(Exception):
    """A server gave no answer, or none that makes sense. Another server may, or this one later."""


class Client:
    """Sends requests; lives within `connected`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, server: str, path: str) -> Any:
        """What `server` says at `path`. Raises Unanswered, or ServerError where the request itself is at fault."""
        return await self._ask("GET", server, path)

    async def post(self, server: str, path: str, body: Any = None, *, is_json: bool = True) -> Any:
        """The same of a request with a body; None where the answer need not be JSON."""
        return await self._ask("POST", server, path, body, is_json)

    async def _ask(self, method: str, server: str, path: str, body: Any = None, is_json: bool = True) -> Any:
        import httpx

        try:
            answer = await self._http.request(method, server + path, json=body)
        except httpx.HTTPError as error:
            raise Unanswered(f"{server}{path}: {type(error).__name__} {error}".rstrip()) from error
        if answer.status_code in FAULTY_REQUEST:
            raise ServerError(
                "a server takes what it is asked for",
                f"{server}{path} refuses it (HTTP {answer.status_code}): {_begin(answer)}",
                "see how it was started: `mopd serve CONFIG.toml --print` says how it should be (docs/serving.md)",
            )
        if not answer.is_success:
            raise Unanswered(f"{server}{path}: HTTP {answer.status_code}: {_begin(answer)}")
        if not is_json:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise Unanswered(f"{server}{path}: what is no JSON: {_begin(answer, 80)!r}") from error


def _begin(answer: httpx.Response, most: int = 300) -> str:
    """The begin of what a server wrote, on one line."""
    return " ".join(answer.text.split())[:most]


def said(answer: Any, name: str) -> Any:
    """What an answer holds under a name. Raises Unanswered where it holds nothing so called."""
    if not isinstance(answer, dict) or name not in answer:
        raise Unanswered(f"an answer without {name}: {str(answer)[:80]}")
    return answer[name]


@asynccontextmanager
async def connected(timeout_s: float) -> AsyncIterator[Client]:
    """A client whose requests may take so long each. Its connections end with the block."""
    httpx = needed_httpx()
    timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s), pool=None)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as http:
        yield Client(http)


def needed_httpx() -> Any:
    """The package httpx. Raises ConfigError where it is not there."""
    try:
        import httpx
    except ImportError as error:
        raise ConfigError(
            "what speaks to servers is installed", "there is no package httpx", 'pip install "mopd[vllm]"'
        ) from error
    return httpx


class Work(Generic[T]):
    """Work that goes on in an event loop of its own, in a thread of its own: whoever begins it may stand in another
    loop, as notebooks do, and may do something else meanwhile."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._begun, self._tasks = Event(), list[asyncio.Task[T]]()

        async def run() -> T:
            self._tasks.append(asyncio.ensure_future(work))
            self._begun.set()
            return await self._tasks[0]

        pool = ThreadPoolExecutor(1)
        self._found = pool.submit(asyncio.run, run())
        pool.shutdown(wait=False)

    def result(self) -> T:
        """What it comes to, waited for. Whatever interrupts the wait, such as a signal, ends the work."""
        try:
            return self._found.result()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Break it off, and wait until it is; nothing where it is done."""
        self._begun.wait()
        (task,) = self._tasks
        with suppress(RuntimeError):  # the loop is closed: the work is done
            task.get_loop().call_soon_threadsafe(task.cancel)
        self.settle()

    def settle(self) -> None:
        """Wait until it is done, whatever it comes to."""
        wait([self._found])
