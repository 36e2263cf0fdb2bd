"""`ollama-otel demo`: what it prints, what it stores, whom it asks, and how it fails."""

import io
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ollama import Client
from opentelemetry.trace import NoOpTracer
from opentelemetry.util.genai.handler import TelemetryHandler

from ollama_otel import OllamaInstrumentor
from ollama_otel._demo import run as demo_run
from ollama_otel._demo import server as demo_server
from ollama_otel._demo import store as demo_store
from ollama_otel._demo.app import Application
from ollama_otel._demo.server import UnknownModelError, serving
from ollama_otel._demo.store import EXPERIMENT, Store
from ollama_otel.cli import main
from ollama_otel.mlflow.sinks import DeliveryError, StoreSink
from ollama_otel.testing import Answer, Default, Error, FakeOllama, Raw, Reply, Request, ToolCall

# What mlflow 3.17 leaves open until the process ends; Python 3.13 says so.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")

NOBODY = "http://127.0.0.1:9"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

PRINTED = """\
No Ollama at http://127.0.0.1:9: the built-in stand-in answers as qwen3.
Traces go to STORE, experiment 'ollama-otel demo'.
Preparing the store ...
  ✓ Chat TIME  An MLflow model is a folder: the MLmodel file …
  ✓ Streamed chat TIME  The sky is blue because air scatters the blue …
  ✓ Thinking TIME  9.8 is larger than 9.11.
  ✓ Tool-calling loop TIME  The tip comes to $41.21, which makes $228.53 i…
  ✓ Embedding TIME  a vector of 64 numbers
  ✗ Missing model TIME  as it should: model 'no-such-model' not found
Storing the traces ...
Reading the traces back ...

                        type             time  tokens in     out
Chat
└── chat qwen3          CHAT_MODEL TIME          9      36
Streamed chat
└── chat qwen3          CHAT_MODEL TIME         12      18
Thinking
└── chat qwen3          CHAT_MODEL TIME         13      38
Tool-calling loop
└── ToolCallingLoop     CHAIN TIME
    ├── chat qwen3      CHAT_MODEL TIME        144       2
    ├── calculate_tip   TOOL TIME
    └── chat qwen3      CHAT_MODEL TIME        147      19
Embedding
└── embeddings qwen3    EMBEDDING TIME         12       0
Missing model
└── chat no-such-model  CHAT_MODEL TIME
    ✗ model 'no-such-model' not found (status code: 404)

6 traces, 9 spans, 337 tokens in, 113 out, 1 error

To see them in MLflow, run
  mlflow ui --backend-store-uri STORE
and open
  http://127.0.0.1:5000/#/experiments/1/traces
"""

MODELS_ANSWER = (
    "An MLflow model is a folder: the MLmodel file that names its flavors, the model's own files, "
    "a signature, an input example, and the environment it needs."
)


class Ran(NamedTuple):
    """What a run came to: durations and the store's address left out."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def normal(text: str, store: str) -> str:
    """Leave out what differs from run to run and from machine to machine."""
    text = re.sub(r" +(<1 ms|\d+ ms|\d+\.\d\d s)", " TIME", text.replace(store, "STORE"))
    return re.sub(r"^  .*mlflow ui", "  mlflow ui", text, flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, 80 columns, no Ollama, and a stand-in that does not take its time."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("OLLAMA_HOST", NOBODY)
    monkeypatch.setattr(demo_store, "_listens", lambda _port: False)
    quick = {
        said: replace(answer, delay=0, chunk_delay=0)
        for said, answer in demo_server._ANSWERS.items()
    }
    monkeypatch.setattr(demo_server, "_ANSWERS", quick)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: making them takes seconds."""
    file = tmp_path_factory.mktemp("store") / "empty.db"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        warnings.simplefilter("ignore")
        Store(f"sqlite:///{file}")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The tracking URI of a database without traces."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'store.db')}"


