"""Spans in a real MLflow database, read back with MLflow's own client."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
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
from ollama_otel.mlflow import _database
from ollama_otel.mlflow._spans import translate_span
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


def test_a_folder_that_cannot_be_made_is_named(genai: GenAi, tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "runs").write_text("")
    uri = f"sqlite:///{tmp_path}/runs/new/mlflow.db"

    error = refusal(uri, genai)

    assert str(error) == (
        f"the folder {tmp_path}/runs/new of the MLflow database {uri} cannot be created "
        "(Not a directory); create it or correct MLFLOW_TRACKING_URI"
    )
    assert (error.retryable, error.kind) == (False, "configuration")


def test_a_folder_in_place_of_the_file_is_said_at_once(
    genai: GenAi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow itself would try for more than a minute, and log each try."""
    before = time.monotonic()
    logging.getLogger("mlflow.store.db.utils").addHandler(caplog.handler)

    error = refusal(f"sqlite:///{tmp_path}", genai)

    logging.getLogger("mlflow.store.db.utils").removeHandler(caplog.handler)
    assert str(error) == (
        f"the MLflow database sqlite:///{tmp_path} cannot be opened (unable to open database "
        "file); MLFLOW_TRACKING_URI must name an SQLite file that this process may read and "
        "write, or a new one"
    )
    assert (error.retryable, error.kind, caplog.records) == (False, "configuration", [])
    assert time.monotonic() - before < 30


