"""Which place a tracking URI names, and how a server takes spans."""

import base64
import contextlib
import gzip
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlflow_export.fake_mlflow import API, Answer, FakeMlflow
from mlflow_export.genai import GenAi
from ollama_otel import _internal_errors
from ollama_otel.mlflow import _server, sinks
from ollama_otel.mlflow.sinks import (
    DeliveryError,
    ExperimentChoice,
    OtlpHttpSink,
    StoreSink,
    check_tracking_uri,
    sink_for,
    tracking_uri_from_settings,
)

TRACES = "POST /v1/traces"
FIND = f"GET {API}/get-by-name"
CREATE = f"POST {API}/create"


@pytest.fixture
def request_(genai: GenAi) -> ExportTraceServiceRequest:
    """One OTLP request with one span."""
    return encode_spans([genai.chat()])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another at once."""
    monkeypatch.setattr(_server, "_WAITS_SECONDS", (0.0, 0.0, 0.0))


def refusal(sink: OtlpHttpSink | StoreSink, request: ExportTraceServiceRequest) -> DeliveryError:
    """The error with which a delivery ends."""
    with pytest.raises(DeliveryError) as caught:
        sink.deliver(request)
    return caught.value


# Which sink ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("http://localhost:5000", OtlpHttpSink),
        ("https://mlflow.example.org/team", OtlpHttpSink),
        ("HTTP://localhost:5000", OtlpHttpSink),
        ("sqlite:///mlflow.db", StoreSink),
        ("sqlite://", StoreSink),
        ("postgresql://user:secret@db/mlflow", StoreSink),
        ("postgresql+psycopg2://user:secret@db/mlflow", StoreSink),
        ("mysql+pymysql://db/mlflow", StoreSink),
        ("mssql+pyodbc://db/mlflow", StoreSink),
    ],
)
def test_a_tracking_uri_names_its_sink(uri: str, kind: type) -> None:
    """Nothing is opened yet."""
    check_tracking_uri(uri)

    assert type(sink_for(uri)) is kind


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("./mlruns", "use a database (sqlite:///mlflow.db"),
        ("file:///srv/mlruns", "use a database (sqlite:///mlflow.db"),
        ("C:\\mlruns", "use a database (sqlite:///mlflow.db"),
        ("databricks-uc", "names a model registry"),
        ("uc:http://localhost", "names a model registry"),
        ("gopher://user:secret@host/x", "nothing is known of 'gopher'"),
    ],
)
def test_a_tracking_uri_that_cannot_work_is_refused_with_the_cure(uri: str, words: str) -> None:
    """The message names the setting, and says what works; it keeps secrets."""
    with pytest.raises(DeliveryError, match="MLFLOW_TRACKING_URI") as caught:
        sink_for(uri)

    message = str(caught.value)
    assert words in message
    assert message.endswith("sqlite://, postgresql://, mysql://, mssql://, databricks://")
    assert "secret" not in message
    assert (caught.value.retryable, caught.value.kind) == (False, "configuration")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://[::1", "http://[::1"),
        ("http://[::1:5000", "http://[::1:5000"),
        ("https://user:secret@mlflow\u2100.org", "https://mlflow\u2100.org"),
    ],
)
@pytest.mark.parametrize("use", [check_tracking_uri, sink_for])
def test_an_address_that_cannot_be_read_is_said_to_be_none(
    use: Callable[[str], object], uri: str, shown: str
) -> None:
    """Whatever Python's parser raises, with a password in its words."""
    with pytest.raises(DeliveryError) as caught:
        use(uri)

    assert str(caught.value) == (
        f"MLFLOW_TRACKING_URI (tracking_uri) is {shown!r}, which is no valid address: check its "
        "host, port and brackets"
    )
    assert (caught.value.retryable, caught.value.kind) == (False, "configuration")
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


def test_the_tracking_uri_that_is_given_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in OpenTelemetry's own exporters."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")

    assert tracking_uri_from_settings("http://given") == "http://given"
    assert tracking_uri_from_settings() == "http://environment"


def test_without_a_setting_mlflow_s_own_default_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database in the working directory."""
    monkeypatch.chdir(tmp_path)

    assert tracking_uri_from_settings() == f"sqlite:///{tmp_path / 'mlflow.db'}"


_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, package=None: None if name in {missing!r} else find(name, package)
from ollama_otel.mlflow import sinks
try:
    {code}
except sinks.DeliveryError as error:
    print(error)
"""


