"""Values of Python as JSON: how arguments enter a sandbox and results leave it.

Nothing is ever executed by decoding. Tuples, sets, dicts with any keys, bytes and complex numbers keep their type; a
subclass is sent as what it extends; anything else stays where it is and is sent as a handle. This module is used
on both sides of the sandbox's wall.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TAG = "$"

MAX_DECIMAL_BITS = 13000
"""Longer integers are sent in hexadecimal: Python refuses to read or write over 4,300 decimal digits."""

_COLLECTIONS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any, handle: Callable[[Any], int]) -> Any:
    """`value` as JSON can hold it; `handle(object)` gives the number under which an object is kept."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int(value)
        return number if number.bit_length() < MAX_DECIMAL_BITS else {TAG: "int", "v": hex(number)}
    if isinstance(value, float):
        return float(value)  # json writes nan and infinities, and reads them
    if isinstance(value, list):
        return [encode(item, handle) for item in value]
    return _encode_tagged(value, handle)


def _encode_tagged(value: Any, handle: Callable[[Any], int]) -> dict[str, Any]:
    for name, kind in _COLLECTIONS.items():
        if isinstance(value, kind):
            return {TAG: name, "v": [encode(item, handle) for item in value]}
    if isinstance(value, dict):
        return {TAG: "dict", "v": [[encode(k, handle), encode(v, handle)] for k, v in value.items()]}
    if isinstance(value, (bytes, bytearray)):
        return {TAG: "bytes", "v": bytes(value).hex()}
    if isinstance(value, complex):
        return {TAG: "complex", "v": [value.real, value.imag]}
    return {TAG: "handle", "v": handle(value)}


def decode(value: Any, resolve: Callable[[Any], Any]) -> Any:
    """What `encode` was given; `resolve(number)` gives what stands for a handle.

    Raises ValueError, TypeError or KeyError for what no `encode` gave.
    """
    if isinstance(value, list):
        return [decode(item, resolve) for item in value]
    if not isinstance(value, dict):
        return value
    tag, inner = value[TAG], value["v"]
    if tag == "int":
        return int(inner, 16)
    if tag == "handle":
        return resolve(inner)
    if tag == "bytes":
        return bytes.fromhex(inner)
    if tag == "complex":
        return complex(*inner)
    if tag == "dict":
        return {decode(k, resolve): decode(v, resolve) for k, v in inner}
    return _COLLECTIONS[tag](decode(item, resolve) for item in inner)
