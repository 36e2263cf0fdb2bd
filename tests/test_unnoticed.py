"""The application cannot tell that it is watched."""

import asyncio
import base64
import contextvars
import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import httpx
import ollama
import pytest
from opentelemetry import baggage, context, trace

from conftest import Instrument
from ollama_otel import OllamaInstrumentor
from ollama_otel.testing import FakeOllama
from recorded import EXCHANGES, URL, both
from telemetry import Recording

PLAIN, STREAM = (EXCHANGES[name] for name in ("chat_plain", "chat_stream"))
QUESTION = [{"role": "user", "content": "hi"}]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}

Make = Callable[[Path], dict[str, Any]]

STYLES: Mapping[str, Make] = {
    "dict": lambda _: {"messages": QUESTION},
    "Message": lambda _: {"messages": [ollama.Message(role="user", content="hi")]},
    "mapping": lambda _: {"messages": [MappingProxyType(QUESTION[0])]},
    "generator": lambda _: {"messages": (each for each in QUESTION)},
    "no messages": lambda _: {},
    "None": lambda _: {"messages": None},
    "options as dict": lambda _: {"messages": QUESTION, "options": {"temperature": 0.5}},
    "Options": lambda _: {"messages": QUESTION, "options": ollama.Options(temperature=0.5)},
    "tool as callable": lambda _: {"messages": QUESTION, "tools": [add]},
    "tool as dict": lambda _: {"messages": QUESTION, "tools": [TOOL]},
    "Tool": lambda _: {"messages": QUESTION, "tools": [ollama.Tool.model_validate(TOOL)]},
    "tools as generator": lambda _: {"messages": QUESTION, "tools": (each for each in [add])},
    "image as bytes": lambda _: {"messages": [{**QUESTION[0], "images": [PNG]}]},
    "image as base64": lambda _: {
        "messages": [{**QUESTION[0], "images": [base64.b64encode(PNG).decode()]}]
    },
    "image as path": lambda folder: {"messages": [{**QUESTION[0], "images": [folder / "i.png"]}]},
    "Image": lambda _: {"messages": [{**QUESTION[0], "images": [ollama.Image(value=PNG)]}]},
    "schema": lambda _: {"messages": QUESTION, "format": {"type": "object"}},
    "raw key": lambda _: {"messages": [{**QUESTION[0], "extra": "dropped by the SDK"}]},
}
SAME_AS = {
    "Message": "dict",
    "mapping": "dict",
    "generator": "dict",
    "raw key": "dict",
    "None": "no messages",
    "Options": "options as dict",
    "Tool": "tool as dict",
    "tools as generator": "tool as callable",
    "image as base64": "image as bytes",
    "image as path": "image as bytes",
    "Image": "image as bytes",
}


def asked(style: str, folder: Path, *, positional: bool = False) -> bytes:
    """Make a call and return the body of its request."""
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return PLAIN.respond(request)

    client = ollama.Client(URL, transport=httpx.MockTransport(answer))
    arguments = STYLES[style](folder)
    if positional:
        client.chat("m", arguments.pop("messages", None), **arguments)
    else:
        client.chat(model="m", **arguments)
    (body,) = sent
    return body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "i.png").write_bytes(PNG)
    return tmp_path


@pytest.mark.parametrize("positional", [False, True], ids=["keywords", "positional"])
@pytest.mark.parametrize("style", STYLES)
def test_every_style_of_input_is_sent_as_it_would_be_and_told(
    style: str, *, positional: bool, folder: Path, instrument: Instrument
) -> None:
    """The request is the same, byte by byte, and so is the span of what means the same."""
    expected = asked(style, folder)
    recording = instrument()

    assert asked(style, folder, positional=positional) == expected
    told = recording.span
    recording.exporter.clear()
    asked(SAME_AS.get(style, style), folder)
    assert told == recording.span


def test_arguments_are_not_changed(instrument: Instrument) -> None:
    """Neither the lists nor what is in them."""
    instrument()
    arguments: dict[str, Any] = {
        "messages": [{"role": "user", "content": "hi", "images": [PNG]}, {"role": "tool"}],
        "tools": [TOOL],
        "options": {"stop": ["."], "num_predict": 5},
        "format": {"type": "object", "properties": {}},
    }
    before = copy.deepcopy(arguments)

    PLAIN.client().chat("m", **arguments)
    list(STREAM.client().chat("m", **arguments, stream=True))

    assert arguments == before


