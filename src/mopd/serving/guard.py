"""Ends a server's processes once `mopd serve` is gone, however it ended: a program of its own, that outlives it.

Its standard input is a pipe whose other end `mopd serve` holds and the system closes when that dies, even by SIGKILL.
"""

import os
import signal
import sys
import time

GRACE_S = 20.0
"""How long a server has to end before it is killed."""


def main(group: int) -> None:
    """Wait for the end of standard input, then end all processes of `group` that are left."""
    sys.stdin.buffer.read()
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE_S
        try:
            os.killpg(group, number)
            while time.monotonic() < until:
                os.killpg(group, 0)
                time.sleep(0.2)
        except ProcessLookupError:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
