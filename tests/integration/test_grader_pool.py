"""Graders run in worker processes: whatever one does to its process, its task alone fails.

This module is itself the grader: workers import it by name and call `prepare_worker` and `grade_in_worker`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.verifiers import pool, worker
from mopd.verifiers.pool import GraderFailure, Pool

HERE = "tests.integration.test_grader_pool"
ROOT = Path(__file__).parents[2]


# --- what the workers run -------------------------------------------------------------------------------------------


def prepare_worker():
    print("a grader that prints while it is imported")


def grade_in_worker(task):
    return {
        "echo": lambda: task["value"],
        "pid": os.getpid,
        "modules": lambda: sorted(sys.modules),
        "environment": lambda: os.environ["PYTHONHASHSEED"],
        "group": lambda: [os.getpgrp(), os.getpid()],
        "print": lambda: (print('{"result": "forged"}', flush=True), os.write(1, b'{"result": "forged"}\n'), "true")[
            -1
        ],
        "read": lambda: sys.stdin.read(),
        "sleep": lambda: time.sleep(task["value"]),
        "spin in C": lambda: len(str(9 ** (9**9))),
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "segfault": lambda: ctypes.string_at(0),
        "exit": lambda: sys.exit(3),
        "hard exit": lambda: os._exit(3),
        "recurse": lambda: grade_in_worker(task),
        "eat memory": lambda: len(bytearray(64 * 2**30)),
        "grow": lambda: len(bytearray(os.urandom(1)) * int(1.02 * 2**30)),
        "return a set": lambda: {1, 2},
        "raise": lambda: 1 / 0,
        "write to a file and hang": lambda: (Path(task["value"]).write_text(str(os.getpid())), time.sleep(600)),
        "write to a file and spin": lambda: (Path(task["value"]).write_text(str(os.getpid())), len(str(9 ** (9**9)))),
    }[task["do"]]()


# --- the pool -------------------------------------------------------------------------------------------------------


@contextmanager
def a_pool(size=1, time_limit_s=30.0):
    with closing(Pool(size, time_limit_s)) as made:
        yield made


def do(made, what, value=None):
    return made.grade(HERE, {"do": what, "value": value})


def is_alive(pid):
    """True for a process that runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def zombies():
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z" and int(parent) == os.getpid():
                found.append(entry.name)
    return found


def dies(pid, within_s):
    deadline = time.monotonic() + within_s
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("die", "died by SIGKILL"),
        ("segfault", "died by SIGSEGV"),
        ("hard exit", "died with exit code 3"),
        ("exit", "raised SystemExit"),
        ("eat memory", "raised MemoryError"),
        ("recurse", "raised RecursionError"),
        ("return a set", "raised TypeError"),
        ("raise", "raised ZeroDivisionError"),
    ],
)
def test_whatever_a_grader_does_to_its_process_only_its_own_task_fails(what, said):
    with a_pool() as made:
        assert do(made, "echo", "before") == "before"
        with pytest.raises(GraderFailure, match=said):
            do(made, what)
        assert do(made, "echo", "after") == "after"
    assert not zombies()


def test_the_time_limit_holds_inside_c_code_and_in_threads():
    with a_pool(size=2, time_limit_s=0.5) as made, ThreadPoolExecutor(2) as threads:
        do(made, "echo")
        began = time.monotonic()
        for failure in [threads.submit(do, made, what, 600) for what in ("spin in C", "sleep")]:
            with pytest.raises(GraderFailure, match=r"ran over its time limit of 0\.5 s"):
                failure.result()
        assert time.monotonic() - began < 8.0  # two starts of a worker, on a busy machine
        assert do(made, "echo", 1) == 1
    assert not zombies()


def test_importing_libraries_does_not_count_as_a_task_time():
    with a_pool(time_limit_s=0.3) as made:  # sympy takes longer than that to import
        task = {"reference": "5", "answer": "5.0", "boxes": []}
        assert made.grade("mopd.verifiers.math", task) == {"kind": "equal", "answer": None}


def test_a_worker_that_dies_between_tasks_costs_no_task():
    with a_pool() as made:
        pid = do(made, "pid")
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # dead with all its threads, and not yet noticed by the pool
        assert do(made, "echo", "next") == "next"