def test_what_mlflow_logs_of_its_database_is_left_to_our_error(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the thread that delivers, while it delivers: the application's own use is heard."""
    logger = logging.getLogger("mlflow.store.db.utils")

    def fail(_uri: str) -> None:
        logger.warning("SQLAlchemy engine could not be created")
        other = threading.Thread(target=logger.warning, args=("of another thread",))
        other.start()
        other.join()
        raise RuntimeError("no database")

    monkeypatch.setattr("mlflow.tracing.client.TracingClient", fail)
    logger.addHandler(caplog.handler)

    refusal("postgresql://db/mlflow", genai)
    logger.warning("afterwards")

    logger.removeHandler(caplog.handler)
    heard = [record.message for record in caplog.records]
    assert list(dict.fromkeys(heard)) == ["of another thread", "afterwards"]


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

    assert "cannot be opened (file is not a database)" in str(error)
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


# Opening ------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_made(genai: GenAi, database: str, tmp_path: Path) -> None:
    """As MLflow makes it."""
    genai.chat()
    (tmp_path / "mlflow.db").rename(tmp_path / "elsewhere.db")
    uri = database.replace("mlflow.db", "new/folder/mlflow.db")

    StoreSink(uri).deliver(request(genai))

    assert len(traces(uri)) == 1


_DELIVER = """
import sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from ollama_otel.mlflow.sinks import StoreSink
sink = StoreSink(sys.argv[1])
request = ExportTraceServiceRequest.FromString(Path(sys.argv[2]).read_bytes())
print("ready", flush=True)
sys.stdin.readline()
sink.deliver(request)
print("delivered")
"""


def test_processes_that_start_together_make_the_tables_once(genai: GenAi, tmp_path: Path) -> None:
    """The workers of a server, at its first start; MLflow alone would ruin the file for good."""
    uri = f"sqlite:///{tmp_path / 'new.db'}"
    for model in ("llama3.2", "gemma3", "qwen3"):
        genai.chat(model)
        sent = encode_spans([translate_span(genai.spans[-1])])
        (tmp_path / model).write_bytes(sent.SerializeToString())
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _DELIVER, uri, tmp_path / model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for model in ("llama3.2", "gemma3", "qwen3")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()

    ended = [(*worker.communicate(), worker.returncode) for worker in workers]

    assert [(out, status) for out, _, status in ended] == [("delivered\n", 0)] * 3, ended
    assert [trace["tags"]["mlflow.traceName"] for trace in traces(uri)] == [
        "chat llama3.2",
        "chat gemma3",
        "chat qwen3",
    ]
    assert [file.name for file in tmp_path.glob("new.db*")] == ["new.db"]


def test_a_process_that_never_ends_its_opening_is_waited_for_within_bounds(
    genai: GenAi, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds is said; once it is gone, all goes."""
    genai.chat()
    monkeypatch.setattr(_database, "_OPENING_SECONDS", 0.1)
    sink = StoreSink(database)
    with closing(sqlite3.connect(tmp_path / "mlflow.db.lock")) as other:
        other.execute("begin exclusive")
        with pytest.raises(DeliveryError) as caught:
            sink.deliver(request(genai))

    assert str(caught.value) == (
        f"another process has kept the MLflow database {database} for 0.1 s; end it if it hangs, "
        "or set MLFLOW_TRACKING_URI to an MLflow server, which many may share"
    )
    assert (caught.value.retryable, caught.value.kind) == (True, "store")
    sink.deliver(request(genai))
    assert len(traces(database)) == 1


def test_a_database_that_another_process_writes_is_no_misconfiguration(
    genai: GenAi, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is free again soon."""
    monkeypatch.setattr(_database, "_BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("begin exclusive")
        error = refusal(database, genai)

    assert "another process has kept the MLflow database" in str(error)
    assert (error.retryable, error.kind) == (True, "store")


def test_a_lock_that_cannot_be_opened_is_taken_in_the_temporary_folder(
    genai: GenAi, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the first one belongs to another user."""
    genai.chat()
    (tmp_path / "mlflow.db.lock").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    StoreSink(database).deliver(request(genai))

    assert len(traces(database)) == 1
    (lock,) = (tmp_path / "temporary").glob("ollama-otel-*.lock")
    assert lock.read_bytes() == b""


def test_a_database_is_opened_once_by_a_sink(genai: GenAi, database: str, tmp_path: Path) -> None:
    """The lock is not asked for again, whoever has it."""
    genai.chat()
    sink = StoreSink(database)
    sink.deliver(request(genai))
    with closing(sqlite3.connect(tmp_path / "mlflow.db.lock")) as other:
        other.execute("begin exclusive")
        sink.deliver(request(genai))

    assert len(traces(database)) == 1


def test_a_database_in_memory_leaves_no_file(
    genai: GenAi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to lock."""
    monkeypatch.chdir(tmp_path)
    genai.chat()
    StoreSink("sqlite://").deliver(request(genai))

    assert list(tmp_path.iterdir()) == []


_FORK = """
import os, sys
from pathlib import Path
from mlflow.tracing.client import TracingClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from ollama_otel.mlflow.sinks import StoreSink
uri, *files = sys.argv[1:]
first, second = (ExportTraceServiceRequest.FromString(Path(file).read_bytes()) for file in files)
sink = StoreSink(uri)
sink.deliver(first)
engine = TracingClient(uri).store.engine
def pooled():
    taken = [engine.connect() for _ in range(engine.pool.checkedin())]
    found = {one.connection.dbapi_connection for one in taken}
    for one in taken:
        one.close()
    return found
parents = pooled()
child = os.fork()
if child == 0:
    sink.deliver(second)
    print("child:", len(pooled()) > 0, pooled() & parents, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent:", len(parents) > 0, pooled() == parents)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_opens_connections_of_its_own(
    genai: GenAi, database: str, tmp_path: Path
) -> None:
    """Two processes on one connection to a database corrupt what they say; MLflow keeps it."""
    for model in ("llama3.2", "gemma3"):
        genai.chat(model)
        sent = encode_spans([translate_span(genai.spans[-1])])
        (tmp_path / model).write_bytes(sent.SerializeToString())

    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK, database, "llama3.2", "gemma3"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert run.stdout == "child: True set()\nparent: True True\n"
    assert [trace["tags"]["mlflow.traceName"] for trace in traces(database)] == [
        "chat llama3.2",
        "chat gemma3",
    ]


def test_the_engine_of_mlflow_s_store_is_where_it_was(database: str) -> None:
    """A contract: internal to MLflow, used in one place, ``_database._fit_for_forks``."""
    from sqlalchemy import Engine  # noqa: PLC0415  (beside mlflow, which takes seconds)

    first, second = TracingClient(database).store, TracingClient(database).store

    assert first is second
    assert isinstance(first.engine, Engine)
    assert first.engine.dialect.name == "sqlite"
