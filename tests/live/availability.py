"""What becomes of a test whose counterpart cannot be had."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from .counterparts import CounterpartUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def unavailable_skips() -> Iterator[None]:
    """Skip where a counterpart cannot be had; fail where CI promised that it can."""
    try:
        yield
    except (CounterpartUnavailableError, ImportError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
