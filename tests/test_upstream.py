"""Fails when another library changes what this one stands on."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from contextvars import Token
from pathlib import Path

import httpx
import ollama
import opentelemetry._logs._internal as logs_internal
import opentelemetry.metrics._internal as metrics_internal
import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry.context import Context, attach, get_value
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import CLIENT_INFERENCE_CONTEXT_KEY, InferenceInvocation

from ollama_otel._extract import ChatAnswer
from ollama_otel._operations import NOT_INSTRUMENTED, OPERATIONS

CLIENTS = (ollama.Client, ollama.AsyncClient)

# Known in later releases of the SDK than the oldest supported one.
LATER = {
    "/v1/systemone",
    "https://ollama.com/api/web_fetch",
    "https://ollama.com/api/web_search",
}
_PATH = 2


def endpoints() -> Iterator[str]:
    """Every endpoint that the SDK's clients hand to the seam, read from its source."""
    source = inspect.getsource(importlib.import_module("ollama._client"))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="_request"), args=[_, _, ast.Constant(value=path), *_]
            ):
                yield str(path)


def test_every_operation_of_the_sdk_is_told_or_has_a_reason_not_to_be() -> None:
    """A new release that grows an operation fails here."""
    known = set(OPERATIONS) | set(NOT_INSTRUMENTED)

    assert set(endpoints()) <= known
    assert known - LATER <= set(endpoints())


def test_an_operation_is_told_or_not() -> None:
    """No endpoint stands in both tables, and every reason says something."""
    assert not set(OPERATIONS) & set(NOT_INSTRUMENTED)
    assert all(len(reason) > 20 for reason in NOT_INSTRUMENTED.values())


@pytest.mark.parametrize("client", CLIENTS)
def test_the_seam_has_its_shape(client: type) -> None:
    """_request(cls, *args, stream, **kwargs), on both clients, async on the async one."""
    seam = client.__dict__["_request"]

    parameters = inspect.signature(seam).parameters
    assert [(each.name, each.kind.name) for each in parameters.values()] == [
        ("self", "POSITIONAL_OR_KEYWORD"),
        ("cls", "POSITIONAL_OR_KEYWORD"),
        ("args", "VAR_POSITIONAL"),
        ("stream", "KEYWORD_ONLY"),
        ("kwargs", "VAR_KEYWORD"),
    ]
    assert inspect.iscoroutinefunction(seam) == (client is ollama.AsyncClient)


def test_a_client_knows_its_server() -> None:
    """The private httpx client has a base_url."""
    assert ollama.Client("http://h:1")._client.base_url == httpx.URL("http://h:1")


def test_a_chat_hands_a_plain_body_to_the_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callables are tools, generators are lists, models are dicts by the time they pass."""
    seen: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        ollama.Client, "_request", lambda _self, *args, **kwargs: seen.append((*args, kwargs))
    )

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    ollama.Client().chat(  # type: ignore[call-overload]  # the SDK takes generators all the same
        "m",
        ({"role": "user", "content": text} for text in ("one", "two")),
        tools=[add],
        options=ollama.Options(temperature=0.5),
        stream=False,
    )

    ((kind, method, path, kwargs),) = seen
    assert (kind, method, path) == (ollama.ChatResponse, "POST", "/api/chat")
    assert isinstance(kwargs, dict)
    assert kwargs["stream"] is False
    body = kwargs["json"]
    assert body["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    assert body["options"] == {"temperature": 0.5}
    assert body["tools"][0]["function"]["name"] == "add"


def test_the_global_providers_are_proxies_until_they_are_set() -> None:
    """This is how a process without an SDK is recognised."""
    assert issubclass(trace.ProxyTracerProvider, trace.TracerProvider)
    assert isinstance(metrics_internal._PROXY_METER_PROVIDER, metrics_internal._ProxyMeterProvider)
    assert issubclass(metrics_internal._ProxyMeterProvider, metrics.MeterProvider)
    assert isinstance(logs_internal._PROXY_LOGGER_PROVIDER, logs_internal.ProxyLoggerProvider)
    assert issubclass(logs_internal.ProxyLoggerProvider, _logs.LoggerProvider)


def test_an_invocation_takes_what_is_set_on_it() -> None:
    """Every attribute that the extraction names is one of util-genai's."""
    invocation = TelemetryHandler().inference("ollama")
    body = {
        "options": {"temperature": 1, "top_p": 1, "top_k": 1, "num_predict": 1, "seed": 1}
        | {"presence_penalty": 1, "frequency_penalty": 1, "stop": ["."]},
        "format": "json",
        "think": True,
        "stream": True,
        "messages": [],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    answer = ChatAnswer(body, keep_content=True)
    answer.add(
        ollama.ChatResponse(
            model="m",
            done=True,
            done_reason="stop",
            prompt_eval_count=1,
            eval_count=1,
            message=ollama.Message(role="assistant", content="."),
        )
    )
    operation = OPERATIONS["/api/chat"]
    read = (operation.request(body), operation.request_content(body), answer.fields())
    fields = {name for each in (*read, answer.content()) for name in each}
    assert len(fields) == 18

    settable = {
        name
        for name, member in inspect.getmembers(InferenceInvocation)
        if isinstance(member, property) and member.fset
    }
    invocation.stop()

    assert fields <= settable
    methods = ("activate", "suspend", "stop", "fail", "record_stream_chunk")
    assert all(callable(getattr(invocation, method)) for method in methods)


def test_an_invocation_keeps_its_token_under_the_known_name() -> None:
    """Where an invocation ends in another thread, its token is forgotten."""
    invocation = TelemetryHandler().inference("ollama")

    assert isinstance(invocation._context_token, Token)
    invocation._context_token = None
    invocation.stop()

    assert get_value(CLIENT_INFERENCE_CONTEXT_KEY) is not None
    attach(Context())


def test_util_genai_tells_no_exception_itself() -> None:
    """It would be told twice."""
    package = Path(importlib.import_module("opentelemetry.util.genai").__path__[0])
    sources = [path.read_text(encoding="utf-8") for path in package.rglob("*.py")]

    assert [text for text in sources if "client.operation.exception" in text] == []


def test_a_meter_provider_knows_its_readers() -> None:
    """This is how one that nobody reads is recognised."""
    unread, read = MeterProvider(), MeterProvider([InMemoryMetricReader()])

    found = [bool(each._measurement_consumer._reader_storages) for each in (unread, read)]
    unread.shutdown()
    read.shutdown()

    assert found == [False, True]


def test_what_util_genai_keeps_in_the_context_has_its_name() -> None:
    """Nested calls and conversations are recognised by the keys that it sets."""
    with TelemetryHandler().inference("ollama", conversation_id="c1") as invocation:
        keys = set(invocation.context) - {"current-span"}

    own = {key for key in keys if "genai" in key}
    assert len(own) == 2
    assert not any("genai" in key for key in keys - own)
    assert [key for key in keys - own if "current-span" not in key] == []
