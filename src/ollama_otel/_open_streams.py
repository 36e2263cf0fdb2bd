"""Streams that are half read when the interpreter exits: their spans end with what came."""

import atexit
import os
from functools import cache
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from ollama_otel._internal_errors import Guard

if TYPE_CHECKING:
    from ollama_otel._calls import Call, UnreadCall

_open: Final["WeakSet[Call | UnreadCall]"] = WeakSet()
_ENDING: Final = Guard("ending the streams that were open at exit")


def keep(call: "Call | UnreadCall") -> None:
    """End a call at exit, if it still lives then.

    Args:
        call: the call of a stream that begins to be read.
    """
    _end_all_at_exit()
    _open.add(call)


@cache
def _end_all_at_exit() -> None:
    # Not at import: what is registered last runs first, and the spans have to end before the
    # tracer provider shuts down, which exists when a stream is read.
    atexit.register(_end_all)


def _end_all() -> None:
    with _ENDING:
        for call in list(_open):
            call.end()


if hasattr(os, "register_at_fork"):
    # They are the parent's to end.
    os.register_at_fork(after_in_child=_open.clear)
