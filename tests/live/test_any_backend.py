"""Any OpenTelemetry backend gets standard GenAI telemetry through the stock exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from .applications import (
    CONVERSATION,
    CONVERSATION_OUTPUT,
    TRACES_ONLY,
    Ended,
    run_instrumented,
)
from .expected_spans import conversation
from .received import received_points, received_spans

if TYPE_CHECKING:
    from .conftest import StartCollector
    from .servers import Collector, OllamaServer

SCOPE = "ollama_otel"


@pytest.fixture(scope="module")
def received(ollama_server: OllamaServer, collector: StartCollector) -> Collector:
    """A collector to which the application has sent its spans and metrics."""
    backend = collector()
    ended = run_instrumented(
        CONVERSATION,
        ollama_server.url,
        OTEL_EXPORTER_OTLP_ENDPOINT=backend.grpc,
        **TRACES_ONLY | {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"},
    )
    assert ended == Ended(status=0, output=CONVERSATION_OUTPUT, complaints="")
    return backend


@pytest.fixture
def port(ollama_server: OllamaServer) -> int | None:
    return urlsplit(ollama_server.url).port


def test_every_call_is_a_span_of_the_conventions(received: Collector, port: int) -> None:
    """Names, kinds, status, attributes and content of all ten calls, whole."""
    assert received_spans(received, SCOPE, count=10) == conversation(port)


def test_every_call_is_measured(received: Collector, port: int) -> None:
    """The four client metrics, with all their attributes."""
    server = {"server.address": "127.0.0.1", "server.port": port}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "ollama"} | server
    asked = chat | {"gen_ai.request.model": "scripted", "gen_ai.response.model": "scripted"}
    failed = chat | {"gen_ai.request.model": "nope", "error.type": "404"}
    assert received_points(received, SCOPE) == [
        _point("operation.duration", "s", 9, asked),
        _point("operation.duration", "s", 1, failed),
        _point("token.usage", "{token}", 9, asked | {"gen_ai.token.type": "input"}),
        _point("token.usage", "{token}", 9, asked | {"gen_ai.token.type": "output"}),
        _point("operation.time_to_first_chunk", "s", 2, asked),
        _point("operation.time_per_output_chunk", "s", 18, asked),
    ]


def _point(name: str, unit: str, count: int, attributes: dict[str, Any]) -> dict[str, Any]:
    name = f"gen_ai.client.{name}"
    return {"name": name, "unit": unit, "count": count, "attributes": attributes}
