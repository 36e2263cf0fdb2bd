"""Spans in a real MLflow database, read back with MLflow's own client."""

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    REQUEST_LIMIT_EXCEEDED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.tracing.client import TracingClient
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlflow_export.genai import ANSWER, QUESTION, GenAi
from mlflow_export.stored import traces
from ollama_otel.mlflow.exporter import translate_span
from ollama_otel.mlflow.sinks import DeliveryError, ExperimentChoice, StoreSink

FREE = {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}
USAGE = {"input_tokens": 26, "output_tokens": 14, "total_tokens": 40}
STORED = {"mlflow.trace.spansLocation": "TRACKING_STORE", "service.name": "shop"}


def request(genai: GenAi) -> ExportTraceServiceRequest:
    """All spans so far, translated."""
    return encode_spans([translate_span(span) for span in genai.spans])


def refusal(uri: str, genai: GenAi, choice: ExperimentChoice | None = None) -> DeliveryError:
    """The error with which a delivery ends."""
    sink = StoreSink(uri, choice)
    with pytest.raises(DeliveryError) as caught:
        sink.deliver(request(genai))
    return caught.value


def test_a_chat_is_stored_whole(genai: GenAi, database: str) -> None:
    """All that the trace list, the trace page, search and evaluation read is there."""
    span = genai.chat()
    StoreSink(database).deliver(request(genai))

    messages = [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": QUESTION},
    ]
    answer = {"role": "assistant", "content": ANSWER}
    tip = {
        "type": "object",
        "properties": {
            "bill_amount": {"type": "number", "description": "The bill in dollars"},
            "tip_percentage": {"type": "number"},
        },
        "required": ["bill_amount"],
    }
    described = {"name": "calculate_tip", "description": "Calculate the tip for a bill"}
    recorded = {name: value for name, value in (span.attributes or {}).items() if "." in name}
    assert traces(database) == [
        {
            "state": "OK",
            "request": QUESTION,
            "response": ANSWER,
            "tags": {**STORED, "mlflow.traceName": "chat llama3.2"},
            "metadata": {"mlflow.trace.tokenUsage": USAGE, "mlflow.trace.cost": FREE},
            "spans": [
                {
                    "name": "chat llama3.2",
                    "parent": None,
                    "type": "CHAT_MODEL",
                    "status": ("OK", ""),
                    "attributes": {
                        **read_back(recorded),
                        "mlflow.spanType": "CHAT_MODEL",
                        "mlflow.spanInputs": {
                            "model": "llama3.2",
                            "messages": messages,
                            "temperature": 0.2,
                        },
                        "mlflow.spanOutputs": {
                            "choices": [{"index": 0, "finish_reason": "stop", "message": answer}]
                        },
                        "mlflow.message.format": "openai",
                        "mlflow.chat.tools": [
                            {"type": "function", "function": {**described, "parameters": tip}}
                        ],
                        "mlflow.chat.tokenUsage": USAGE,
                        "mlflow.llm.model": "llama3.2",
                        "mlflow.llm.provider": "ollama",
                        "mlflow.llm.cost": FREE,
                        "mlflow.spanLogLevel": 20,
                        "mlflow.traceTag.mlflow.traceName": "chat llama3.2",
                    },
                    "events": [],
                }
            ],
        }
    ]


def read_back(attributes: dict[str, Any]) -> dict[str, Any]:
    """OpenTelemetry's values as MLflow reads them back: JSON decoded, tuples as lists."""

    def value(item: Any) -> Any:
        if isinstance(item, str) and item[:1] in "[{":
            return json.loads(item)
        return list(item) if isinstance(item, tuple) else item

    return {name: value(item) for name, item in attributes.items()}


def test_a_failure_is_stored_with_what_makes_it_red(genai: GenAi, database: str) -> None:
    """The state, the status and its message, and the exception event that the page shows."""
    genai.asking("nope").fail(RuntimeError("model 'nope' not found"))
    StoreSink(database).deliver(request(genai))

    (trace,) = traces(database)
    (span,) = trace["spans"]

    assert (trace["state"], trace["request"], trace["response"]) == ("ERROR", QUESTION, None)
    assert span["status"] == ("ERROR", "model 'nope' not found")
    assert span["events"] == [
        (
            "exception",
            {"exception.type": "RuntimeError", "exception.message": "model 'nope' not found"},
        )
    ]


