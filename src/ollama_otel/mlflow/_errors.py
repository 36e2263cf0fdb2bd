"""What delivery can raise, and how its messages name an address."""

import re
from functools import partial
from typing import Final

_SCHEME: Final = re.compile(r"[\w+.-]+://")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)
_UNREADABLE: Final = "***"


class DeliveryError(Exception):
    """Spans were not delivered; the message says what was wrong and how to mend it.

        DeliveryError
        └─ RefusedError      the server answered, and said no

    Args:
        message: what happened, where, which setting it concerns, and the cure.
        retryable: whether the same request may succeed later without anybody's doing.
        kind: a short name of the fault, from a small fixed set, by which warnings are counted.
    """

    def __init__(self, message: str, *, retryable: bool, kind: str) -> None:
        super().__init__(message)
        self.retryable: Final = retryable
        self.kind: Final = kind


class RefusedError(DeliveryError):
    """A server answered with something else than success.

    Args:
        message: as for ``DeliveryError``.
        retryable: as for ``DeliveryError``.
        status: the HTTP status.
        error_code: MLflow's error code from the answer's body; empty where there is none.
        retry_after: seconds that the server asks to wait before the next try.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        status: int,
        error_code: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable, kind=f"status {status}")
        self.status: Final = status
        self.error_code: Final = error_code
        self.retry_after: Final = retry_after


misconfigured: Final = partial(DeliveryError, retryable=False, kind="configuration")
"""A setting is wrong: nothing will be delivered until somebody changes it."""


def redacted(uri: str, mark: str = "") -> str:
    """Return an address without its user, password and query, fit for a log or a screen.

    It shows rather too little than too much: in an address that somebody mistyped, or whose
    password holds /, ? or @, nobody can tell for sure where the password ends.

    Args:
        uri: the address of a server or a database.
        mark: stands in for the user and the password.

    Example:
        >>> redacted("https://me@example.org:secret@host/?token=secret")
        'https://host/'
    """
    known = _SCHEME.match(uri)
    scheme = known.group() if known else ""
    rest = uri.removeprefix(scheme)
    address = _QUERY.sub("", rest)
    if "@" in rest.removeprefix(address):
        return scheme + _UNREADABLE
    user, at, host = address.rpartition("@")
    # Without a colon there is no password, and before a slash no user: it is a path with an @.
    return scheme + (mark + host if at and (":" in user or "/" not in user) else address)