def test_a_generator_of_messages_is_read_once_and_when_it_would_be(instrument: Instrument) -> None:
    """The SDK reads it in the call, of a stream too."""
    instrument()
    read: list[str] = []

    def messages() -> Iterator[dict[str, str]]:
        for text in ("one", "two"):
            read.append(text)
            yield {"role": "user", "content": text}

    stream = STREAM.client().chat("m", messages(), stream=True)  # type: ignore[call-overload]  # the SDK takes it
    assert read == ["one", "two"]
    list(stream)

    assert read == ["one", "two"]


def looks(client: Any) -> dict[str, Any]:
    """What an application can find out about a client, apart from its address in memory."""

    def attempt(action: Callable[[Any], Any]) -> Any:
        try:
            return action(client)
        except Exception as error:  # noqa: BLE001  (compared with the same without us)
            return type(error), str(error)

    return {
        "own": sorted(vars(client)),
        "repr": repr(client).partition(" at ")[0],
        "pickle": attempt(lambda it: len(pickle.dumps(it))),
        "copy": attempt(lambda it: type(copy.copy(it))),
        "hash": attempt(lambda it: hash(it) == hash(it)),
        "signatures": {
            name: str(inspect.signature(getattr(client, name)))
            for name in ("chat", "generate", "embed", "embeddings", "pull", "_request")
        },
        "documentation": inspect.getdoc(client.chat),
        "coroutine": inspect.iscoroutinefunction(client.chat),
        # Last, because copying leaves an attribute in the class.
        "attributes": dir(client),
    }


@pytest.mark.parametrize("kind", [ollama.Client, ollama.AsyncClient])
def test_a_client_looks_as_it_did(kind: type, instrument: Instrument) -> None:
    """Attributes, repr, pickling, copying, signatures: what works still does, what fails fails."""
    before = looks(kind(URL))
    methods = {name: getattr(kind, name) for name in ("chat", "generate", "embed", "embeddings")}
    instrument()

    assert looks(kind(URL)) == before
    assert {name: getattr(kind, name) for name in methods} == methods


