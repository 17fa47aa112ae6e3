"""Hostile use of a run's directory: several processes, signals, full disks and damaged files, at random moments.

Processes are forks of this one, which has imported everything: what takes seconds to start would meet nobody.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mopd.cli import main
from mopd.runs.records import read_jsonl
from tests.builders import UNMEASURED

SETTINGS = [
    *UNMEASURED,
    *("steps=4", "group_size=2", "problems_per_step=2", "compute.threads=1", "checkpoint.every=1"),
    *("problems.size=40", "problems.held_out=4", "problems.options={length=3}"),
    *("peers.failures=1", "peers.successes=0", "peers.require_success=false"),
    *("sampling.completion_tokens=4", "context.tokens=60", "evaluation.rollouts=2"),
]
"""A run of about a second, whose every file is small."""


@dataclass
class Child:
    """A forked process of one command, and what it printed."""

    pid: int
    log: Path
    code: int | None = None

    def wait(self) -> int:
        """Its exit code; -N where signal N ended it."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def is_alive(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def assert_clear(self, *codes: int) -> None:
        """It ended with one of the codes, without a traceback; an error says what to do."""
        assert self.wait() in codes, f"exit {self.code}:\n{self.printed}"
        assert "Traceback" not in self.printed, self.printed
        if self.code == 2:
            assert "error:" in self.printed, self.printed
            assert "do:" in self.printed, self.printed


def start(folder: Path, arguments: Sequence[str], after_s: float = 0.0) -> Child:
    """Fork a process that gives `mopd ARGUMENTS` after a while, in `folder`."""
    log = folder / f"log-{time.monotonic_ns()}.txt"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # until the fork has no handlers of pytest's
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        os.close(descriptor)
        return Child(pid, log)
    code = 1
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        time.sleep(after_s)
        code = main(list(arguments))
    except KeyboardInterrupt:  # before the command had begun
        code = 130
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def train(run: Path, *more: str) -> list[str]:
    return ["train", *SETTINGS, f"run='{run}'", *more, "--quiet"]


def reference(folder: Path, seeds: int = 3) -> dict[int, Path]:
    """Undisturbed runs, by seed."""
    runs = {seed: folder / f"seed-{seed}" for seed in range(seeds)}
    for seed, run in runs.items():
        start(folder, train(run, f"seed={seed}")).assert_clear(0)
    return runs


def seed_of(run: Path) -> int:
    return int(json.loads((run / "config.json").read_text())["seed"])


def assert_is_one_run(run: Path, references: dict[int, Path]) -> None:
    """What a directory holds is of one run alone, and equals that run's beginning, whoever else was there."""
    same = references[seed_of(run)]
    for name in ("groups.jsonl", "evaluations.jsonl"):
        ours = (run / name).read_bytes() if (run / name).exists() else b""
        assert (same / name).read_bytes().startswith(ours), f"{run / name} holds what is not of its run"
    steps = [row["step"] for row in read_jsonl(run / "metrics.jsonl")] if (run / "metrics.jsonl").exists() else []
    assert steps == list(range(len(steps)))
    if (run / "summary.json").exists():
        assert_same_end(run, same)


def assert_same_end(run: Path, same: Path) -> None:
    """A finished run equals the undisturbed one, bit for bit."""
    kept = [[path.relative_to(of) for path in sorted((of / "evaluations").iterdir())] for of in (run, same)]
    assert kept[0] == kept[1]
    for name in ("groups.jsonl", "evaluations.jsonl", *kept[1]):
        assert (run / name).read_bytes() == (same / name).read_bytes(), run / name
    for name in ("model.safetensors", "teacher.safetensors", "optimizer.safetensors"):
        paths = [folder / "checkpoints" / "step-4" / name for folder in (run, same)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), paths[0]


def meet(folder: Path, references: dict[int, Path], rounds: int, rng: random.Random, longest_s: float) -> int:
    """Two processes at one directory, `rounds` times; how many of them were refused."""
    run, begun, refused = folder / "run", 0, 0
    for _ in range(rounds):
        children = []
        for _ in range(2):
            arguments = rng.choice(
                [
                    train(run, f"seed={rng.randrange(len(references))}"),
                    [*train(run, f"seed={rng.randrange(len(references))}"), "--fresh"],
                    ["train", "--resume", str(run), "--quiet"],
                    ["evaluate", str(run), "--quiet"],
                ]
            )
            children.append((arguments, start(folder, arguments, rng.uniform(0, longest_s))))
        for arguments, child in children:
            child.assert_clear(0, 2)
            refused += child.code == 2
            begun += child.code == 0 and arguments[0] == "train" and "--resume" not in arguments
        runs = [path for path in folder.glob("run*") if path.is_dir()]
        for path in runs:
            assert_is_one_run(path, references)
        assert len(runs) == begun, f"{begun} runs were begun, {len(runs)} are there"
    return refused


def signalled(
    folder: Path, references: dict[int, Path], count: int, rng: random.Random, longest_s: float
) -> dict[str, int]:
    """Runs that get a signal at `count` random moments, each then finished; how often each signal ended one."""
    ended: dict[str, int] = {}
    for index in range(count):
        run = folder / f"signalled-{index}"
        kind = rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        child = start(folder, train(run, "seed=1"))
        time.sleep(rng.uniform(0, longest_s))
        if child.is_alive():
            os.kill(child.pid, kind)
        expected = {signal.SIGTERM: (143, -15), signal.SIGINT: (130,), signal.SIGKILL: (-9,)}[kind]
        child.assert_clear(0, *expected)
        ended[kind.name] = ended.get(kind.name, 0) + (child.code != 0)
        is_begun = (run / "config.json").exists()
        start(folder, ["train", "--resume", str(run), "--quiet"] if is_begun else train(run, "seed=1")).assert_clear(0)
        assert_same_end(run, references[1])
    return ended


def truncated(folder: Path, run: Path, same: Path, rng: random.Random) -> dict[str, str]:
    """Cut every file of an unfinished run to a random length, one after the other, and resume: {file: what came}."""
    came: dict[str, str] = {}
    files = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock"]
    for name in files:
        copy = folder / "cut"
        shutil.copytree(run, copy)
        size = (copy / name).stat().st_size
        os.truncate(copy / name, rng.randrange(size) if size else 0)
        before = {p: p.read_bytes() for p in copy.rglob("*.jsonl") if p.name != "history.jsonl"}
        for arguments in (["evaluate", str(copy), "--quiet"], ["show-context", str(copy)]):
            start(folder, arguments).assert_clear(0, 2)
        child = start(folder, ["train", "--resume", str(copy), "--quiet"])
        child.assert_clear(0, 2)
        if child.code == 0:
            assert_same_end(copy, same)
        else:
            assert {p: p.read_bytes() for p in before} == before, f"{name}: a refusal changed a log"
            assert "fetch" not in child.printed
        came[str(name)] = "resumed" if child.code == 0 else "refused"
        shutil.rmtree(copy)
    return came


def disturbed(folder: Path, disturb: Callable[[], None], run: Path, *more: str) -> Child:
    """A run that is disturbed again and again while it lasts."""
    child = start(folder, train(run, *more))
    while child.is_alive():
        disturb()
        time.sleep(0.01)
    return child
