"""Streams that nobody reads to their end: where they end, and when.

One that is half read when the interpreter exits ends there. One that the garbage collector finds
ends in a thread of its own: the collector may have started where a lock of OpenTelemetry's metrics
is held, and recording there would wait for that lock for ever.
"""

import atexit
import gc
import os
from _thread import start_new_thread
from collections import deque
from contextlib import suppress
from functools import cache
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from ollama_otel._internal_errors import Guard

if TYPE_CHECKING:
    from ollama_otel._calls import Call, UnreadCall

_ENDING: Final = Guard("ending a stream that was left")

# By id, and not a WeakSet: another thread may begin a stream while these are walked through.
_open: Final[dict[int, "ref[Call]"]] = {}
_collected: Final[deque["Call | UnreadCall"]] = deque()
_collecting: list[int] = []
"""The thread that collects garbage, while one does."""


def keep(call: "Call") -> None:
    """End a call at exit, if it still lives then.

    Args:
        call: the call of a stream that begins to be read.
    """
    _watch_the_collector()
    key = id(call)
    _open[key] = ref(call, lambda _: _open.pop(key, None))


def leave(call: "Call | UnreadCall") -> None:
    """End a call whose stream was closed or dropped, as soon as that can be done.

    Args:
        call: the call.
    """
    if _collecting and _collecting[0] == get_ident():
        _collected.append(call)
        # Not a threading.Thread: that takes locks which this thread may hold, too. Where no thread
        # can be started any more, the exit ends the call.
        with suppress(RuntimeError):
            start_new_thread(_end_collected, ())
    else:
        call.end()


def end_at_exit() -> None:
    """See to it that what is open at exit ends before the tracer provider shuts down.

    What is registered last runs first. So this is called when a call is made through providers
    that were not there before.
    """
    atexit.unregister(_end_all)
    atexit.register(_end_all)


def _end_all() -> None:
    _end_collected()
    for open_call in list(_open.values()):
        with _ENDING:
            if (call := open_call()) is not None:
                call.end()


def _end_collected() -> None:
    while _collected:
        with _ENDING:
            _collected.popleft().end()


@cache
def _watch_the_collector() -> None:
    gc.callbacks.append(_collects)


def _collects(phase: str, _info: dict[str, Any]) -> None:
    _collecting[:] = [get_ident()] if phase == "start" else []


def _forget() -> None:
    _open.clear()
    _collected.clear()


if hasattr(os, "register_at_fork"):
    # They are the parent's to end.
    os.register_at_fork(after_in_child=_forget)
