"""Untrusted code runs here and nowhere else: bubblewrap, resource limits and a seccomp filter, or not at all.

`bubblewrap` starts a sandbox and speaks to it; `harness` is what runs inside; `values` is how results come out.
"""

from mopd.sandbox.bubblewrap import Ended, Limits, Sandbox, SandboxFailure, check, configure, limits, wall_s

__all__ = ["Ended", "Limits", "Sandbox", "SandboxFailure", "check", "configure", "limits", "wall_s"]
