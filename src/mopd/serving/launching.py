"""Servers as processes of `mopd serve`: started, watched, started again where one ends, and ended with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from mopd.core.errors import ConfigError, ServerError
from mopd.serving import guard
from mopd.serving.command import ServerCommand

RESTARTS = 3
"""How often a server that ends by itself is started again."""


class Ended(SystemExit):
    """A signal asked `mopd serve` to end; Python exits with 128 and its number."""


class ServerProcess:
    """One server and whatever it starts: a process group of its own, which ends with this process (`guard`)."""

    def __init__(self, command: ServerCommand) -> None:
        self.command = command
        self.starts = 0
        self.is_ready = False
        self.start()

    def start(self) -> None:
        """Start it. Raises ConfigError where vLLM is not installed where the configuration says."""
        self.starts, self.is_ready = self.starts + 1, False
        self.process = subprocess.Popen(
            self.command.words,
            env=os.environ | dict(self.command.environment),
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        words = [sys.executable, "-I", guard.__file__, str(self.process.pid)]
        self.guard = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)

    def answers(self) -> bool:
        """Whether it serves by now."""
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.command.url}/health", timeout=5):
            self.is_ready = True
        return self.is_ready

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def is_there(self) -> bool:
        """Whether any process of the group is left."""
        self.process.poll()  # of the dead this process is told, and they are gone
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def end_all(servers: Sequence[ServerProcess]) -> None:
    """End servers, all at once: they are asked first, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [server for server in servers if server.is_there()]
        for server in left:
            server.signal(number)
        until = time.monotonic() + guard.GRACE_S
        while any(server.is_there() for server in left) and time.monotonic() < until:
            time.sleep(0.1)
    for server in servers:
        server.guard.communicate()  # closes its input: it finds nothing left to end


def check_can_start(commands: Sequence[ServerCommand]) -> None:
    """Raises ConfigError where vLLM is not where it should be, ServerError where a port is taken."""
    for command in commands:
        if not Path(command.words[0]).is_file():
            raise ConfigError(
                "vLLM is installed in an environment of its own (engine.environment)",
                f"there is no {command.words[0]}",
                "`make vllm` makes .venv-vllm in a clone; docs/serving.md says how to make one elsewhere",
            )
        parts = urlsplit(command.url)
        with socket.socket(socket.AF_INET6 if ":" in str(parts.hostname) else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(parts.hostname), int(parts.port or 0)))
            except OSError as error:
                raise ServerError(
                    "the port of a server is free",
                    f"{command.url}: {error.strerror}",
                    "end what listens there, or name another port",
                ) from error


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within the block SIGTERM, SIGHUP and SIGINT raise Ended once; later ones are for who tidies up to outlast."""

    def handle(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(commands: Sequence[ServerCommand], tell: Callable[[str], object]) -> None:
    """Start all servers and stay until a signal comes, or one of them has ended too often. All have ended then.

    Raises ConfigError, or ServerError naming a server that ended too often.
    """
    check_can_start(commands)
    servers: list[ServerProcess] = []
    with _ended_by_signals():
        try:
            for command in commands:
                servers.append(ServerProcess(command))
                tell(f"starts {command.url}")
            while True:
                _watch(servers, tell)
                time.sleep(1.0)
        finally:
            end_all(servers)


def _watch(servers: Sequence[ServerProcess], tell: Callable[[str], object]) -> None:
    for server in servers:
        status, url = server.process.poll(), server.command.url
        if status is None:
            if not server.is_ready and server.answers():
                tell(f"serves {url}")
            continue
        if server.starts > RESTARTS:
            raise ServerError(
                "a server stays",
                f"{url} ended {server.starts} times, the last time with {status}",
                "see what it printed, and docs/serving.md",
            )
        end_all([server])  # what it has started
        tell(f"{url} ended with {status}; it is started again")
        server.start()