@pytest.fixture
def demo(store: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""

    def run(*arguments: str, tracking_uri: str = store) -> Ran:
        code = main(["demo", "--tracking-uri", tracking_uri, *arguments])
        printed = capsys.readouterr()
        return Ran(code, normal(printed.out, tracking_uri), normal(printed.err, tracking_uri))

    return run


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeOllama]]:
    """Start an Ollama that the demo finds."""
    servers: list[FakeOllama] = []

    def start(*script: Any, **options: Any) -> FakeOllama:
        servers.append(FakeOllama(*script, **options).start())
        monkeypatch.setenv("OLLAMA_HOST", servers[-1].url)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def stored(tracking_uri: str) -> list[Any]:
    """All traces in a store, the oldest first."""
    from mlflow import MlflowClient  # noqa: PLC0415  (slow, and not every test needs it)

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_traces(
        locations=[experiment.experiment_id], order_by=["timestamp_ms ASC"]
    )
    return list(found)


# The whole ----------------------------------------------------------------------------------


def test_from_nothing_to_traces_in_a_file_of_its_own_in_this_folder(tmp_path: Path) -> None:
    """As a user runs it, output piped: a new database, no escape codes, nothing from MLflow."""
    program = Path(sys.executable).with_name("ollama-otel")
    environment = {**os.environ, "OLLAMA_HOST": NOBODY}
    ran = subprocess.run(
        [program, "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    uri = "sqlite:///ollama-otel-demo.db"
    out = normal(ran.stdout, uri).replace(" --port 5001", "").replace(":5001/", ":5000/")
    assert (ran.returncode, out, ran.stderr) == (0, PRINTED, "")
    assert [file.name for file in tmp_path.iterdir()] == ["ollama-otel-demo.db"]


def test_a_second_run_adds_to_the_store_and_shows_its_own_traces(demo: Run, store: str) -> None:
    assert demo() == (0, PRINTED, "")
    assert demo() == (0, PRINTED, "")

    traces = stored(store)
    names = ["Chat", "Streamed chat", "Thinking", "Tool-calling loop", "Embedding"]
    names.append("Missing model")
    assert [trace.info.tags["mlflow.traceName"] for trace in traces] == names * 2
    sessions = [trace.info.trace_metadata["mlflow.trace.session"] for trace in traces]
    assert sessions == [sessions[0]] * 6 + [sessions[6]] * 6
    assert sessions[0] != sessions[6]


def test_the_traces_read_well_in_mlflow(demo: Run, store: str) -> None:
    demo()

    assert [
        (trace.info.state, trace.info.request_preview, trace.info.response_preview)
        for trace in stored(store)
    ] == [
        (
            "OK",
            "Briefly describe the components of an MLflow model",
            MODELS_ANSWER,
        ),
        (
            "OK",
            "Why is the sky blue? Answer in one sentence.",
            "The sky is blue because air scatters the blue part of sunlight more than the red.",
        ),
        ("OK", "Which is larger, 9.11 or 9.8?", "9.8 is larger than 9.11."),
        (
            "OK",
            "What is the tip for a $187.32 bill with a 22% tip?",
            "The tip comes to $41.21, which makes $228.53 in all.",
        ),
        ("OK", "Why is the sky blue? Answer in one sentence.", "64 dimensions"),
        ("ERROR", "Is anybody there?", None),
    ]


def test_the_loop_is_a_chain_of_chats_and_an_executed_tool(demo: Run, store: str) -> None:
    demo()

    loop, first, tool, last = sorted(
        stored(store)[3].data.spans, key=lambda span: span.start_time_ns
    )
    assert [span.parent_id for span in (loop, first, tool, last)] == [None] + [loop.span_id] * 3
    assert [(span.span_type, span.status.status_code.value) for span in (loop, first, tool)] == [
        ("CHAIN", "OK"),
        ("CHAT_MODEL", "OK"),
        ("TOOL", "OK"),
    ]
    assert (tool.inputs, str(tool.outputs)) == (
        {"bill_amount": 187.32, "tip_percentage": 22},
        "41.21",
    )
    assert [message["role"] for message in last.inputs["messages"]] == [
        "user",
        "assistant",
        "tool",
    ]


def test_it_leaves_the_process_as_it_was(demo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in demo_run._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)

    demo()

    assert dict(os.environ) == before
    assert logging.root.manager.disable == logging.NOTSET
    assert not OllamaInstrumentor().is_instrumented_by_opentelemetry


def test_an_instrumented_process_sends_the_demo_to_its_own_store_alone(
    demo: Run, instrument: Callable[..., Any]
) -> None:
    """As under opentelemetry-instrument."""
    recording = instrument()

    assert demo() == (0, PRINTED, "")
    assert recording.spans == ()


def test_all_is_traced_whatever_sampler_the_environment_names(
    demo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")

    assert demo() == (0, PRINTED, "")


def test_who_wants_no_content_stored_gets_none(
    demo: Run, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPTURE, "NO_CONTENT")

    demo()

    everything = [str(trace.to_json()) for trace in stored(store)]
    assert [text for text in everything if "187.32" in text or "sky" in text] == []


# The screen ---------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_sees_what_goes_on(
    demo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    out = demo().out

    assert "\x1b[31mas it should: model 'no-such-model' not found\x1b[0m\n" in out
    assert "\x1b[32m⠋\x1b[0m Preparing the store ..." in out


def test_no_color_is_heeded(demo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")

    colours = re.findall(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])(?:;\d+)*m", demo().out)

    assert colours == []


def test_a_narrow_terminal_gets_narrow_lines(demo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but those that are there to be copied."""
    monkeypatch.setenv("COLUMNS", "40")

    lines = demo().out.splitlines()

    assert "  ✓ Thinking TIME  9.8 is…" in lines
    whole = ("Traces go to ", "  mlflow ui ", "  http://")
    assert [line for line in lines if len(line) > 40 and not line.startswith(whole)] == []


def test_an_output_that_knows_only_ascii_gets_ascii(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    code = main(["demo", "--tracking-uri", store])
    sys.stdout.flush()

    out = written.getvalue().decode("ascii")
    assert code == 0
    assert "  + Thinking" in out
    assert "    `-- chat qwen3      CHAT_MODEL" in out


# Where it stores ----------------------------------------------------------------------------


def test_mlflow_tracking_uri_counts_where_no_option_does(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    assert main(["demo"]) == 0
    assert normal(capsys.readouterr().out, store) == PRINTED


def test_a_deleted_experiment_is_restored(demo: Run, store: str) -> None:
    from mlflow import MlflowClient  # noqa: PLC0415  (slow, and not every test needs it)

    MlflowClient(store).delete_experiment("1")

    assert demo() == (0, PRINTED, "")


@pytest.mark.parametrize(
    ("tracking_uri", "complaint"),
    [
        ("gopher://somewhere", "MLFLOW_TRACKING_URI (tracking_uri) is 'STORE': nothing is known"),
        ("file:///tmp", "MLFLOW_TRACKING_URI (tracking_uri) is 'STORE': MLflow keeps no spans"),
        ("sqlite:////dev/null/folder/a.db", "the folder /dev/null/folder of the MLflow database"),
    ],
)
def test_a_store_that_cannot_be_is_refused_before_anything_is_asked(
    tracking_uri: str, complaint: str, demo: Run, ollama: Callable[..., FakeOllama]
) -> None:
    server = ollama()

    ran = demo(tracking_uri=tracking_uri)

    assert (ran.code, ran.err[: ran.err.index(complaint)]) == (1, "ollama-otel demo: ")
    assert len(ran.err.splitlines()) == 1
    assert [request.path for request in server.requests if request.path == "/api/chat"] == []


def test_a_file_that_is_no_database_is_named(demo: Run, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all,\n" * 100)

    ran = demo(tracking_uri=f"sqlite:///{tmp_path / 'letter.txt'}")

    complaint = (
        "ollama-otel demo: the MLflow database STORE cannot be opened (file is not a database); "
        "MLFLOW_TRACKING_URI must name an SQLite file that this process may read and write, or a "
        "new one\n"
    )
    assert (ran.code, ran.err) == (1, complaint)


def test_a_server_that_is_not_there_is_named_and_its_password_is_not(demo: Run) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        ran = demo(tracking_uri=f"http://me:secret@127.0.0.1:{port}")

    assert ran.code == 1
    assert ran.err.startswith(f"ollama-otel demo: MLflow cannot use http://***@127.0.0.1:{port} (")
    assert "secret" not in ran.out + ran.err


def test_traces_that_do_not_arrive_are_missed(
    demo: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_sink: StoreSink, _request: object) -> None:
        raise DeliveryError("the disk is full", retryable=True, kind="store")

    monkeypatch.setattr(StoreSink, "deliver", full)

    ran = demo()

    assert (ran.code, ran.err) == (
        1,
        "ollama-otel demo: 6 of 6 traces are not in STORE; the warnings above say why\n",
    )
    assert "the disk is full" in caplog.text


def test_a_disabled_sdk_is_named(demo: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    ran = demo()

    assert (ran.code, ran.err) == (
        1,
        "ollama-otel demo: no span was recorded: OTEL_SDK_DISABLED must not be true\n",
    )


# The way to the UI --------------------------------------------------------------------------


def test_the_command_takes_another_port_where_the_usual_one_is_taken(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_store, "_listens", lambda port: port == 5000)

    command, url = Store(store).ui()

    assert command is not None
    assert command.endswith(f"mlflow ui --backend-store-uri {store} --port 5001")
    assert url == "http://127.0.0.1:5001/#/experiments/1/traces"


def test_a_port_is_taken_when_somebody_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert demo_store._listens(port)

    assert not demo_store._listens(port)


def test_the_command_can_be_copied_whatever_the_file_is_called() -> None:
    command = demo_store._ui_command("sqlite:///it's $mine.db", 5000)

    assert command.endswith("""ui --backend-store-uri 'sqlite:///it'"'"'s $mine.db'""")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@db/traces", "'postgresql://***@db/traces'"),
        ("postgresql://me:sec/ret@db/traces", "'postgresql://***@db/traces'"),
        ("postgresql://db/traces?user=me&password=secret", "postgresql://db/traces"),
    ],
)
def test_the_command_shows_no_password(uri: str, shown: str) -> None:
    command = demo_store._ui_command(uri, 5000)

    assert command.endswith(f"ui --backend-store-uri {shown}")


def test_what_mlflow_says_of_an_address_shows_no_password(
    demo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql://me:secret@db/traces"

    def fail(_store: Store) -> None:
        raise RuntimeError(f"cannot connect to {uri}")

    monkeypatch.setattr(Store, "_open", fail)

    ran = demo(tracking_uri=uri)

    assert ran.err.startswith(
        "ollama-otel demo: MLflow cannot use postgresql://***@db/traces (cannot connect to "
        "postgresql://***@db/traces); "
    )


@pytest.mark.parametrize("host", ["http://me:secret@127.0.0.1:1", "me:secret@127.0.0.1:1"])
def test_the_password_of_an_ollama_is_not_shown(
    host: str, demo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)

    ran = demo()

    assert ran.code == 0
    assert "No Ollama at " in ran.out
    assert "secret" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("inside", "on_path", "called"),
    [
        (False, True, "mlflow"),
        (False, False, "{scripts}/mlflow"),
        (True, False, "bin/mlflow"),
    ],
)
def test_the_command_calls_the_mlflow_of_this_python(
    inside: bool,  # noqa: FBT001  (a parameter of the test)
    on_path: bool,  # noqa: FBT001  (a parameter of the test)
    called: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the shortest name that works in this folder."""
    scripts = tmp_path / "bin"
    other = tmp_path / "other"
    for folder in (scripts, other):
        folder.mkdir()
        (folder / "mlflow").touch(mode=0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(scripts))
    monkeypatch.setenv("PATH", str(scripts if on_path else other))
    monkeypatch.chdir(tmp_path if inside else other)

    command = demo_store._ui_command("sqlite:///a.db", 5000)

    assert command == f"{called.format(scripts=scripts)} ui --backend-store-uri sqlite:///a.db"


def test_without_a_program_the_command_calls_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")

    command = demo_store._ui_command("sqlite:///a.db", 5000)

    assert command == "/usr/bin/python3 -m mlflow ui --backend-store-uri sqlite:///a.db"


# Whom it asks -------------------------------------------------------------------------------

ABLE = ["completion", "tools", "thinking"]
ALL_FAILED = (
    "these did not go as they should: Chat, Streamed chat, Thinking, Tool-calling loop, "
    "Embedding, Missing model\n"
)


def test_a_running_ollama_is_asked(demo: Run, ollama: Callable[..., FakeOllama]) -> None:
    server = ollama(models={"llama3.2": ABLE})

    ran = demo()

    assert ran.code == 0
    assert ran.out.startswith(f"Ollama answers at {server.url}, with the model llama3.2:latest.\n")
    asked = [request.model for request in server.requests if request.path == "/api/chat"]
    assert asked == ["llama3.2:latest"] * 5 + ["no-such-model"]


def test_the_model_asked_for_is_asked(demo: Run, ollama: Callable[..., FakeOllama]) -> None:
    server = ollama(models={"llama3.2": ABLE, "tiny": ABLE})

    ran = demo("--model", "tiny")

    assert ran.out.startswith(f"Ollama answers at {server.url}, with the model tiny.\n")


def test_a_model_that_is_not_there_is_a_wrong_use(
    demo: Run, ollama: Callable[..., FakeOllama]
) -> None:
    server = ollama(models=["llama3.2", "tiny"])

    there = "llama3.2:latest, tiny:latest"
    complaint = f"Ollama at {server.url} has no model 'huge'; it has: {there}"
    assert demo("--model", "huge") == (2, "", f"ollama-otel demo: {complaint}\n")


def test_what_a_model_cannot_do_is_shown_and_the_demo_goes_on(
    demo: Run, ollama: Callable[..., FakeOllama]
) -> None:
    ollama(models={"plain": ["completion"]})

    ran = demo()

    assert ran.code == 0
    marks = re.findall(r"^  ([✓✗] .*?) TIME  (.*)$", ran.out, flags=re.MULTILINE)
    assert [(mark, said) for mark, said in marks if mark.startswith("✗")] == [
        ("✗ Thinking", 'not with this model: "plain:latest" does not s…'),
        ("✗ Tool-calling loop", "not with this model: does not support tools"),
        ("✗ Missing model", "as it should: model 'no-such-model' not found"),
    ]


def test_an_ollama_that_fails_makes_the_demo_fail(
    demo: Run, ollama: Callable[..., FakeOllama]
) -> None:
    def broken(request: Request) -> Reply:
        is_call = request.path in ("/api/chat", "/api/embed")
        return Error("no memory left", 500) if is_call else Default()

    ollama(broken)

    ran = demo()

    assert (ran.code, ran.err) == (1, f"ollama-otel demo: {ALL_FAILED}")
    assert "  ✗ Chat TIME  no memory left\n" in ran.out
    assert "6 traces, 7 spans, 0 tokens in, 0 out, 7 errors\n" in ran.out


def test_a_missing_model_that_answers_makes_the_demo_fail(
    demo: Run, ollama: Callable[..., FakeOllama]
) -> None:
    """As a proxy might that has one model for all names."""

    def obliging(request: Request) -> Reply:
        return Answer("Yes.") if request.path == "/api/chat" else Default()

    ollama(obliging)

    ran = demo()

    complaint = "these did not go as they should: Missing model"
    assert (ran.code, ran.err) == (1, f"ollama-otel demo: {complaint}\n")


def test_an_ollama_that_goes_away_makes_the_demo_fail(
    demo: Run, ollama: Callable[..., FakeOllama]
) -> None:
    def gone(request: Request) -> Reply:
        is_call = request.path in ("/api/chat", "/api/embed")
        return Default(drop_after=0) if is_call else Default()

    ollama(gone)

    ran = demo()

    assert (ran.code, ran.err) == (1, f"ollama-otel demo: {ALL_FAILED}")
    assert "  ✗ Missing model TIME  RemoteProtocolError: Server disconnected witho…\n" in ran.out


def test_the_stand_in_can_be_asked_for(demo: Run, ollama: Callable[..., FakeOllama]) -> None:
    server = ollama()

    ran = demo("--stand-in", "--model", "llama3.2")

    assert ran.code == 0
    assert ran.out.startswith(
        "Ollama is not looked for: the built-in stand-in answers as llama3.2.\n"
    )
    assert server.requests == []


@pytest.mark.parametrize(
    ("models", "chosen"),
    [
        ({"plain": ["completion"], "tools": ["completion", "tools"], "all": ABLE}, "all:latest"),
        ({"seer": ["completion", "vision", "insert"], "tools": ABLE[:2]}, "tools:latest"),
        ({"first": ABLE, "second": ABLE}, "first:latest"),
        ({"embedder": ["embedding"], "plain": ["completion"]}, "plain:latest"),
        (
            {"gpt-oss:120b-cloud": ABLE, "kimi-k2:cloud": ABLE, "small": ["completion"]},
            "small:latest",
        ),
    ],
    ids=[
        "the most able",
        "able to do what is shown",
        "the first of equals",
        "none that only embeds",
        "none in the cloud",
    ],
)
def test_a_model_is_chosen_that_shows_most(
    models: dict[str, list[str]], chosen: str, ollama: Callable[..., FakeOllama]
) -> None:
    ollama(models=models)

    with serving() as server:
        assert server.model == chosen


def test_of_equally_able_models_the_smallest_is_chosen(
    ollama: Callable[..., FakeOllama],
) -> None:
    def listed(request: Request) -> Reply:
        models = [{"model": "big:1", "size": 9}, {"model": "small:1", "size": 1}]
        return Raw([{"models": models}]) if request.path == "/api/tags" else Default()

    ollama(listed)

    with serving() as server:
        assert server.model == "small:1"


def test_an_old_server_that_does_not_tell_capabilities_is_asked_all_the_same(
    ollama: Callable[..., FakeOllama],
) -> None:
    def old(request: Request) -> Reply:
        answers: dict[str, dict[str, Any]] = {
            "/api/tags": {"models": [{"model": "nomic-embed-text:1"}, {"model": "llama2:7b"}]},
            "/api/show": {"model_info": {}},
        }
        return Raw([answers[request.path]])

    ollama(old)

    with serving() as server:
        assert server.model == "llama2:7b"


def hang(_request: Request) -> Reply:
    return Default(hang_after=0)


def stranger(_request: Request) -> Reply:
    return Raw(["<html>It works!</html>"], content_type="text/html")


@pytest.mark.parametrize(
    ("script", "models", "reason"),
    [
        (hang, None, "What is at {url} does not answer as Ollama does (ReadTimeout)"),
        (stranger, None, "What is at {url} does not answer as Ollama does (JSONDecodeError)"),
        (
            None,
            {"embedder": ["embedding"]},
            "Ollama at {url} has no model to chat with (ollama pull qwen3:0.6b gets one)",
        ),
    ],
    ids=["hangs", "is something else", "has no model"],
)
def test_where_ollama_cannot_be_asked_the_stand_in_says_why_it_answers(
    script: Callable[[Request], Reply] | None,
    models: dict[str, list[str]] | None,
    reason: str,
    ollama: Callable[..., FakeOllama],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo_server, "_PROBE_SECONDS", 0.2)
    url = ollama(script, models=models).url

    with serving() as server:
        assert server.introduction == (
            f"{reason.format(url=url)}: the built-in stand-in answers as qwen3."
        )


def test_a_model_asked_for_must_be_there(ollama: Callable[..., FakeOllama]) -> None:
    ollama(models=[])

    with pytest.raises(UnknownModelError, match="has no model 'tiny'; it has: none at all"):
        serving("tiny").__enter__()


def test_the_stand_in_is_asked_straight_whatever_proxy_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    monkeypatch.delenv("NO_PROXY", raising=False)

    with serving(stand_in=True) as server:
        assert server.client.chat(server.model, [{"role": "user", "content": "Hi"}]).message.content


# The application ----------------------------------------------------------------------------


def loop_against(*script: Reply) -> tuple[str, FakeOllama]:
    """Run the tool-calling loop against a scripted model."""
    with FakeOllama(script) as server:
        application = Application(Client(server.url), "qwen3", NoOpTracer(), TelemetryHandler())
        return application.tool_calling_loop(), server


def tip(**arguments: Any) -> Answer:
    """A model's wish for the tip."""
    return Answer(tool_calls=[ToolCall("calculate_tip", arguments)])


def test_a_model_that_calls_no_tool_is_believed() -> None:
    answer, _ = loop_against(Answer("About forty dollars."))

    assert answer == "About forty dollars."


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (tip(bill_amount="187.32", tip_percentage="22"), "41.21"),
        (tip(bill_amount="much", tip_percentage=22), "error: ValueError("),
        (tip(bill=187.32), "error: TypeError("),
        (Answer(tool_calls=[ToolCall("guess")]), "error: KeyError('guess')"),
    ],
)
def test_a_model_is_told_what_came_of_its_call(call: Answer, told: str) -> None:
    answer, server = loop_against(call, Answer("Thank you."))

    said = server.requests[-1].body["messages"][-1]
    assert answer == "Thank you."
    assert (said["role"], said["content"].startswith(told)) == ("tool", True)


def test_a_model_that_never_stops_calling_is_stopped() -> None:
    answer, server = loop_against(*[tip(bill_amount=1, tip_percentage=1)] * 9)

    assert answer == "(no answer after 5 rounds of tool calls)"
    assert len(server.requests) == 5