def test_the_memory_of_the_parent_does_not_spend_its_workers():
    parent = f"""
        held = bytes(1) + b"x" * {worker.SPENT_BYTES}
        from mopd.verifiers.pool import Pool
        pool = Pool(1, 30.0)
        print(len({{pool.grade("{HERE}", {{"do": "pid"}}) for _ in range(3)}}))
        pool.close()
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(parent)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout == "1\n"


def test_a_worker_whose_memory_grew_is_replaced():
    with a_pool() as made:
        first = do(made, "pid")
        assert do(made, "pid") == first
        do(made, "grow")
        assert do(made, "pid") != first
        assert dies(first, 5)


def test_what_a_grader_prints_or_reads_does_not_disturb_replies():
    with a_pool() as made:
        assert do(made, "print") == "true"
        assert do(made, "read") == ""
        assert do(made, "echo", "next") == "next"


@pytest.mark.parametrize("value", ["", "\u2028\n\r\0", "\ud800", "x" * 3_000_000, {"deep": [[[None, 1e300]]]}])
def test_any_task_and_reply_that_json_can_write_passes_unchanged(value):
    with a_pool() as made:
        assert do(made, "echo", value) == value


def test_a_task_that_json_cannot_write_is_the_callers_error_and_harms_nobody():
    with a_pool() as made:
        with pytest.raises(TypeError):
            do(made, "echo", {1, 2})
        assert do(made, "echo", 1) == 1


def test_a_stopped_worker_cannot_block_a_long_request():
    with a_pool(time_limit_s=0.5) as made:
        pid = do(made, "pid")
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(GraderFailure, match="time limit"):
            do(made, "echo", "x" * 2_000_000)
        assert do(made, "echo", 1) == 1
        assert not is_alive(pid)


def test_an_interrupted_task_leaves_no_reply_for_the_next(interrupts):
    with a_pool() as made:
        do(made, "echo")
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            do(made, "sleep", 1.0)
        assert do(made, "echo", "mine") == "mine"


def test_many_threads_each_get_their_own_reply():
    with a_pool(size=2) as made, ThreadPoolExecutor(32) as threads:
        values = list(range(600))
        assert list(threads.map(lambda value: do(made, "echo", value), values)) == values


def test_failures_of_some_threads_leave_the_others_replies_right():
    def attempt(number):
        try:
            return do(made, "hard exit" if number % 10 == 3 else "echo", number)
        except GraderFailure:
            return "failed"

    with a_pool(size=2) as made, ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(attempt, range(40)))
    assert replies == ["failed" if number % 10 == 3 else number for number in range(40)]
    assert not zombies()


def test_closing_ends_busy_and_idle_workers_and_later_tasks_fail():
    made = Pool(2, 60.0)
    with ThreadPoolExecutor(2) as threads:
        pids = set(threads.map(lambda _: do(made, "pid"), range(20)))
        sleeping = threads.submit(do, made, "sleep", 50)
        time.sleep(0.3)
        made.close()
        with pytest.raises(GraderFailure):
            sleeping.result(timeout=10)
    assert all(dies(pid, 5) for pid in pids)
    assert not zombies()
    with pytest.raises(GraderFailure, match="closed"):
        do(made, "echo")
    made.close()


def test_descriptors_beyond_1023_are_no_obstacle():
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < 1200:
        pytest.skip("this machine lets a process open fewer than 1200 files")
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with a_pool() as made:
            assert do(made, "echo", 1) == 1
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_a_worker_imports_no_torch_and_no_grader_it_does_not_need():
    with a_pool() as made:
        modules = do(made, "modules")
    assert not {"torch", "transformers", "numpy", "reasoning_gym", "math_verify", "sympy"} & set(modules)


def test_workers_hash_alike_and_stand_outside_the_parents_process_group():
    with a_pool() as made:
        assert do(made, "environment") == "0"
        group, pid = do(made, "group")
    assert group == pid


@pytest.mark.long
def test_a_runaway_math_answer_is_an_error_and_the_next_honest_one_is_judged():
    def verdict_of(answer):
        return judge(Problem("p", (), "5", "math"), f"\\boxed{{{answer}}}")

    pool.configure(1, 1.0)
    try:
        for runaway in (r"\binom{99999999}{44444444}", r"\Gamma(99999999)"):
            assert verdict_of(r"\frac{10}{2}").kind == "correct"
            began = time.monotonic()
            with ThreadPoolExecutor(1) as thread:  # not the main thread
                verdict = thread.submit(verdict_of, runaway).result()
            assert verdict.kind == "error"
            assert "time limit" in verdict.feedback
            assert time.monotonic() - began < 8.0
    finally:
        pool.configure(2, 10.0)


# --- other processes ------------------------------------------------------------------------------------------------


def script(tmp_path, text):
    """A user's script in a file, without a guard on `__name__`."""
    path = tmp_path / "user_script.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def test_a_script_without_a_main_guard_works_beside_files_named_like_libraries_and_leaves_no_process(tmp_path):
    command = script(
        tmp_path,
        f"""
        from mopd.verifiers import pool, worker
        print(pool.grade({HERE!r}, {{"do": "echo", "value": "echoed"}}))
        print(pool.grade({HERE!r}, {{"do": "pid"}}))
        """,
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "json.py").write_text("raise SystemExit('the working directory is not for imports')")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path / "elsewhere", env=environment(), check=False
    )
    echoed, pid = done.stdout.split()
    assert (echoed, done.stderr, done.returncode) == ("echoed", "", 0)
    assert dies(int(pid), 5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("busy", ["idle", "in Python code", "in C code"])
def test_workers_end_by_themselves_when_their_parent_is_killed(tmp_path, busy, how):
    pid_file = tmp_path / "pid"
    task = {
        "idle": f"print(made.grade({HERE!r}, {{'do': 'pid'}}), flush=True); import time; time.sleep(600)",
        "in Python code": f"made.grade({HERE!r}, {{'do': 'write to a file and hang', 'value': {str(pid_file)!r}}})",
        "in C code": f"made.grade({HERE!r}, {{'do': 'write to a file and spin', 'value': {str(pid_file)!r}}})",
    }[busy]
    command = script(tmp_path, f"from mopd.verifiers.pool import Pool\nmade = Pool(1, 1.0)\n{task}\n")
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        if busy == "idle":
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
        else:
            deadline = time.monotonic() + 60
            while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
                time.sleep(0.02)
            pid = int(pid_file.read_text())
        assert is_alive(pid)
    finally:
        parent.send_signal(how)
        parent.communicate()
    assert dies(pid, 10)  # in C code at the latest a second after the task's time limit


def test_a_forked_child_has_workers_of_its_own():
    pool.configure(2, 10.0)
    mine = pool.grade(HERE, {"do": "pid"})
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(pool.grade(HERE, {"do": "pid"})).encode())
        pool._close_at_exit()
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert theirs != mine
    assert dies(theirs, 5)
    assert is_alive(mine)
    assert pool.grade(HERE, {"do": "pid"}) == mine
