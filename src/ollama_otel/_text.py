"""Values as they may leave the process: what neither JSON nor OTLP can carry is said in words."""

import math
from collections.abc import Mapping
from typing import Final

MAX_DEPTH: Final = 16
"""Levels of lists and objects; OTLP's encoding of logs ends at about 25."""

_INTEGER_BITS: Final = 63
_SHOWN_BITS: Final = 1024


def utf8(text: str) -> str:
    """Return the text without lone surrogates, over which the OTLP encoder fails."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def plain(value: object, depth: int = MAX_DEPTH) -> object:
    """Return the value as plain data; what is none is replaced by a text that names it.

    Args:
        value: anything.
        depth: levels of lists and objects that are kept.
    """
    if isinstance(value, str):
        return utf8(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _INTEGER_BITS else _long(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple):
        return _collection(value, depth - 1) if depth else "[nested too deep]"
    return f"[{type(value).__name__}]"


def _long(value: int) -> str:
    # Python refuses to write thousands of decimal digits.
    return str(value) if value.bit_length() <= _SHOWN_BITS else f"{value:#x}"


def _collection(
    value: Mapping[object, object] | list[object] | tuple[object, ...], depth: int
) -> object:
    if isinstance(value, Mapping):
        # OTLP knows no empty key.
        return {str(plain(key, 0)) or "_": plain(item, depth) for key, item in value.items()}
    return [plain(item, depth) for item in value]
