"""An error of a run of several processes is shown once: by the first process that has one to show."""

from __future__ import annotations

import os
from datetime import timedelta

from mopd.core.errors import RankError
from mopd.parallel.launch import launched

REACHED_WITHIN_S = 5.0
"""The launcher's store is on the first host; where that host is gone, each of the others speaks for itself."""


def may_tell() -> bool:
    """Whether this process shows its error. What follows from it in the others, as a lost connection, is not shown."""
    try:
        own = launched()
    except RankError:
        return True
    if own is None:
        return True
    try:
        return _count_of_tellers() == 1
    except Exception:  # no store of a launcher, or no way to it
        return own.local_rank == 0


def _count_of_tellers() -> int:
    """How many processes asked so far, this one included, since the launcher last started them."""
    import torch.distributed as dist

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise LookupError("no store")
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    within = timedelta(seconds=REACHED_WITHIN_S)
    store = dist.TCPStore(address, port, is_master=False, timeout=within)  # type: ignore[attr-defined]
    return int(store.add(f"mopd/errors/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1))
