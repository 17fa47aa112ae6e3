"""What cannot be read of a run, an old or damaged one: named and left out, while all else is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mopd.core.errors import MopdError
from mopd.report.showing import visible

Found = TypeVar("Found")

LONGEST = 500
"""Characters of a reason that are told."""


def tried(missing: list[str], what: str, read: Callable[[], Found], otherwise: Any) -> Found:
    """What `read` gives; where it fails, `otherwise`, and `what` is added to `missing` with the reason."""
    try:
        return read()
    except Exception as error:  # of a damaged or older run any part may be unlike what this version writes
        told = error.got if isinstance(error, MopdError) else f"{type(error).__name__}: {error}"
        missing.append(f"{what}: {visible(str(told))[:LONGEST]}")
        return otherwise  # type: ignore[no-any-return]
