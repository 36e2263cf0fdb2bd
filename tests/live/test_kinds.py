"""Whatever kind of call it was: the same whole trace, from both stores, with both readers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from .applications import CONVERSATION_OUTPUT, Ended
from .expected_kinds import KINDS, OUTPUT, kinds
from .expected_traces import LAUNCHED
from .stored import stored_traces, texts_read
from .stored_rest import traces_over_rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .kinds_run import KindsRun
    from .servers import OllamaServer

Values = dict[str, Any]

READINGS = {
    "server, through MlflowClient": ("server", stored_traces),
    "server, over REST": ("server", traces_over_rest),
    "sqlite, through MlflowClient": ("sqlite", stored_traces),
}


@pytest.fixture(scope="module", params=READINGS)
def read_all(request: pytest.FixtureRequest, kinds_run: KindsRun) -> Callable[[int], list[Values]]:
    """Read so many stored traces with one of the readers."""
    store, reader = READINGS[request.param]
    return partial(reader, kinds_run.tracking_uris[store], kinds_run.experiment)


@pytest.fixture(scope="module")
def read(read_all: Callable[[int], list[Values]]) -> dict[str, Values]:
    """The stored traces under the names of their kinds."""
    return dict(zip(KINDS, read_all(len(KINDS)), strict=True))


def test_one_trace_too_many_is_an_error(read_all: Callable[[int], list[Values]]) -> None:
    """Each of the readers tells of it: what they give is all that there is."""
    with pytest.raises(AssertionError, match=f"^{len(KINDS)} instead of {len(KINDS) - 1} traces"):
        read_all(len(KINDS) - 1)


@pytest.mark.parametrize("store", ["server", "sqlite"])
def test_the_application_goes_on_as_without_us(kinds_run: KindsRun, store: str) -> None:
    """Its output is its own, and nobody complains."""
    output = CONVERSATION_OUTPUT + OUTPUT
    assert kinds_run.ended[store] == Ended(status=0, output=output, complaints="")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_call_is_stored_whole(
    read: dict[str, Values], ollama_server: OllamaServer, kind: str
) -> None:
    """State, previews, tags, metadata, and every attribute and event of every span."""
    expected = kinds(urlsplit(ollama_server.url).port, LAUNCHED)[kind]
    assert texts_read(read[kind]) == texts_read(expected)
