"""The date that chat templates write (`strftime_now`): that of a given moment, so that a run has one day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo


@contextmanager
def written_at(moment: datetime | None) -> Iterator[None]:
    """Templates rendered in the block write `moment` as the date; None: the date that it is.

    transformers lets no caller pass a function to a template, so its clock is another one meanwhile. Where a version
    keeps no clock there, templates write today, and a run finds that its template writes what it did not write before.
    """
    from transformers.utils import chat_template_utils

    clock = getattr(chat_template_utils, "datetime", None)
    if moment is None or clock is None:
        yield
        return

    stopped_at = moment

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return stopped_at if tz is None else stopped_at.astimezone(tz)

    chat_template_utils.datetime = Stopped
    try:
        yield
    finally:
        chat_template_utils.datetime = clock
