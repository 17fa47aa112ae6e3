"""Programs judged a second at one and two workers, beside the bare start of the interpreter that runs them.

    python benchmarks/sandbox.py [--programs 200] [--leak 2000]

One JSON line. Each program has one test and a sandbox of its own. Bare starts and programs are timed in turns, in
rounds, so that a busy machine is as busy for both; figures are medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mopd import sandbox
from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.sandbox.interpreter import interpreter

PROGRAM = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
ROUNDS = 5


def problem(number: int) -> Problem:
    """A problem of one test."""
    tests = {"testtype": "stdin", "inputs": [f"{number} 1"], "outputs": [str(number + 1)]}
    return Problem(str(number), ({"role": "user", "content": "?"},), None, "code", columns={"tests": tests})


def judge_one(number: int) -> None:
    """Judge a right program."""
    verdict = judge(problem(number), PROGRAM)
    assert verdict.kind == "correct", verdict


def start_bare(_: int) -> None:
    """Start and end the interpreter that programs run on."""
    subprocess.run([interpreter()[0], "-I", "-c", "pass"], check=True)


def seconds_each(work: Callable[[int], None], count: int, workers: int) -> float:
    """Wall seconds for one of `count` pieces of work, by so many workers."""
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(work, range(count)))
    return (time.perf_counter() - began) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200, help="programs in all, for each number of workers")
    parser.add_argument("--leak", type=int, default=0, help="programs judged afterwards, looking for what they leave")
    options = parser.parse_args()
    sandbox.check()
    count = max(1, options.programs // ROUNDS)
    figures: dict[str, object] = {"cores": os.cpu_count()}
    for workers in (1, 2):
        rounds = [
            (seconds_each(start_bare, count, workers), seconds_each(judge_one, count, workers)) for _ in range(ROUNDS)
        ]
        figures[f"programs_per_s_{workers}"] = round(1 / statistics.median(ours for _, ours in rounds), 1)
        figures[f"bare_starts_per_s_{workers}"] = round(1 / statistics.median(bare for bare, _ in rounds), 1)
        figures[f"ratio_{workers}"] = round(statistics.median(ours / bare for bare, ours in rounds), 2)
    if options.leak:
        figures |= leaked(options.leak)
    print(json.dumps(figures))


def leaked(count: int) -> dict[str, int]:
    """Descriptors, processes and KiB of memory that judging `count` programs left behind."""

    def held() -> tuple[int, int, int]:
        processes = sum(name.isdigit() for name in os.listdir("/proc"))
        with open("/proc/self/status") as status:
            memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        return len(os.listdir("/proc/self/fd")), processes, memory

    seconds_each(judge_one, 100, 2)
    before = held()
    seconds_each(judge_one, count, 2)
    names = ("leaked_descriptors", "leaked_processes", "leaked_memory_kib")
    return {"leak_programs": count, **{name: b - a for name, a, b in zip(names, before, held(), strict=True)}}


if __name__ == "__main__":
    main()