def test_without_mlflow_there_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the message says what to do."""
    monkeypatch.setattr(sinks, "find_spec", lambda _name: None)

    with pytest.raises(DeliveryError, match="MLFLOW_TRACKING_URI is not set"):
        tracking_uri_from_settings()
    with pytest.raises(DeliveryError, match=r"pip install 'ollama-otel\[otlp\]'"):
        sink_for("http://localhost:5000")


@pytest.mark.parametrize(
    ("code", "missing", "message"),
    [
        (
            "sinks.sink_for('http://localhost:5000')",
            ["requests"],
            (
                "an MLflow server over http needs the package requests: "
                "pip install 'ollama-otel[otlp]'"
            ),
        ),
        (
            "sinks.sink_for('sqlite:///mlflow.db')",
            ["mlflow"],
            "an MLflow database needs the package mlflow: pip install 'ollama-otel[mlflow]'",
        ),
        (
            # mlflow-tracing alone has a package mlflow too, without the stores.
            "sinks.sink_for('sqlite:///mlflow.db')",
            ["sqlalchemy"],
            "an MLflow database needs the package sqlalchemy: pip install 'ollama-otel[mlflow]'",
        ),
        (
            "sinks.tracking_uri_from_settings()",
            ["mlflow"],
            (
                "MLFLOW_TRACKING_URI is not set: set it to the address of an MLflow server "
                "(http://localhost:5000), or pip install 'ollama-otel[mlflow]' to write to a local "
                "database"
            ),
        ),
    ],
)
def test_a_missing_extra_is_named(code: str, missing: list[str], message: str) -> None:
    """One message, with the command that cures it."""
    program = _WITHOUT.format(code=code, missing=missing)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == message


# Experiments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "given", "choice"),
    [
        ({}, (), ExperimentChoice(from_environment=True)),
        ({"NAME": "n", "ID": "1"}, (), ExperimentChoice("n", "1", from_environment=True)),
        ({"NAME": "n", "ID": "1"}, ("given",), ExperimentChoice("given")),
        ({"NAME": "n", "ID": "1"}, (None, "2"), ExperimentChoice(None, "2")),
        ({"NAME": "", "ID": ""}, ("", ""), ExperimentChoice(from_environment=True)),
    ],
)
def test_the_experiment_that_is_given_goes_before_the_environment(
    environment: dict[str, str],
    given: tuple[str | None, ...],
    choice: ExperimentChoice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A given name is not mixed with an id from the environment."""
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_EXPERIMENT_{name}", value)

    assert ExperimentChoice.from_settings(*given) == choice


