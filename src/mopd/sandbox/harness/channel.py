"""The lines that cross between the harness and what is outside, and the descriptors that carry them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Channel:
    """Standard input and output as the harness found them, moved to descriptors that no program inherits."""

    def __init__(self) -> None:
        self.reading = os.fdopen(os.dup(0), "rb")
        self.writing = os.dup(1)
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(nothing)

    def first_request(self) -> Any:
        """The literal in the next line; None where there is none."""
        line = self.reading.readline()
        return eval(line, {"__builtins__": {}}) if line else None

    def receive(self) -> Any:
        """The next line's JSON; None where there is none."""
        import json

        line = self.reading.readline()
        return json.loads(line) if line else None

    def send(self, reply: dict[str, Any]) -> None:
        """Write one line of JSON."""
        import json

        self.write(json.dumps(reply).encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            left = left[os.write(self.writing, left) :]

    def close(self) -> None:
        """Give both descriptors up."""
        self.reading.close()
        os.close(self.writing)
