"""JSON as span attributes carry it: read whatever comes, write what every reader takes."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from ollama_otel._text import plain, utf8

CUT_MARK: Final = "… [cut]"
"""Ends a text that was cut, so that nobody takes it for whole."""

_MAX_DEPTH: Final = 32
_CLOSERS: Final = {"[": "]", "{": "}"}
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?P<end>"?)|[][{},]', re.DOTALL)
_HALF_ESCAPE: Final = re.compile(r"((?<!\\)(?:\\\\)*)\\u[0-9a-fA-F]{0,3}$")


def parse(text: str) -> object:
    """Return what a JSON text says; NaN and infinities come as text.

    Args:
        text: the JSON text.

    Raises:
        ValueError: the text is not JSON, or is nested deeper than Python can read.
    """
    try:
        return json.loads(text, parse_constant=str)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def decode(value: object) -> object:
    """Return what a JSON text says, and everything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError:
        return value


def as_text(value: object) -> str:
    """Return a text as it is, and everything else as JSON."""
    return value if isinstance(value, str) else encode(value)


def decode_mended(value: object) -> object:
    """Return what a JSON text says, even one that was cut.

    ``OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`` cuts attributes at any character. What was whole
    before the cut is kept; a text that was cut itself ends in ``CUT_MARK``.

    Args:
        value: an attribute's value that should be JSON.

    Returns:
        The decoded value, or the value itself when it is no JSON at all.
    """
    if not isinstance(value, str):
        return value
    readings = (_parsed_or_none(text) for text in chain([value], _mended(value)))
    return next((reading[0] for reading in readings if reading), value)


def _parsed_or_none(text: str) -> tuple[object] | None:
    try:
        return (parse(text),)
    except ValueError:
        return None


def _mended(text: str) -> Iterator[str]:
    """Close what a cut left open: first right at the cut, then after the last whole value."""
    still_open: list[str] = []
    whole = 0
    tail = text
    for match in _TOKEN.finditer(text):
        found = match[0]
        if found in _CLOSERS:
            still_open.append(_CLOSERS[found])
            whole = match.end()
        elif found == ",":
            whole = match.start()
        elif found in ("]", "}"):
            if not still_open:
                return
            still_open.pop()
        elif not match["end"]:
            tail = _HALF_ESCAPE.sub(r"\1", text[: match.end()]) + CUT_MARK + '"'
    if still_open:
        closing = "".join(reversed(still_open))
        yield tail + closing
        yield text[:whole] + closing


def encode(value: object) -> str:
    """Return the value as JSON text that every reader takes: UTF-8, and no NaN.

    Args:
        value: anything; what JSON cannot say is replaced by a text that names it.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        text = json.dumps(plain(value, _MAX_DEPTH), ensure_ascii=False)
    return utf8(text)
