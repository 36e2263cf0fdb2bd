"""OTLP over http as OpenTelemetry's own variables want it."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlflow_export.fake_mlflow import FakeMlflow
from mlflow_export.genai import GenAi
from mlflow_export.test_exporter import warnings_of
from ollama_otel import _internal_errors
from ollama_otel.mlflow import MlflowSpanExporter

COMPRESSION = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"
HEADERS = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"


@pytest.mark.parametrize(
    ("setting", "encoding", "decompress"),
    [
        (None, "gzip", gzip.decompress),
        ("gzip", "gzip", gzip.decompress),
        (" Deflate", "deflate", zlib.decompress),
        ("none", None, bytes),
    ],
)
def test_the_body_is_compressed_as_the_variable_says(  # noqa: PLR0913  (cases and fixtures)
    *,
    setting: str | None,
    encoding: str | None,
    decompress: Callable[[bytes], bytes],
    genai: GenAi,
    server: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With gzip, if it says nothing."""
    if setting is not None:
        monkeypatch.setenv(COMPRESSION, setting)

    MlflowSpanExporter(server.uri).export([genai.chat()])

    (request,) = server.requests
    assert request.headers.get("Content-Encoding") == encoding
    message = ExportTraceServiceRequest.FromString(decompress(request.body))
    assert message.resource_spans[0].scope_spans[0].spans[0].name == "chat llama3.2"


def test_a_compression_that_does_not_exist_is_said(
    genai: GenAi,
    server: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With what works."""
    monkeypatch.setenv(COMPRESSION, "zstd")

    MlflowSpanExporter(server.uri).export([genai.chat()])

    assert warnings_of(caplog) == [
        f"undelivered spans: 1; {COMPRESSION} is 'zstd'; what works: gzip, deflate, none"
    ]


def test_headers_of_the_variable_are_sent(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read for every request, and before ours where they name the experiment."""
    monkeypatch.setenv(HEADERS, "x-proxy-key=secret%201,x-mlflow-experiment-id=7,Content-Type=x")
    exporter = MlflowSpanExporter(server.uri)
    exporter.export([genai.chat()])
    monkeypatch.setenv(HEADERS, "x-proxy-key=secret2")
    exporter.export([genai.chat()])

    sent = [
        {name.lower(): value for name, value in each.headers.items()} for each in server.requests
    ]
    assert [
        (each["x-proxy-key"], each["x-mlflow-experiment-id"], each["content-type"]) for each in sent
    ] == [
        ("secret 1", "7", "application/x-protobuf"),
        ("secret2", "0", "application/x-protobuf"),
    ]


def test_headers_for_a_collector_are_not_mlflows(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an OTLP endpoint is set, they are for that: a key of one is no business of another."""
    monkeypatch.setenv(HEADERS, "authorization=Bearer%20secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://vendor.test")

    MlflowSpanExporter(server.uri).export([genai.chat()])

    assert "Authorization" not in server.requests[0].headers


def test_headers_go_with_every_request(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy wants them for experiments and runs as well."""
    monkeypatch.setenv(HEADERS, "x-proxy-key=1")

    MlflowSpanExporter(server.uri, experiment_name="new", run_id="r").export([genai.chat()])

    sent = [
        {name.lower(): value for name, value in each.headers.items()} for each in server.requests
    ]
    assert len(sent) == 4
    assert [each["x-proxy-key"] for each in sent] == ["1"] * 4


def test_headers_that_cannot_be_read_are_not_shown(
    genai: GenAi,
    server: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They may be secret."""
    _internal_errors.warn.forget()
    monkeypatch.setenv(HEADERS, "authorization: Bearer SECRET,x-good=1")

    MlflowSpanExporter(server.uri).export([genai.chat()])

    assert "SECRET" not in caplog.text
    assert caplog.messages == [f"{HEADERS} has an entry that is not name=value, which is left out"]
    assert server.requests[0].headers["x-good"] == "1"
