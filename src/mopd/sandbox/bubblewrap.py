"""The command line of a sandbox: what is mounted in it, what is taken from it, and what runs in it.

No network, no file of the host but the interpreter and the system's libraries (read-only), nothing to write to, no
/proc, a process namespace of its own, no capability, never root, and limits on memory, processes, time and output.
Where that cannot be had, code is refused: there is no weaker way to run it.
"""

from __future__ import annotations

import os
from pathlib import Path

from mopd.sandbox import archive
from mopd.sandbox.bounds import Limits
from mopd.sandbox.interpreter import interpreter

NOBODY = 65534
"""The user and group of programs, outside (where this process is root) and inside."""

ENVIRONMENT = {
    **{"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
    **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
}
"""All that programs see of an environment."""


def command(limits: Limits, archive_fd: int, info_fd: int, filter_fd: int) -> list[str]:
    """The command that starts a sandbox.

    It reads the archive and the seccomp filter from their descriptors, and writes its first process's number to the
    one for information.
    """
    python, prefixes = interpreter()
    drop_root = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    return [
        *("choom", "-n", "1000", "--"),  # out of memory, the kernel ends the sandbox first
        *(drop_root if os.geteuid() == 0 else ()),
        *("bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--as-pid-1", "--hostname", "sandbox"),
        *_system_binds(),
        *(part for prefix in prefixes for part in ("--ro-bind", prefix, prefix)),
        *("--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/zero", "/dev/zero"),
        *("--dev-bind", "/dev/urandom", "/dev/urandom", "--ro-bind-data", str(archive_fd), archive.PLACE),
        *("--remount-ro", "/", "--chdir", "/"),
        "--clearenv",
        *(part for name, value in ENVIRONMENT.items() for part in ("--setenv", name, value)),
        *("--info-fd", str(info_fd), "--seccomp", str(filter_fd), "--"),
        *("prlimit", f"--as={limits.memory_bytes}", f"--nproc={limits.processes}", "--fsize=0", "--core=0"),
        *("--nofile=256", "--memlock=0", "--msgqueue=0", "--"),
        *(
            python,
            "-s",
            "-S",
            "-B",
            "-X",
            "utf8",
            "-c",
            archive.START,
        ),  # not -I, by which Python would not read the hash seed
    ]


def _system_binds() -> list[str]:
    """/usr, read-only, and what of / lies in it or beside it, as this system has it."""
    binds = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib32", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            binds += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            binds += ["--ro-bind", str(path), str(path)]
    return binds