@pytest.mark.parametrize("name", ["Default", "new"])
def test_the_active_experiment_goes_before_the_name_in_the_environment(
    name: str,
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """mlflow.set_experiment() writes the id there; one warning, and nothing is created."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "1")
    _internal_errors.warn.forget()
    sink = OtlpHttpSink(server.uri)

    sink.deliver(request_)
    sink.deliver(request_)

    assert server.asked == [FIND, TRACES, TRACES]
    assert server.requests[-1].headers["x-mlflow-experiment-id"] == "1"
    warning = (
        f"MLFLOW_EXPERIMENT_ID is 1, which is not the experiment {name!r} of "
        "MLFLOW_EXPERIMENT_NAME: the traces go to 1, MLflow's active one; unset one of the two "
        "(mlflow.set_experiment() sets the id) or give the exporter an experiment_name"
    )
    assert [record.message for record in caplog.records] == [warning]


def test_an_id_that_agrees_with_the_name_in_the_environment_is_no_matter(
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """mlflow.set_experiment() named the same one."""
    server.experiments["shop"] = "1"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shop")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "1")
    _internal_errors.warn.forget()

    OtlpHttpSink(server.uri).deliver(request_)

    assert server.asked == [FIND, TRACES]
    assert server.requests[-1].headers["x-mlflow-experiment-id"] == "1"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("choice", "experiment_id", "asked"),
    [
        (ExperimentChoice(), "0", [TRACES, TRACES]),
        (ExperimentChoice(None, "7"), "7", [TRACES, TRACES]),
        (ExperimentChoice("shop"), "1", [FIND, TRACES, TRACES]),
        (ExperimentChoice("shop", "1"), "1", [FIND, TRACES, TRACES]),
        (ExperimentChoice("new"), "2", [FIND, CREATE, TRACES, TRACES]),
    ],
    ids=str,
)
def test_spans_go_to_the_experiment(
    choice: ExperimentChoice,
    experiment_id: str,
    asked: list[str],
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
) -> None:
    """It is looked up, or created, once."""
    server.experiments["shop"] = "1"
    sink = OtlpHttpSink(server.uri, choice)

    sink.deliver(request_)
    sink.deliver(request_)

    assert server.asked == asked
    sent = server.requests[-1]
    assert sent.spans == ["chat llama3.2"]
    assert {name: sent.headers[name] for name in _SENT_HEADERS} == {
        **_SENT_HEADERS,
        "x-mlflow-experiment-id": experiment_id,
    }
    assert "Authorization" not in sent.headers


_SENT_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "gzip",
    "x-mlflow-experiment-id": "",
}


def test_an_experiment_that_another_process_created_meanwhile_is_found(
    server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """Two workers start at once, and both create it."""
    server.script = [
        Answer.error(404, "RESOURCE_DOES_NOT_EXIST"),
        Answer.error(400, "RESOURCE_ALREADY_EXISTS"),
    ]
    server.experiments["shop"] = "1"

    OtlpHttpSink(server.uri, ExperimentChoice("shop")).deliver(request_)

    assert server.asked == [FIND, CREATE, FIND, TRACES]
    assert server.requests[-1].headers["x-mlflow-experiment-id"] == "1"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            ExperimentChoice("old"),
            (
                "the MLflow experiment 'old' is deleted; restore it (mlflow experiments restore "
                "--experiment-id 5) or set MLFLOW_EXPERIMENT_NAME (experiment_name) to another"
            ),
        ),
        (
            ExperimentChoice("Default", "9"),
            (
                "the MLflow experiment 'Default' has the id 0, not 9; set one of "
                "MLFLOW_EXPERIMENT_NAME and MLFLOW_EXPERIMENT_ID (experiment_name and "
                "experiment_id), not both"
            ),
        ),
    ],
    ids=str,
)
def test_an_experiment_that_cannot_take_spans_is_named(
    choice: ExperimentChoice,
    message: str,
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
) -> None:
    """Nothing is sent; and once it is mended, all goes."""
    server.experiments["old"] = "5"
    server.deleted.add("5")
    sink = OtlpHttpSink(server.uri, choice)

    error = refusal(sink, request_)

    assert (str(error), error.retryable, server.asked) == (message, False, [FIND])
    server.deleted.clear()
    server.experiments["Default"] = "9"
    sink.deliver(request_)
    assert server.asked == [FIND, FIND, TRACES]


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        ([Answer.error(403, "PERMISSION_DENIED")], [FIND]),
        (
            [
                Answer.error(404, "RESOURCE_DOES_NOT_EXIST"),
                Answer.error(403, "PERMISSION_DENIED"),
            ],
            [FIND, CREATE],
        ),
    ],
    ids=["to look it up", "to create it"],
)
def test_an_experiment_that_one_may_not_touch_is_said_to_be(
    script: list[Answer],
    asked: list[str],
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
) -> None:
    """The server's refusal is passed on."""
    server.script = list(script)

    error = refusal(OtlpHttpSink(server.uri, ExperimentChoice("shop")), request_)

    assert "answered 403" in str(error)
    assert (error.retryable, server.asked) == (False, asked)


def test_an_experiment_that_is_gone_is_looked_up_again(
    server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """A database was made anew under a running application."""
    sink = OtlpHttpSink(server.uri, ExperimentChoice("shop"))
    sink.deliver(request_)
    server.script = [Answer.error(404, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=1 exists")]

    error = refusal(sink, request_)
    sink.deliver(request_)

    assert "No Experiment with id=1 exists" in str(error)
    assert server.asked == [FIND, CREATE, TRACES, TRACES, FIND, TRACES]


# The server's answers -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(
    status: int, server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """Three times more."""
    server.script = [Answer(status)] * 3

    OtlpHttpSink(server.uri).deliver(request_)

    assert server.asked == [TRACES] * 4
    assert {request.body for request in server.requests} == {server.requests[0].body}


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (Answer(503, b"later"), (4, True), "answered 503 (later); its log says more"),
        (Answer(500), (1, True), "answered 500 ()"),
        (Answer(408), (1, True), "answered 408"),
        (Answer(401, b"You are not authenticated."), (1, False), "set MLFLOW_TRACKING_USERNAME"),
        (Answer(403), (1, False), "--allowed-hosts"),
        (Answer(404, b"Not Found"), (1, False), "MLflow 3.6 or newer"),
        (Answer(413), (1, False), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        (Answer.json({"detail": "Failed to log"}, 422), (1, False), "answered 422 (Failed to log)"),
        (Answer.error(400, "BAD", "x" * 999), (1, False), f"answered 400 ({'x' * 300});"),
        (Answer(501), (1, False), "--backend-store-uri sqlite:///mlflow.db"),
        (
            Answer(308, headers={"Location": "https://u:secret@new.example.org/v1/traces?a=1"}),
            (1, False),
            "points to https://new.example.org/v1/traces: set MLFLOW_TRACKING_URI",
        ),
        (Answer(302), (1, False), "points to nowhere"),
        (
            Answer(200, b"<html>", "text/html; charset=utf-8"),
            (1, False),
            "no MLflow server (it sent text/html; charset=utf-8)",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_says_what_to_do_and_whether_waiting_helps(
    answer: Answer,
    outcome: tuple[int, bool],
    words: str,
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
) -> None:
    """Only what is soon over is tried again at once."""
    tries, retryable = outcome
    server.script = [answer] * tries

    error = refusal(OtlpHttpSink(server.uri), request_)

    assert words in str(error)
    assert server.uri in str(error)
    assert "secret" not in str(error)
    assert (error.retryable, server.asked) == (retryable, [TRACES] * tries)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"[]", "application/json"),
        Answer(200, b"hello", "text/plain"),
        Answer.json({"experiment": {}}),
        Answer.json({"experiments": []}),
    ],
    ids=str,
)
def test_something_else_than_mlflow_is_recognised(
    answer: Answer, server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """Some other program listens on that port."""
    server.script = [answer]

    error = refusal(OtlpHttpSink(server.uri, ExperimentChoice("shop")), request_)

    assert "MLFLOW_TRACKING_URI" in str(error)
    assert (error.retryable, server.asked) == (False, [FIND])


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        (None, 0.0),
        ("2", 2.0),
        ("86400", 10.0),
        ("Fri, 21 Nov 2036 07:28:00 GMT", 0.0),
        ("-1", 0.0),
        ("soon", 0.0),
    ],
)
def test_a_server_may_say_how_long_to_wait_within_bounds(
    asked: str | None,
    waited: float,
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A day is too long."""
    waits: list[float] = []
    sink = OtlpHttpSink(server.uri)
    monkeypatch.setattr(sink._server._closing, "wait", waits.append)
    server.script = [Answer(429, headers={} if asked is None else {"Retry-After": asked})]

    sink.deliver(request_)

    assert waits == [waited]


def test_a_sink_that_is_closed_while_it_waits_gives_up_at_once(
    server: FakeMlflow, request_: ExportTraceServiceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that exits is not held up."""
    monkeypatch.setattr(_server, "_WAITS_SECONDS", (60.0,))
    server.script = [Answer(503)]
    sink = OtlpHttpSink(server.uri)
    threading.Timer(0.05, sink.shutdown).start()

    assert "answered 503" in str(refusal(sink, request_))


def test_a_server_that_is_not_there_is_said_to_be(
    request_: ExportTraceServiceRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """Quietly: the sink says it once, and no library beside it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with caplog.at_level(logging.INFO):
        error = refusal(OtlpHttpSink(f"http://user:secret@127.0.0.1:{port}"), request_)

    assert str(error) == (
        f"the MLflow server at http://127.0.0.1:{port} was not reached (ConnectionError); start it "
        "(mlflow server) or set MLFLOW_TRACKING_URI to where it is"
    )
    assert (error.retryable, error.kind, caplog.records) == (True, "unreachable", [])


def waiting_connections(listener: socket.socket) -> int:
    """How many connections were made to a socket that accepted none of them."""
    listener.setblocking(False)  # noqa: FBT003  (the socket module's own signature)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_a_server_that_does_not_answer_is_given_up(request_: ExportTraceServiceRequest) -> None:
    """After the timeout, once: it may be at work on the first request."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        error = refusal(OtlpHttpSink(uri, timeout=0.1), request_)
        tries = waiting_connections(silent)

    assert tries == 1
    assert "did not answer in 0.1 s (ReadTimeout)" in str(error)
    assert (error.retryable, error.kind) == (True, "slow")


def test_a_server_that_hangs_up_is_asked_again(request_: ExportTraceServiceRequest) -> None:
    """As one that restarts does."""
    calls = 0

    def hang_up(listener: socket.socket) -> None:
        nonlocal calls
        for _ in range(4):
            connection, _address = listener.accept()
            connection.close()
            calls += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        error = refusal(OtlpHttpSink(uri), request_)
        thread.join()

    assert (error.kind, calls) == ("unreachable", 4)


@pytest.mark.parametrize("uri", ["http://", "http://[::1", "http://a b"])
def test_an_address_that_is_none_is_said_to_be(
    uri: str, request_: ExportTraceServiceRequest
) -> None:
    """A typing error in MLFLOW_TRACKING_URI."""
    error = refusal(OtlpHttpSink(uri), request_)

    assert "MLFLOW_TRACKING_URI" in str(error)


def test_tls_that_is_not_trusted_is_said_to_be(
    server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """Here the other side speaks no TLS at all."""
    error = refusal(OtlpHttpSink(server.uri.replace("http", "https")), request_)

    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in str(error)
    assert error.retryable is False


# Credentials --------------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    """The header of basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({"USERNAME": "jürgen", "PASSWORD": "pässword"}, basic("jürgen", "pässword")),
        ({"TOKEN": "t0ken"}, "Bearer t0ken"),
        ({"USERNAME": "u", "PASSWORD": "p", "TOKEN": "t0ken"}, basic("u", "p")),
        ({"USERNAME": "u", "TOKEN": "t0ken"}, "Bearer t0ken"),
    ],
    ids=str,
)
def test_credentials_are_mlflow_s_own(
    environment: dict[str, str],
    header: str,
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They go with every request."""
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)

    OtlpHttpSink(server.uri, ExperimentChoice("shop")).deliver(request_)

    assert [request.headers.get("Authorization") for request in server.requests] == [header] * 3


def test_a_token_goes_before_what_netrc_holds_for_the_host(
    server: FakeMlflow,
    request_: ExportTraceServiceRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """requests would take the password of ~/.netrc instead of the header."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")

    OtlpHttpSink(server.uri).deliver(request_)

    assert server.requests[0].headers["Authorization"] == "Bearer t0ken"


def test_credentials_in_the_address_work_too(
    server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """As in MLflow."""
    OtlpHttpSink(server.uri.replace("//", "//user:secret@")).deliver(request_)

    assert server.requests[0].headers["Authorization"] == basic("user", "secret")


def test_a_renewed_token_counts_at_once(
    server: FakeMlflow, request_: ExportTraceServiceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in MLflow, which reads it for every request."""
    sink = OtlpHttpSink(server.uri)
    for token in ("first", "second"):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
        sink.deliver(request_)

    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, {"verify": True, "cert": None}),
        ({"INSECURE_TLS": "true"}, {"verify": False, "cert": None}),
        ({"INSECURE_TLS": "false"}, {"verify": True, "cert": None}),
        (
            {"SERVER_CERT_PATH": "ca.pem", "CLIENT_CERT_PATH": "me.pem"},
            {"verify": "ca.pem", "cert": "me.pem"},
        ),
    ],
    ids=str,
)
def test_tls_settings_are_mlflow_s_own(
    environment: dict[str, str], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of requests."""
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)

    assert _server._tls() == options


def test_a_file_of_certificates_that_is_not_there_is_named(
    server: FakeMlflow, request_: ExportTraceServiceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent."""
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere/ca.pem")

    error = refusal(OtlpHttpSink(server.uri.replace("http", "https")), request_)

    assert "/nowhere/ca.pem" in str(error)
    assert error.retryable is False


# Life ---------------------------------------------------------------------------------------


def test_connections_are_kept_and_closed(
    server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """A sink that was closed before its first use has nothing to close."""
    OtlpHttpSink(server.uri).shutdown()
    sink = OtlpHttpSink(server.uri)
    sink.deliver(request_)
    first = sink._server._session
    sink.deliver(request_)

    assert sink._server._session is first
    sink.shutdown()
    sink.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_worker_opens_connections_of_its_own(
    server: FakeMlflow, request_: ExportTraceServiceRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one socket would read each other's answers."""
    sink = OtlpHttpSink(server.uri)
    sink.deliver(request_)
    parents = sink._server._session
    monkeypatch.setattr(os, "getpid", lambda: -1)

    sink.deliver(request_)

    assert sink._server._session is not parents


def test_many_threads_create_one_experiment(
    server: FakeMlflow, request_: ExportTraceServiceRequest
) -> None:
    """The exporter's worker may meet a forced flush."""
    sink = OtlpHttpSink(server.uri, ExperimentChoice("shop"))
    threads = [threading.Thread(target=sink.deliver, args=(request_,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(server.asked) == sorted([FIND, CREATE, *[TRACES] * 8])


def test_spans_are_packed(server: FakeMlflow, request_: ExportTraceServiceRequest) -> None:
    """Conversations shrink to a fraction."""
    OtlpHttpSink(server.uri).deliver(request_)

    assert gzip.decompress(server.requests[0].body) == request_.SerializeToString()
