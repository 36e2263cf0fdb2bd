"""Whichever road a call takes to MLflow, MLflow stores the same trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from .applications import (
    APPS,
    CONVERSATION,
    CONVERSATION_OUTPUT,
    TRACES_ONLY,
    Ended,
    run_as_it_is,
    run_instrumented,
)
from .expected_traces import LAUNCHED, RESOURCE, conversation
from .stored import create_experiment, stored_traces, texts_read
from .stored_rest import traces_over_rest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import StartCollector
    from .servers import OllamaServer

CALLS = (
    *("plain", "streamed", "thinking", "tool call", "tool result", "structured", "cut short"),
    *("missing model", "asynchronous", "streamed asynchronously"),
)
# MLflow itself would say when it creates a database.
QUIET = TRACES_ONLY | {"MLFLOW_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True)
class World:
    """The servers, and a directory for what a road needs beside them."""

    ollama: str
    mlflow: str
    collector: StartCollector
    directory: Path


@dataclass(frozen=True)
class Arrived:
    """What came of the application, and what each reader finds of it in MLflow."""

    ended: Ended
    traces: dict[str, list[dict[str, Any]]]
    resource: dict[str, str]


def arrived_at(
    tracking_uri: str, experiment: str, ended: Ended, resource: dict[str, str]
) -> Arrived:
    """Read what arrived: through MLflow's client, and over REST where there is a server."""
    readers = {"client": stored_traces}
    if tracking_uri.startswith("http"):
        readers["REST"] = traces_over_rest
    place = (tracking_uri, experiment, len(CALLS))
    return Arrived(ended, {name: read(*place) for name, read in readers.items()}, resource)


def zero_code_over_http(world: World) -> Arrived:
    return zero_code(world, world.mlflow, "zero code over http")


def zero_code_to_sqlite(world: World) -> Arrived:
    return zero_code(world, sqlite_in(world), "zero code to sqlite")


def zero_code(world: World, tracking_uri: str, experiment: str) -> Arrived:
    ended = run_instrumented(
        CONVERSATION,
        world.ollama,
        OTEL_TRACES_EXPORTER="mlflow",
        MLFLOW_TRACKING_URI=tracking_uri,
        MLFLOW_EXPERIMENT_NAME=experiment,
        **QUIET,
    )
    return arrived_at(tracking_uri, experiment, ended, LAUNCHED)


def exporter_class_to_sqlite(world: World) -> Arrived:
    store, experiment = sqlite_in(world), "exporter class to sqlite"
    ended = run_as_it_is(
        "with_exporter.py",
        *(store, str(APPS / CONVERSATION), world.ollama),
        MLFLOW_EXPERIMENT_NAME=experiment,
        **QUIET,
    )
    return arrived_at(store, experiment, ended, RESOURCE)


def sqlite_in(world: World) -> str:
    return f"sqlite:///{world.directory / 'mlflow.db'}"


def collector_over_grpc(world: World) -> Arrived:
    return through_collector(world, "grpc", "collector over grpc")


def collector_over_http(world: World) -> Arrived:
    return through_collector(world, "http/protobuf", "collector over http")


def through_collector(world: World, protocol: str, experiment: str) -> Arrived:
    collector = world.collector(world.mlflow, create_experiment(world.mlflow, experiment))
    endpoints = {"grpc": collector.grpc, "http/protobuf": collector.http}
    ended = run_instrumented(
        CONVERSATION,
        world.ollama,
        OTEL_TRACES_EXPORTER="mlflow_otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoints[protocol],
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        **QUIET,
    )
    return arrived_at(world.mlflow, experiment, ended, LAUNCHED)


ROADS = (
    zero_code_over_http,
    zero_code_to_sqlite,
    exporter_class_to_sqlite,
    collector_over_grpc,
    collector_over_http,
)


@pytest.fixture(scope="module")
def world(
    ollama_server: OllamaServer,
    mlflow_server: str,
    collector: StartCollector,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    return World(ollama_server.url, mlflow_server, collector, tmp_path_factory.mktemp("road"))


@pytest.fixture(scope="module", params=ROADS, ids=lambda road: road.__name__)
def arrived(request: pytest.FixtureRequest, world: World) -> Arrived:
    """The application's calls, at the end of one of the roads."""
    road: Callable[[World], Arrived] = request.param
    return road(world)


def test_the_application_goes_on_as_without_us(arrived: Arrived) -> None:
    """Its output is its own, and nobody complains."""
    assert arrived.ended == Ended(status=0, output=CONVERSATION_OUTPUT, complaints="")


@pytest.mark.parametrize("number", range(len(CALLS)), ids=CALLS)
def test_a_call_is_stored_whole(arrived: Arrived, world: World, number: int) -> None:
    """State, previews, tags, tokens, cost, span, type, status, attributes and events."""
    port = urlsplit(world.ollama).port
    expected = conversation(port, arrived.resource)[number]
    found = {reader: texts_read(traces[number]) for reader, traces in arrived.traces.items()}
    assert found == dict.fromkeys(arrived.traces, texts_read(expected))


def test_other_spans_keep_their_place(world: World) -> None:
    """The HTTP request that the SDK makes is a span below the chat, as without MLflow."""
    ended = run_instrumented(
        CONVERSATION,
        world.ollama,
        **TRACES_ONLY
        | {
            "OTEL_TRACES_EXPORTER": "mlflow",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "",
            "MLFLOW_TRACKING_URI": world.mlflow,
            "MLFLOW_EXPERIMENT_NAME": "with http spans",
        },
    )
    assert ended == Ended(status=0, output=CONVERSATION_OUTPUT, complaints="")
    traces = stored_traces(world.mlflow, "with http spans", len(CALLS))
    assert [[tree_line(span) for span in trace["spans"]] for trace in traces] == [
        [(f"chat {model}", None, "CHAT_MODEL"), ("POST", f"chat {model}", None)]
        for model in ["scripted"] * 7 + ["nope"] + ["scripted"] * 2
    ]


def tree_line(span: dict[str, Any]) -> tuple[str, str | None, str | None]:
    return span["name"], span["parent"], span["type"]
