"""Measured processes: each is started apart, says `ready`, and does what it is asked, one line at a time.

All get the same environment. glibc's allocator is told to keep freed memory (`KEEP_FREED`): by default it returns every
large tensor to the system and gets fresh pages, zeroed, for the next one, so that up to a quarter of a step is page
faults. This project asks for that by itself; the systems beside it are given it too, so that systems are compared and
not allocators. `plain_malloc` leaves a process without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mopd.scoring.allocator import KEPT

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
KEEP_FREED = {name: str(size) for name, size in KEPT.items()}

Told = dict[str, float]


class Worker:
    """A process of its own. `script` is in this folder; a context manager that ends it."""

    def __init__(self, script: str, arguments: Sequence[str], plain_malloc: bool = False) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in KEEP_FREED} | ONE_THREAD
        environment |= {} if plain_malloc else KEEP_FREED
        command = [sys.executable, str(HERE / script), *arguments]
        self.script = script
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        while self._line().strip() != "ready":
            pass

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def ask(self, what: str) -> Told:
        """What the process tells of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        while not (line := self._line()).startswith('{"told"'):
            pass
        told: Told = json.loads(line)["told"]
        return told

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a measured process ended: {self.script}")
        return line


def asked() -> str | None:
    """In a measured process: what is asked next; None at the end."""
    return sys.stdin.readline().strip() or None


def tell(told: Mapping[str, float]) -> None:
    """In a measured process: the answer."""
    print(json.dumps({"told": told}), flush=True)


def serve(commands: Mapping[str, Callable[[], Mapping[str, float]]]) -> None:
    """In a measured process: do what is asked for as long as it is."""
    print("ready", flush=True)
    while (what := asked()) is not None:
        tell(commands[what]())
