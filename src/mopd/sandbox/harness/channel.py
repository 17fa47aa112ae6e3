"""The lines that cross between the harness and what is outside, and the descriptors that carry them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Options:
    """How JSON is read, as `json.loads` reads it."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_int, parse_float, memo = int, float, {}  # type: ignore[var-annotated]
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}.__getitem__


_made: list[Any] = []


def _codec() -> list[Any]:
    """What reads JSON, and what writes it: the core of `json`.

    The package itself takes as long to import as the interpreter to start, and every program would pay for it.
    """
    if not _made:
        import _json

        writer = _json.make_encoder(None, _refused, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)
        _made.extend((_json.make_scanner(_Options()), writer))  # type: ignore[arg-type]
    return _made


def _refused(value: object) -> None:
    raise TypeError(f"no JSON has a {type(value).__name__}")


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
        line = self.reading.readline()
        return _codec()[0](line.decode(), 0)[0] if line else None

    def send(self, reply: dict[str, Any]) -> None:
        """Write one line of JSON."""
        self.write("".join(_codec()[1](reply, 0)).encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            left = left[os.write(self.writing, left) :]

    def close(self) -> None:
        """Give both descriptors up."""
        self.reading.close()
        os.close(self.writing)
