"""LiveCodeBench's private tests: base64 of zlib of a pickled text. The text is read, and nothing is unpickled.

A pickle is a program, and unpickling runs it. One that holds a single text needs eight of its instructions, none of
which can call anything; a pickle with any other is refused before anything is made of it.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib

MAX_BYTES = 2**29
"""The most that one record's tests may unpack to: a few kilobytes can unpack to gigabytes."""

_TEXT = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_AROUND = frozenset({"PROTO", "FRAME", "MEMOIZE", "BINPUT", "STOP"})
"""Instructions that begin and end a pickle and number its values: they make no value and call nothing."""


def decode_text(encoded: str, max_bytes: int = MAX_BYTES) -> str:
    """The text in base64 of zlib of a pickled text. Raises ValueError with what must hold."""
    try:
        packed = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the tests are JSON, or base64 of zlib of a pickled text; no base64: {error}") from error
    return pickled_text(_unpack(packed, max_bytes))


def pickled_text(data: bytes) -> str:
    """The text in a pickle that holds one text and nothing else; no instruction of it is run. Raises ValueError."""
    texts: list[str] = []
    end = 0
    try:
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name not in _TEXT | _AROUND:
                raise ValueError(f"it has the instruction {opcode.name}, which no text needs")
            if opcode.name in _TEXT:
                texts.append(str(argument))
            end = (position or 0) + 1
    except (ValueError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"the tests are the pickle of one text and nothing else, and this is refused: {error}"
        ) from error
    if len(texts) != 1 or end != len(data):
        what = f"{len(texts)} texts and {len(data) - end} bytes behind its end"
        raise ValueError(f"the tests are the pickle of one text and nothing else, and this is refused: {what}")
    return texts[0]


def _unpack(packed: bytes, max_bytes: int) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"the tests are zlib data; {error}") from error
    if len(data) > max_bytes:
        raise ValueError(f"the tests unpack to at most {max_bytes} bytes, and these do not end there")
    if not unpacking.eof or unpacking.unused_data:
        what = "end too early" if not unpacking.eof else f"have {len(unpacking.unused_data)} bytes behind their end"
        raise ValueError(f"the tests are whole zlib data, and these {what}")
    return data