def test_a_tree_keeps_its_shape(genai: GenAi, database: str) -> None:
    """Spans of other libraries hold it together; tokens count once, a tool is named as itself."""
    with genai.tracer.start_as_current_span("ToolCallingLoop"):
        genai.chat()
        tool = genai.handler.tool("calculate_tip")
        tool.arguments = {"bill_amount": 187.32}
        tool.tool_result = 41.21
        with genai.tracer.start_as_current_span("GET /menu"):
            pass
        tool.stop()
        embedding = genai.handler.embedding("ollama", request_model="all-minilm")
        embedding.input_tokens = 7
        embedding.stop()
    StoreSink(database).deliver(request(genai))

    (trace,) = traces(database)

    assert (trace["state"], trace["tags"]["mlflow.traceName"]) == ("OK", "ToolCallingLoop")
    assert trace["metadata"]["mlflow.trace.tokenUsage"] == {
        "input_tokens": 33,
        "output_tokens": 14,
        "total_tokens": 47,
    }
    assert [
        (span["name"], span["parent"], span["type"], span["status"][0]) for span in trace["spans"]
    ] == [
        ("ToolCallingLoop", None, None, "UNSET"),
        ("chat llama3.2", "ToolCallingLoop", "CHAT_MODEL", "OK"),
        ("calculate_tip", "ToolCallingLoop", "TOOL", "OK"),
        ("GET /menu", "calculate_tip", None, "UNSET"),
        ("embeddings all-minilm", "ToolCallingLoop", "EMBEDDING", "OK"),
    ]
    tool_attributes = trace["spans"][2]["attributes"]
    assert (tool_attributes["mlflow.spanInputs"], tool_attributes["mlflow.spanOutputs"]) == (
        {"bill_amount": 187.32},
        "41.21",
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("span.type = 'CHAT_MODEL'", ["chat llama3.2", "chat nope"]),
        ("span.type = 'TOOL'", ["calculate_tip"]),
        ("span.type = 'CHAIN'", ["Loop"]),
        ("span.name = 'calculate_tip'", ["calculate_tip"]),
        ("trace.name = 'chat nope'", ["chat nope"]),
        ("trace.status = 'ERROR'", ["chat nope"]),
        ("metadata.`mlflow.trace.session` = 's-1'", ["chat llama3.2"]),
        ("metadata.`mlflow.trace.user` = 'ada'", ["chat llama3.2"]),
        ("tag.`service.name` = 'shop'", ["chat llama3.2", "calculate_tip", "chat nope", "Loop"]),
        ("span.attributes.mlflow.llm.model LIKE '%nope%'", ["chat nope"]),
    ],
)
def test_search_finds_what_was_stored(
    query: str, found: list[str], genai: GenAi, database: str
) -> None:
    """By type, name, state, session, user, tag and model."""
    genai.chat(attributes={"session.id": "s-1", "user.id": "ada"})
    genai.handler.tool("calculate_tip").stop()
    genai.asking("nope").fail(RuntimeError("not found"))
    genai.tracer.start_span("Loop", attributes={"mlflow.spanType": '"CHAIN"'}).end()
    StoreSink(database).deliver(request(genai))

    names = [trace["tags"]["mlflow.traceName"] for trace in traces(database, query=query)]

    assert names == found


def test_judges_find_the_tools_on_offer(genai: GenAi, database: str) -> None:
    """What mlflow.genai's scorers extract from the trace; no model is asked."""
    from mlflow.genai.utils.trace_utils import (  # noqa: PLC0415  (takes seconds)
        extract_available_tools_from_trace,
    )

    genai.chat()
    StoreSink(database).deliver(request(genai))
    (trace,) = MlflowClient(database).search_traces(locations=["0"])

    (tool,) = extract_available_tools_from_trace(trace)

    assert tool.function is not None
    assert tool.function.name == "calculate_tip"


def test_sending_again_changes_nothing(genai: GenAi, database: str) -> None:
    """What was delivered when an answer got lost is sent a second time."""
    genai.chat()
    sink = StoreSink(database)
    sink.deliver(request(genai))
    once = traces(database)

    sink.deliver(request(genai))

    assert traces(database) == once


def test_children_may_come_before_their_root(genai: GenAi, database: str) -> None:
    """The processor sends what has ended; the root ends last."""
    sink = StoreSink(database)
    with genai.tracer.start_as_current_span("root"):
        genai.chat()
        sink.deliver(request(genai))
        assert [trace["state"] for trace in traces(database)] == ["IN_PROGRESS"]
    sink.deliver(request(genai))

    (trace,) = traces(database)

    assert trace["state"] == "OK"
    assert trace["metadata"]["mlflow.trace.tokenUsage"] == USAGE


def test_many_traces_in_one_batch_stay_apart(genai: GenAi, database: str) -> None:
    """A batch holds whatever ended meanwhile."""
    for model in ("llama3.2", "gemma3", "qwen3"):
        genai.chat(model)
    StoreSink(database).deliver(request(genai))

    assert [trace["tags"]["mlflow.traceName"] for trace in traces(database)] == [
        "chat llama3.2",
        "chat gemma3",
        "chat qwen3",
    ]


# Experiments --------------------------------------------------------------------------------


def test_an_experiment_is_created_once(genai: GenAi, database: str) -> None:
    """And found by its name ever after."""
    genai.chat()
    for _ in range(2):
        StoreSink(database, ExperimentChoice("shop")).deliver(request(genai))

    assert len(traces(database, "shop")) == 1
    assert traces(database) == []


