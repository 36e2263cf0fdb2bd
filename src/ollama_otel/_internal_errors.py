"""What happens to an error of our own: the application goes on, and somebody gets to know."""

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

RAISE_ERRORS: Final = "OLLAMA_OTEL_RAISE_ERRORS"
"""Environment variable: ``true`` lets our own errors through. Meant for test suites."""

_QUIET_SECONDS: Final = 300.0

_logger = logging.getLogger("ollama_otel")
_lock = threading.Lock()
_last_said: dict[str, float] = {}
_unsaid: dict[str, int] = {}


def report(kind: str, error: BaseException) -> None:
    """Log an error of our own, at most once in five minutes for each kind.

    Args:
        kind: what failed, as a phrase that completes "failed while ..."; it must come from a
            small fixed set, because each kind is remembered.
        error: what was raised.

    Raises:
        BaseException: the error itself, when ``OLLAMA_OTEL_RAISE_ERRORS`` is ``true``.
    """
    if os.environ.get(RAISE_ERRORS, "").strip().lower() == "true":
        raise error
    if warn_again := _may_speak(kind):
        _logger.warning(
            "ollama-otel failed while %s; the application is not affected%s",
            kind,
            warn_again,
            exc_info=error,
        )


def forget() -> None:
    """Forget what was said, so that the next error of every kind is logged."""
    with _lock:
        _last_said.clear()
        _unsaid.clear()


def _may_speak(kind: str) -> str:
    """Return the end of the sentence, or nothing when this kind was reported a moment ago."""
    now = time.monotonic()
    with _lock:
        said = _last_said.get(kind)
        if said is not None and now - said < _QUIET_SECONDS:
            _unsaid[kind] = _unsaid.get(kind, 0) + 1
            return ""
        _last_said[kind] = now
        unsaid = _unsaid.pop(kind, 0)
    return f" ({unsaid} more since the last report)" if unsaid else "."


class Guard:
    """A ``with`` block whose ``Exception`` is reported and goes no further.

    ``KeyboardInterrupt``, ``SystemExit`` and their like are not ours to keep: they pass.

    Args:
        kind: what the block does, as in :func:`report`.
    """

    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        report(self._kind, error)
        return True
