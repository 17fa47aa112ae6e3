"""The Python that programs run on, and where it lies."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path

from mopd.sandbox.failures import SandboxFailure


@functools.cache
def interpreter() -> tuple[str, tuple[str, ...]]:
    """The Python of programs and the folders it needs besides /usr: this process's own, else the system's.

    Where this process is root, programs are not, and may not be able to reach root's Python.
    """
    base = Path(sys.base_prefix)
    own = Path(sysconfig.get_config_var("BINDIR") or base / "bin") / Path(os.path.realpath(sys.executable)).name
    if own.exists() and (os.geteuid() != 0 or _all_can_reach(base)):
        return str(own), () if base.is_relative_to("/usr") else (str(base),)
    system = Path("/usr/bin/python3")
    if system.exists():
        return str(system), ()
    raise SandboxFailure(f"{base} is closed to other users, and there is no {system}: install python3")


def _all_can_reach(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
