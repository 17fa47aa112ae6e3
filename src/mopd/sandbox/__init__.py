"""Untrusted code runs here and nowhere else: bubblewrap, resource limits and a seccomp filter, or not at all.

- `process` starts a sandbox and speaks to it. `bubblewrap` is the command, `seccomp` the system calls that are denied.
- `harness/` runs inside. `archive` carries it in, and `interpreter` says on which Python.
- `bounds` is what a program may use, `failures` how a sandbox fails, and `proof` the check that one holds here at all.

May import: `core.errors`. A new limit is a field of `bounds.Limits` and an option in
`bubblewrap.command`; where no code may run unless it holds, `proof.PROBE` tries to pass it. A new system call to deny
is a name in `seccomp`. Each comes with a program in tests/attacks.py that would succeed without it.
"""

from mopd.sandbox.bounds import Limits, configure, limits, wall_s
from mopd.sandbox.failures import Ended, SandboxFailure
from mopd.sandbox.process import Sandbox
from mopd.sandbox.proof import check

__all__ = ["Ended", "Limits", "Sandbox", "SandboxFailure", "check", "configure", "limits", "wall_s"]
