"""The proof, once in a process, that a sandbox holds here: a program that tries to get out of one."""

from __future__ import annotations

import functools
import shutil

from mopd.core.errors import VerifierError
from mopd.sandbox.bounds import limits
from mopd.sandbox.failures import Ended, SandboxFailure
from mopd.sandbox.process import Sandbox

HOW = "install bubblewrap 0.8 or newer (`apt-get install bubblewrap`) where user namespaces are allowed"

PROBE = """
import os, socket
def held(attempt):
    try:
        attempt()
    except Exception:
        return True
    return False
def fork_bomb():
    for _ in range(PROCESSES + 1):
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
print(
    os.getuid() != 0,
    held(socket.socket),
    held(lambda: open("/a", "w")),
    held(lambda: open("/tmp/a", "w")),
    held(lambda: os.listdir("/proc/self")),
    held(lambda: os.listdir("/home")),
    held(lambda: bytearray(MEMORY + 1)),
    held(fork_bomb),
)
"""
"""A program that tries what a sandbox must not allow, and says each time whether it was held."""


@functools.cache
def check() -> None:
    """Prove once, with a program that tries to get out, that code can be run safely here.

    Raises VerifierError where it cannot, with what to do.
    """
    must = "code is run in a sandbox that holds, or not at all"
    for tool in ("bwrap", "prlimit", "choom", "setpriv"):
        if shutil.which(tool, path="/usr/bin:/bin") is None:
            raise VerifierError(must, f"no {tool} in /usr/bin", HOW)
    probe = PROBE.replace("PROCESSES", str(limits().processes)).replace("MEMORY", str(limits().memory_bytes))
    try:
        with Sandbox(limits()) as sandbox:
            said = sandbox.run(probe, "", 10.0, 1000)
    except (SandboxFailure, Ended, ImportError, OSError) as error:
        raise VerifierError(must, f"the sandbox does not work here: {error}", HOW) from error
    if said.stdout.split() != ["True"] * 8:
        raise VerifierError(must, f"the sandbox does not hold here: {said.stdout}{said.stderr}".strip(), HOW)
