"""Contracts: the parts of MLflow that are touched or imitated, and that may change."""

import inspect

import pytest
from mlflow import environment_variables
from mlflow.entities import Span
from mlflow.entities.span import SpanType
from mlflow.entities.span_log_level import SpanLogLevel
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import (
    MAX_CHARS_IN_TRACE_INFO_METADATA,
    MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE,
    CostKey,
    SpanAttributeKey,
    TokenUsageKey,
    TraceTagKey,
)
from mlflow.tracing.utils import otlp

from mlflow_export.golden import GOLDEN
from ollama_otel.mlflow import sinks
from ollama_otel.mlflow.translation import (
    _LONGEST,
    KINDS,
    RULES,
    TRACE_NAME,
    translate_attributes,
)


def test_the_function_that_makes_mlflow_s_spans() -> None:
    """Internal to MLflow, used in one place: ``sinks._mlflow_spans``."""
    from mlflow.server import otel_api  # noqa: PLC0415  (warns of its own store when imported)

    parameters = inspect.signature(Span.from_otel_proto).parameters

    assert list(parameters) == [
        "otel_proto_span",
        "location_id",
        "preserve_request_id",
        "resource",
    ]
    assert "Span.from_otel_proto(otel_proto_span, resource=resource)" in inspect.getsource(otel_api)


def test_the_function_that_stores_them() -> None:
    """The server's endpoint calls the same function of the store."""
    assert list(inspect.signature(TracingClient.log_spans).parameters) == [
        "self",
        "location",
        "spans",
    ]


def test_attribute_names_are_mlflow_s_own() -> None:
    """What MLflow does not know, it does not read."""
    known = {value for name, value in vars(SpanAttributeKey).items() if name.isupper()}

    assert {rule.writes for rule in RULES} <= known
    assert SpanAttributeKey.TRACE_TAG_PREFIX + TraceTagKey.TRACE_NAME == TRACE_NAME


def test_span_types_are_mlflow_s_own() -> None:
    """So that its pages and filters know them."""
    known = {value for name, value in vars(SpanType).items() if name.isupper()}

    assert {kind.span_type for kind in KINDS.values()} <= known


def test_names_inside_the_attributes_are_mlflow_s_own() -> None:
    """Tokens and cost."""
    translated = translate_attributes(GOLDEN["chat"][0])
    usage = GOLDEN["chat of another provider"][1]["mlflow.chat.tokenUsage"]

    known = {value for name, value in vars(TokenUsageKey).items() if name.isupper()}
    assert set(usage) <= known
    assert all(
        f'"{key}": 0.0' in translated["mlflow.llm.cost"]
        for key in (CostKey.INPUT_COST, CostKey.OUTPUT_COST, CostKey.TOTAL_COST)
    )
    assert translated["mlflow.spanLogLevel"] == SpanLogLevel.INFO


def test_the_way_to_the_server_is_mlflow_s_own() -> None:
    """Path and header of its OTLP endpoint."""
    source = inspect.getsource(sinks.OtlpHttpSink)

    assert f'"{otlp.OTLP_TRACES_PATH}"' in source
    assert f'"{otlp.MLFLOW_EXPERIMENT_ID_HEADER}"' in source


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_EXPERIMENT_ID",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_INSECURE_TLS",
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    ],
)
def test_variables_are_mlflow_s_own(name: str) -> None:
    """No name is ours."""
    assert getattr(environment_variables, name).name == name


def test_the_longest_texts_are_mlflow_s_own() -> None:
    """A longer one costs the whole batch."""
    assert {
        SpanAttributeKey.SESSION_ID: MAX_CHARS_IN_TRACE_INFO_METADATA,
        "gen_ai.conversation.id": MAX_CHARS_IN_TRACE_INFO_METADATA,
        TRACE_NAME: MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE,
    } == _LONGEST
