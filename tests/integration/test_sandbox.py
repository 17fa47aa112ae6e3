"""Attacks on the sandbox, on the real thing: none succeeds, each ends in time, and nothing of it is left.

A part of them runs with the other tests; `make proof-sandbox` runs them all.
"""

from __future__ import annotations

import ast
import io
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import pytest

from mopd import sandbox
from mopd.core.errors import VerifierError
from mopd.core.types import Problem
from mopd.judging.verdicts import judge
from mopd.sandbox import Ended, Sandbox, SandboxFailure, archive, bubblewrap
from mopd.sandbox.interpreter import interpreter
from tests.attacks import CALL_FORGERIES, ESCAPES, PRINT_FORGERIES

TIME_LIMIT_S = 1.0
MOST_S = 12.0
"""A program's wall time at this limit is 3 s; two sandboxes start and end besides, on a busy machine."""

MODES = ("stdin", "functional", "assert")
SAMPLE = ("connects to a listener", "reads a file of the host", "forks without end", "leaves a daemon behind", "spins")


def is_there():
    try:
        sandbox.check()
    except VerifierError:
        return False
    return True


needs_sandbox = pytest.mark.skipif(not is_there(), reason="no sandbox here: apt-get install bubblewrap")


def problem_for(mode, wanted, function="f", given="given"):
    tests = {
        "stdin": {"testtype": "stdin", "inputs": [given], "outputs": [wanted]},
        "functional": {"testtype": "functional", "fn_name": function, "inputs": [[given]], "outputs": [wanted]},
        "assert": {"testtype": "assert", "code": f"EXPECTED = {wanted!r}\nassert {function}({given!r}) == EXPECTED"},
    }[mode]
    tests["time_limit"] = TIME_LIMIT_S
    asked = ({"role": "user", "content": "?"},)
    return Problem("p", asked, None, "code", columns={"tests": tests})


def verdict_on(mode, code, wanted):
    return judge(problem_for(mode, wanted), f"```python\n{code}\n```")


def as_mode(mode, code):
    """An escape as a program, or as the function that is called."""
    if mode == "stdin":
        return code + "\nif attack():\n    print('escaped')\n"
    return code + "\ndef f(_):\n    return 'escaped' if attack() else 'held'\n"


HONEST = {"stdin": "print(input()[::-1])", "functional": "def f(x):\n    return x[::-1]"}
HONEST["assert"] = HONEST["functional"]


def processes_in(namespaces):
    """Processes in any of these process namespaces."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") in namespaces:
                found.add(int(name))
        except OSError:
            continue
    return found


def record_namespaces(patch):
    """The process namespaces of all sandboxes that start from now on: others on this machine are no matter of ours."""
    namespaces, start = set(), Sandbox._start

    def recorded(self):
        start(self)
        namespaces.add(os.readlink(f"/proc/{self._inner_pid}/ns/pid"))

    patch(Sandbox, "_start", recorded)
    return namespaces


@pytest.fixture
def namespaces(monkeypatch):
    return record_namespaces(monkeypatch.setattr)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """What attacks go for: a listener, a file, an environment variable and a process, all of the test's own."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to("/tmp/") and folder != folder.parent:
            folder.chmod(0o755)
    monkeypatch.setenv("ENVMARK", "ENVMARK")
    reached = []
    name = f"mopd-{os.getpid()}-{time.monotonic_ns()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + name)
        unix.listen()
        for server in (tcp, unix):
            threading.Thread(target=accept, args=(server, reached), daemon=True).start()
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        words = {"PORT": str(tcp.getsockname()[1]), "SECRET": str(secret), "VICTIM": str(victim.pid), "ABSTRACT": name}
        yield words, victim, reached
        victim.kill()
        victim.wait()


def accept(server, reached):
    try:
        server.accept()
    except OSError:
        return
    reached.append(server)


def filled(code, words):
    return re.sub("|".join(words), lambda match: words[match[0]], code)