def test_the_experiment_comes_from_the_environment(
    genai: GenAi, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in MLflow."""
    genai.chat()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", MlflowClient(database).create_experiment("a"))
    StoreSink(database).deliver(request(genai))
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "b")
    genai.chat()
    StoreSink(database).deliver(encode_spans(genai.spans[1:]))

    assert (len(traces(database, "a")), len(traces(database, "b"))) == (1, 1)


def test_an_experiment_that_another_process_created_meanwhile_is_found(
    genai: GenAi, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers start at once, and both create it."""
    genai.chat()
    client = MlflowClient(database)
    client.create_experiment("shop")
    answers = [None, client.get_experiment_by_name("shop")]
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *_: answers.pop(0))

    StoreSink(database, ExperimentChoice("shop")).deliver(request(genai))

    assert answers == []
    monkeypatch.undo()
    assert len(traces(database, "shop")) == 1


def test_an_experiment_that_cannot_be_created_is_mlflow_s_refusal(
    genai: GenAi, database: str
) -> None:
    """Its own words say why."""
    error = refusal(database, genai, ExperimentChoice("n" * 501))

    assert "the maximum length of 500 characters" in str(error)
    assert (error.retryable, error.kind) == (False, "store")


def test_a_deleted_experiment_is_named(genai: GenAi, database: str) -> None:
    """With what to do about it."""
    client = MlflowClient(database)
    client.delete_experiment(client.create_experiment("old"))

    error = refusal(database, genai, ExperimentChoice("old"))

    assert "the MLflow experiment 'old' is deleted; restore it" in str(error)
    assert error.retryable is False


# Faults -------------------------------------------------------------------------------------


def test_an_experiment_that_does_not_exist_is_mlflow_s_refusal(genai: GenAi, database: str) -> None:
    """Its own words say which id."""
    genai.chat()

    error = refusal(database, genai, ExperimentChoice(None, "404"))

    assert "404" in str(error)
    assert (error.retryable, error.kind) == (False, "store")


def test_a_folder_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    """MLflow itself would try for more than a minute."""
    with pytest.raises(DeliveryError, match="create it or correct MLFLOW_TRACKING_URI"):
        StoreSink(f"sqlite:///{tmp_path}/missing/mlflow.db")


def test_a_password_in_the_store_s_own_words_is_left_out(
    genai: GenAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address stands in many an error."""
    uri = "postgresql://user:secret@db/mlflow"

    def fail(_uri: str) -> None:
        raise RuntimeError(f"cannot connect to {uri}\nwith a long story")

    monkeypatch.setattr("mlflow.tracing.client.TracingClient", fail)

    assert str(refusal(uri, genai)) == (
        "MLflow did not store the spans in postgresql://db/mlflow (RuntimeError: cannot connect to "
        "postgresql://db/mlflow); check MLFLOW_TRACKING_URI, and whether the database can be "
        "reached and written"
    )


def test_a_driver_that_is_not_installed_is_named(
    genai: GenAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For other databases than sqlite SQLAlchemy needs a package of its own."""
    monkeypatch.setitem(sys.modules, "pymysql", None)

    error = refusal("mysql+pymysql://user:secret@localhost/mlflow", genai)

    assert str(error) == (
        "the MLflow database mysql+pymysql://localhost/mlflow needs the package pymysql: "
        "pip install pymysql"
    )
    assert error.retryable is False


def test_a_dialect_that_does_not_exist_is_said_not_to(genai: GenAi) -> None:
    """A typing error in MLFLOW_TRACKING_URI; it will not pass by waiting."""
    error = refusal("postgresql+nodriver://user:secret@localhost/mlflow", genai)

    assert "postgresql.nodriver" in str(error)
    assert "secret" not in str(error)
    assert error.retryable is False


def test_a_file_that_is_no_database_is_said_to_be_none(genai: GenAi, tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "mlflow.db").write_text("no database" * 1000)

    error = refusal(f"sqlite:///{tmp_path / 'mlflow.db'}", genai)

    assert "file is not a database" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("fault", "retryable"),
    [
        (MlflowException("database is locked", TEMPORARILY_UNAVAILABLE), True),
        (MlflowException("too many requests", REQUEST_LIMIT_EXCEEDED), True),
        (MlflowException("no such experiment", RESOURCE_DOES_NOT_EXIST), False),
        (MlflowException("session id too long", INVALID_PARAMETER_VALUE), False),
        (sqlite3.OperationalError("disk is full"), True),
        (RuntimeError("anything"), True),
    ],
    ids=str,
)
def test_faults_of_the_store_say_whether_waiting_helps(
    fault: Exception,
    retryable: bool,  # noqa: FBT001  (a column of the table)
    genai: GenAi,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLflow's own error codes tell; what is unknown may pass."""

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(TracingClient, "log_spans", fail)

    error = refusal(database, genai)

    assert str(fault) in str(error)
    assert (error.retryable, error.__cause__) == (retryable, fault)