@both
def test_an_answer_is_the_object_that_the_sdk_made(
    *, asynchronous: bool, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No copy, no proxy."""
    made: list[ollama.ChatResponse] = []
    original = ollama.ChatResponse.__init__

    def note(self: ollama.ChatResponse, **fields: Any) -> None:
        original(self, **fields)
        made.append(self)

    monkeypatch.setattr(ollama.ChatResponse, "__init__", note)
    instrument()

    if asynchronous:
        answer = asyncio.run(PLAIN.async_client().chat(**PLAIN.arguments))
    else:
        answer = PLAIN.client().chat(**PLAIN.arguments)

    assert type(answer) is ollama.ChatResponse
    assert [each is answer for each in made] == [True]


def failure(exchange: Any) -> BaseException:
    """Let a call fail, and return its exception."""
    try:
        my_own_function(exchange)
    except ollama.ResponseError as error:
        return error
    raise AssertionError


def my_own_function(exchange: Any) -> None:
    answer = exchange.client().chat(**exchange.arguments)
    if not isinstance(answer, ollama.ChatResponse):
        list(answer)


def frames(error: BaseException) -> list[str]:
    found = traceback.extract_tb(error.__traceback__)
    return [frame.name for frame in found if "ollama_otel" not in frame.filename]


@pytest.mark.parametrize(
    "name", ["error_no_such_model", "error_no_such_model_stream", "error_mid_stream"]
)
def test_an_exception_tells_the_same_story(name: str, instrument: Instrument) -> None:
    """Type, arguments, cause and context, and the frames apart from ours."""
    before = failure(EXCHANGES[name])
    recording = instrument()

    after = failure(EXCHANGES[name])

    assert len(recording.spans) == 1
    assert (type(after), after.args, str(after)) == (type(before), before.args, str(before))
    for link in ("__cause__", "__context__"):
        assert type(getattr(after, link)) is type(getattr(before, link))
    assert after.__suppress_context__ == before.__suppress_context__
    without_seam = [frame for frame in frames(after) if frame != "__call__"]
    assert without_seam == frames(before)
    assert without_seam[:2] == ["failure", "my_own_function"]


def test_names_bound_while_instrumented_are_silent_afterwards(instrument: Instrument) -> None:
    """Methods, functions and even the seam, whenever they were taken."""
    recording = instrument()
    client = PLAIN.client()
    chat, seam = client.chat, client._request

    OllamaInstrumentor().uninstrument()
    chat(**PLAIN.arguments)
    answer = seam(ollama.ChatResponse, "POST", "/api/chat", json={"model": "m"}, stream=False)

    assert answer.message.content
    assert recording.spans == ()


@both
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("metrics", [True, False], ids=["metrics", "spans alone"])
def test_the_callers_context_is_there_while_the_request_is_made(
    *, metrics: bool, stream: bool, asynchronous: bool, instrument: Instrument
) -> None:
    """Baggage reaches what makes the request, of a stream that is read elsewhere too."""
    others: dict[str, Any] = {} if metrics else {"meter_provider": None, "logger_provider": None}
    recording = instrument(**others)
    exchange = STREAM if stream else PLAIN
    seen: list[tuple[object, trace.SpanContext]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((baggage.get_baggage("user"), trace.get_current_span().get_span_context()))
        return exchange.respond(request)

    async def read(client: ollama.AsyncClient) -> Any:
        answered = await client.chat(**exchange.arguments)
        return [each async for each in answered] if stream else answered

    token = context.attach(baggage.set_baggage("user", "ada"))
    if asynchronous:
        asyncio.run(read(ollama.AsyncClient(URL, transport=httpx.MockTransport(answer))))
        context.detach(token)
    else:
        client = ollama.Client(URL, transport=httpx.MockTransport(answer))
        answered = client.chat(**exchange.arguments)
        context.detach(token)
        list(answered)

    (span,) = recording.spans
    assert seen == [("ada", span.get_span_context())]


def parents(recording: Recording) -> list[tuple[str, str | None]]:
    """Every span with its parent's name, in the order of their names."""
    names = {span.context.span_id: span.name for span in recording.spans if span.context}
    return sorted(
        (span.name, names[span.parent.span_id] if span.parent else None) for span in recording.spans
    )


def test_threads_with_the_callers_context_have_its_span_as_parent(instrument: Instrument) -> None:
    """And those without start traces of their own."""
    recording = instrument()
    tracer = recording.tracer_provider.get_tracer("app")

    def call(model: str) -> None:
        PLAIN.client().chat(model, QUESTION)

    with ThreadPoolExecutor(4) as pool, tracer.start_as_current_span("caller"):
        for number in range(4):
            pool.submit(contextvars.copy_context().run, call, f"with-{number}")
        pool.submit(call, "without")

    assert parents(recording) == [
        ("caller", None),
        *((f"chat with-{number}", "caller") for number in range(4)),
        ("chat without", None),
    ]


@pytest.mark.parametrize("group", ["gather", "task group"])
async def test_tasks_have_the_span_of_the_task_that_started_them_as_parent(
    group: str, instrument: Instrument
) -> None:
    """Each under its own, though they run in turns."""
    recording = instrument()
    tracer = recording.tracer_provider.get_tracer("app")

    async def work(number: int) -> None:
        with tracer.start_as_current_span(f"work {number}"):
            await asyncio.sleep(0)
            stream = await STREAM.async_client().chat(f"m{number}", QUESTION, stream=True)
            async for _ in stream:
                await asyncio.sleep(0)

    with tracer.start_as_current_span("caller"):
        if group == "gather":
            await asyncio.gather(*(work(number) for number in range(3)))
        else:
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(work, number)

    assert parents(recording) == [
        ("caller", None),
        *((f"chat m{number}", f"work {number}") for number in range(3)),
        *((f"work {number}", "caller") for number in range(3)),
    ]


APP = """
import sys, ollama
print(ollama.Client(sys.argv[1]).chat("m", [{"role": "user", "content": "hi"}]).message.content)
print(type(ollama.Client._request).__name__)
"""


@pytest.mark.parametrize(
    ("setting", "spans", "seam"),
    [
        ({}, ["chat m"], "BoundFunctionWrapper"),
        ({"OTEL_SDK_DISABLED": "true"}, [], "BoundFunctionWrapper"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx,ollama"}, [], "function"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, [], "BoundFunctionWrapper"),
    ],
    ids=["nothing set", "SDK disabled", "instrumentation disabled", "sampled out"],
)
def test_what_turns_opentelemetry_off_turns_us_off(
    setting: dict[str, str], spans: list[str], seam: str
) -> None:
    """Under opentelemetry-instrument, by the variables that everybody knows."""
    none = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    off = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx"}
    with FakeOllama() as server:
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable),
                *("-c", APP, server.url),
            ],
            env=os.environ | none | {"OTEL_TRACES_EXPORTER": "console"} | off | setting,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert (done.returncode, done.stderr) == (0, "")
    answer, kind, *exported = done.stdout.split("\n", 2)
    assert (bool(answer), kind) == (True, seam)
    text = "".join(exported)
    assert ([json.loads(text)["name"]] if text else []) == spans
