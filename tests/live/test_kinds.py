"""Whatever kind of call it was: the same whole trace, from both stores, with both readers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from .applications import CONVERSATION_OUTPUT, Ended
from .expected_kinds import KINDS, OUTPUT, kinds
from .expected_traces import LAUNCHED
from .stored import stored_traces, texts_read
from .stored_rest import traces_over_rest

if TYPE_CHECKING:
    from typing import Any

    from .kinds_run import KindsRun
    from .servers import OllamaServer

READINGS = {
    "server, through MlflowClient": ("server", stored_traces),
    "server, over REST": ("server", traces_over_rest),
    "sqlite, through MlflowClient": ("sqlite", stored_traces),
}


@pytest.fixture(scope="module", params=READINGS)
def read(request: pytest.FixtureRequest, kinds_run: KindsRun) -> dict[str, Any]:
    """The stored traces under the names of their kinds, as one of the readers gives them."""
    store, reader = READINGS[request.param]
    traces = reader(kinds_run.tracking_uris[store], kinds_run.experiment, len(KINDS))
    return dict(zip(KINDS, traces, strict=True))


@pytest.mark.parametrize("store", ["server", "sqlite"])
def test_the_application_goes_on_as_without_us(kinds_run: KindsRun, store: str) -> None:
    """Its output is its own, and nobody complains."""
    output = CONVERSATION_OUTPUT + OUTPUT
    assert kinds_run.ended[store] == Ended(status=0, output=output, complaints="")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_call_is_stored_whole(
    read: dict[str, Any], ollama_server: OllamaServer, kind: str
) -> None:
    """State, previews, tags, metadata, and every attribute and event of every span."""
    expected = kinds(urlsplit(ollama_server.url).port, LAUNCHED)[kind]
    assert texts_read(read[kind]) == texts_read(expected)