def all_escapes():
    """Every escape in one of the modes by turns in `make test`'s sample, in all of them in the proof."""
    for number, name in enumerate(ESCAPES):
        for index, mode in enumerate(MODES):
            is_sampled = name in SAMPLE or (number % 6 == 0 and index == (number // 6) % 3)
            yield pytest.param(name, mode, id=f"{mode}: {name}", marks=() if is_sampled else pytest.mark.slow)


@pytest.mark.parametrize(("name", "mode"), all_escapes())
@needs_sandbox
def test_no_program_gets_out(name, mode, outside, namespaces):
    words, victim, reached = outside
    began = time.monotonic()
    verdict = verdict_on(mode, as_mode(mode, filled(ESCAPES[name], words)), "escaped")
    assert time.monotonic() - began < MOST_S
    assert verdict.kind in ("wrong", "timeout"), verdict
    assert victim.poll() is None
    assert not reached
    assert namespaces
    assert not processes_in(namespaces)
    assert verdict_on(mode, HONEST[mode], "nevig").kind == "correct"


def all_forgeries():
    for mode in MODES:
        codes = PRINT_FORGERIES if mode == "stdin" else CALL_FORGERIES
        for number, name in enumerate(codes):
            yield pytest.param(
                mode, codes[name], id=f"{mode}: {name}", marks=() if number % 5 == 0 else pytest.mark.slow
            )


@pytest.mark.parametrize(("mode", "code"), all_forgeries())
@needs_sandbox
def test_no_program_forges_a_verdict(mode, code, namespaces):
    began = time.monotonic()
    verdict = verdict_on(mode, code, "EXPECTED-0f3a")
    assert time.monotonic() - began < MOST_S
    assert verdict.kind in ("wrong", "timeout"), verdict
    assert namespaces
    assert not processes_in(namespaces)
    assert verdict_on(mode, HONEST[mode], "nevig").kind == "correct"


@pytest.mark.slow
def test_the_suite_is_as_large_as_promised_and_code_can_be_run_here():
    sandbox.check()
    assert len(list(all_escapes())) + len(list(all_forgeries())) >= 60


WEAKENED = {
    "connects to a listener": (lambda words: without(words, "--unshare-net", "--seccomp")),
    "reads /etc/passwd": (lambda words: added(words, "--ro-bind", "/etc", "/etc")),
    "writes to /tmp": (lambda words: without(added(words, "--tmpfs", "/tmp"), "--fsize=0")),
    "lists processes": (lambda words: added(words, "--proc", "/proc")),
    "forks without end": (lambda words: without(words, "--nproc=16")),
    "takes two gigabytes": (lambda words: [word.replace(f"--as={2**30}", f"--as={2**32}") for word in words]),
    "takes memory as a file": (lambda words: without(words, "--seccomp")),
    "opens the first process": (lambda words: without(words, "--seccomp")),
}
"""Sandboxes that each lack one thing, by the attack that then succeeds: so the attacks are real ones."""


def without(words, *names):
    """A command without some of its options, and without the number behind `--seccomp`."""
    kept, skips = [], 0
    for word in words:
        if word in names:
            skips = 1 if word == "--seccomp" else 0
        elif skips:
            skips -= 1
        else:
            kept.append(word)
    return kept


def added(words, *more):
    place = words.index("--remount-ro")
    return [*words[:place], *more, *words[place:]]


@pytest.mark.slow
@pytest.mark.parametrize("name", WEAKENED)
@needs_sandbox
def test_the_same_attack_succeeds_where_the_sandbox_is_weakened(name, outside, monkeypatch):
    sandbox.check()
    honest = bubblewrap.command
    monkeypatch.setattr(bubblewrap, "command", lambda *args: WEAKENED[name](honest(*args)))
    monkeypatch.setitem(globals(), "TIME_LIMIT_S", 10 * TIME_LIMIT_S)  # it is to succeed on a busy machine too
    assert verdict_on("stdin", as_mode("stdin", filled(ESCAPES[name], outside[0])), "escaped").kind == "correct"


# --- what is carried in ---------------------------------------------------------------------------------------------

HARNESS = Path(archive.__file__).parent / "harness"


def imported(path):
    """What is imported anywhere in a file: siblings with a dot before their names, and packages of other modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("path", sorted(HARNESS.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_that_runs_inside_imports_only_what_is_carried_in(path):
    with zipfile.ZipFile(io.BytesIO(archive.packed())) as carried:
        siblings = {"." + name.removeprefix("harness/").removesuffix(".pyc") for name in carried.namelist()}
    assert "." + path.stem in siblings
    assert not set(imported(path)) - siblings - sys.stdlib_module_names


def test_what_is_carried_in_imports_without_mopd(tmp_path):
    packed = tmp_path / "harness.zip"
    packed.write_bytes(archive.packed())
    names = [f"harness.{path.stem}" for path in HARNESS.glob("*.py")]
    code = f"""
        import importlib, sys
        sys.path.insert(0, {str(packed)!r})
        found = [importlib.import_module(name).__file__.startswith({str(packed)!r}) for name in {names}]
        print(all(found), "mopd" in sys.modules)
    """
    command = [interpreter()[0], "-I", "-S", "-c", textwrap.dedent(code)]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout == "True False\n"


# --- refusing -------------------------------------------------------------------------------------------------------


def test_without_bubblewrap_code_is_refused(monkeypatch):
    monkeypatch.setattr("mopd.sandbox.proof.shutil.which", lambda *_, **__: None)
    sandbox.check.cache_clear()
    with pytest.raises(VerifierError, match="apt-get install bubblewrap"):
        sandbox.check()
    sandbox.check.cache_clear()


@needs_sandbox
def test_a_sandbox_that_does_not_hold_is_refused(monkeypatch):
    honest = bubblewrap.command
    monkeypatch.setattr(
        bubblewrap, "command", lambda *args: [word for word in honest(*args) if not word.startswith("--nproc")]
    )
    sandbox.check.cache_clear()
    with pytest.raises(VerifierError, match="does not hold here"):
        sandbox.check()
    monkeypatch.undo()
    sandbox.check.cache_clear()
    sandbox.check()


@needs_sandbox
def test_a_killed_parent_leaves_nothing_running():
    code = """
        import threading, time
        from tests.integration import test_sandbox
        namespaces = test_sandbox.record_namespaces(setattr)
        threading.Thread(target=test_sandbox.verdict_on, args=("stdin", "import time; time.sleep(60)", "1")).start()
        while not namespaces:
            time.sleep(0.01)
        time.sleep(0.2)
        print(*namespaces, flush=True)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    inside = {parent.stdout.readline().strip()}
    assert processes_in(inside)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while processes_in(inside) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_in(inside)


@needs_sandbox
def test_a_sandbox_leaves_no_descriptor_open():
    verdict_on("stdin", HONEST["stdin"], "nevig")
    before = len(os.listdir("/proc/self/fd"))
    for mode in MODES * 3:
        assert verdict_on(mode, HONEST[mode], "nevig").kind == "correct"
        assert verdict_on(mode, "import os\nos._exit(1)", "nevig").kind == "wrong"
    assert len(os.listdir("/proc/self/fd")) == before


# --- deadlines ------------------------------------------------------------------------------------------------------

DEAF = """
import os, sys, time
reads = sys._getframe(3).f_locals.get("channel") or sys._getframe(2).f_locals.get("channel")
os.write(reads.writing, b'{"value": null}\\n')
time.sleep(60)
"""
"""A program that says that it is loaded, and then reads nothing."""


@needs_sandbox
@pytest.mark.parametrize("mode", ["functional", "assert"])
def test_a_program_that_reads_nothing_ends_in_time_however_long_the_arguments(mode, namespaces):
    began = time.monotonic()
    verdict = judge(problem_for(mode, "EXPECTED-0f3a", given="x" * 2**20), f"```python\n{DEAF}\n```")
    assert verdict.kind == "timeout", verdict
    assert time.monotonic() - began < MOST_S
    assert not processes_in(namespaces)


LONG = "x" * 2**20
WRITES = {
    "begin": lambda box: box.begin(0.5, do="serve", code=LONG, cpu_s=1.0),
    "send": lambda box: box.send({"call": LONG}, 0.5),
    "run": lambda box: box.run(LONG, "", 0.0, 1000),
}


@needs_sandbox
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_every_write_to_a_sandbox_has_a_deadline(write):
    with Sandbox(sandbox.limits()) as box:
        os.kill(box._inner_pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(Ended, match="time"):
            write(box)
        assert time.monotonic() - began < MOST_S


@needs_sandbox
@pytest.mark.parametrize("part", ["archive.packed", "seccomp.compiled", "bubblewrap.command", "subprocess.Popen"])
def test_a_sandbox_that_cannot_start_leaves_no_descriptor_open(part, monkeypatch):
    def fails(*_, **__):
        raise OSError("no such thing")

    verdict_on("stdin", HONEST["stdin"], "nevig")
    monkeypatch.setattr(f"mopd.sandbox.process.{part}", fails)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises((OSError, SandboxFailure)), Sandbox(sandbox.limits()):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
