"""What happens to an error of our own: the application goes on, and somebody gets to know."""

import logging
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

RAISE_ERRORS: Final = "OLLAMA_OTEL_RAISE_ERRORS"
"""Environment variable: ``true`` lets our own errors through. Meant for test suites."""

_QUIET_SECONDS: Final = 300.0


class Warnings:
    """Logs a warning of each kind at most once in a while, and counts what it kept to itself.

    Without a lock: at worst two threads say the same at once, and no fork can leave it taken.

    Args:
        logger: where the warnings go.
        quiet_seconds: how long a kind that was said is not said again.
    """

    def __init__(self, logger: logging.Logger, quiet_seconds: float) -> None:
        self._logger = logger
        self._quiet_seconds = quiet_seconds
        self._said: dict[str, float] = {}
        self._kept: dict[str, int] = {}

    def __call__(
        self, kind: str, message: str, error: BaseException | None = None, count: int = 1
    ) -> None:
        """Log a warning, unless one of its kind was logged a moment ago.

        Args:
            kind: one of a small fixed set, because each is remembered.
            message: what went wrong, and how to mend it.
            error: what was raised, when its traceback helps.
            count: how many things went wrong, when the message is about more than one.
        """
        now = time.monotonic()
        if now - self._said.get(kind, -self._quiet_seconds) < self._quiet_seconds:
            self._kept[kind] = self._kept.get(kind, 0) + count
            return
        self._said[kind] = now
        kept = self._kept.pop(kind, 0)
        more = f" ({kept} more like this since the last warning)" if kept else ""
        self._logger.warning("%s%s", message, more, exc_info=error)

    def kept(self) -> int:
        """Return how many things, of all kinds, no warning has told yet."""
        return sum(self._kept.values())

    def forget(self) -> None:
        """Forget what was said, so that the next warning of every kind is logged."""
        self._said.clear()
        self._kept.clear()


warn: Final = Warnings(logging.getLogger("ollama_otel"), _QUIET_SECONDS)


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
    warn(kind, f"ollama-otel failed while {kind}; the application is not affected", error)


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
