"""Every operation of the SDK against a real server: one whole span, and no difference to see."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ollama
import pytest
from httpx import HTTPTransport

from expected import answered, part, said, text

from .applications import TRACES_ONLY, Ended, run_as_it_is, run_instrumented
from .expected_spans import BECAUSE, SKY, TIP, TOOL_CALL, TOOLS, chat_span
from .received import VARYING, received_spans
from .sdk_calls import (
    ANSWERED,
    ASKED,
    LIMIT,
    QUESTIONS,
    STREAMED,
    ask,
    plain,
    span_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from conftest import Instrument

    from .conftest import StartCollector
    from .servers import OllamaServer

Values = dict[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
IMAGE = {"type": "blob", "mime_type": "image/png", "modality": "image", "content": PNG}
FILLER = "filler"  # a model that can fill in between a prompt and a suffix
FILLER_TEMPLATE = "{{ .Prompt }}{{ .Suffix }}<|plain|>"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["answer", "n"],
}


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate the tip.

    Args:
        bill_amount: The total bill amount
        tip_percentage: The percentage to give, as a whole number
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


@dataclass(frozen=True)
class Case:
    """A call, and what its span holds beside what every span holds.

    Attributes:
        name: what it is called.
        method: of the SDK's clients.
        arguments: the call's.
        attributes: the span's.
        model: the model asked.
    """

    name: str
    method: str
    arguments: Values
    attributes: Values = field(default_factory=dict)
    model: str = "scripted"


def user(*parts: Values) -> Values:
    return {"role": "user", "name": None, "parts": list(parts)}


def told(reason: str, *parts: Values, tokens: tuple[int, int]) -> Values:
    """Return the attributes of an answer, of what it is made of and of what it cost."""
    return answered(reason, input=tokens[0], output=tokens[1]) | {
        "gen_ai.output.messages": said(reason, *parts)
    }


def words(content: str) -> Values:
    return part("text", content=content)


def level(think: str) -> Values:
    return {"gen_ai.request.reasoning.level": think}


def prompted(*parts: Values) -> Values:
    return {"gen_ai.input.messages": [user(*parts)]}


def options_of(num_predict: int) -> Values:
    return {"options": {"num_predict": num_predict}}


THOUGHTS = (part("reasoning", content="Let me reason about it"), words("Blue wave wins!"))
JSON_ANSWER = told("stop", words('{"answer":"","n":1}'), tokens=(21, 20))
LOADED = answered("load") | {"gen_ai.output.messages": said("load")}
UNLOADED = answered("unload") | {"gen_ai.output.messages": said("unload")}

STREAMABLE = (
    Case("chat", "chat", QUESTIONS["chat"], ASKED | ANSWERED),
    Case(
        "chat that thinks",
        "chat",
        QUESTIONS["chat"] | {"think": True},
        ASKED | level("true") | told("stop", *THOUGHTS, tokens=(21, 12)),
    ),
    Case(
        "chat with tools",
        "chat",
        {"messages": [{"role": "user", "content": TIP}], "tools": [calculate_tip], "think": False},
        level("false")
        | {"gen_ai.tool.definitions": TOOLS, "gen_ai.input.messages": [text("user", TIP)]}
        | told("stop", TOOL_CALL, tokens=(63, 6)),
    ),
    Case(
        "chat with a schema",
        "chat",
        QUESTIONS["chat"] | {"format": SCHEMA} | options_of(60),
        ASKED | {"gen_ai.output.type": "json", "gen_ai.request.max_tokens": 60} | JSON_ANSWER,
    ),
    Case(
        "chat with an image",
        "chat",
        {"messages": [{"role": "user", "content": SKY, "images": [PNG]}], "think": False},
        level("false")
        | prompted(words(SKY), IMAGE)
        | told("stop", words(BECAUSE), tokens=(28, 10)),
    ),
    Case("chat that loads", "chat", {}, LOADED),
    Case("chat that unloads", "chat", {"keep_alive": 0}, UNLOADED),
    Case("generate", "generate", QUESTIONS["generate"], ASKED | ANSWERED),
    Case(
        "generate with instructions",
        "generate",
        {"prompt": SKY, "system": "Be brief.", "think": True},
        ASKED
        | level("true")
        | {"gen_ai.system_instructions": [words("Be brief.")]}
        | told("stop", *THOUGHTS, tokens=(40, 12)),
    ),
    Case(
        "generate cut short",
        "generate",
        QUESTIONS["generate"] | options_of(3),
        ASKED
        | {"gen_ai.request.max_tokens": 3}
        | told("length", words("The sky is"), tokens=(21, 3)),
    ),
    Case(
        "generate with a schema",
        "generate",
        QUESTIONS["generate"] | {"format": SCHEMA} | options_of(60),
        ASKED | {"gen_ai.output.type": "json", "gen_ai.request.max_tokens": 60} | JSON_ANSWER,
    ),
    Case(
        "generate raw",
        "generate",
        {"prompt": "<|plain|>", "raw": True},
        prompted(words("<|plain|>")) | told("stop", words(BECAUSE), tokens=(2, 10)),
    ),
    Case(
        "generate with a context",
        "generate",
        QUESTIONS["generate"] | {"context": [94, 120, 118, 104, 117, 96]},
        ASKED | told("stop", words(BECAUSE), tokens=(27, 10)),
    ),
    Case(
        "generate with a suffix",
        "generate",
        {"prompt": "def f(", "suffix": "return"},
        prompted(words("def f("), words("return"))
        | answered("stop", model=FILLER, input=16, output=10)
        | {"gen_ai.output.messages": said("stop", words(BECAUSE))},
        model=FILLER,
    ),
    Case(
        "generate with an image",
        "generate",
        {"prompt": SKY, "images": [base64.b64decode(PNG)], "think": False},
        level("false")
        | prompted(words(SKY), IMAGE)
        | told("stop", words(BECAUSE), tokens=(28, 10)),
    ),
    Case("generate that loads", "generate", {}, LOADED),
    Case("generate that unloads", "generate", {"keep_alive": 0}, UNLOADED),
)
DIMENSIONS = {"gen_ai.embeddings.dimension.count": 512}
EMBEDDED = DIMENSIONS | {"gen_ai.response.model": "embedder"}
WHOLE = (
    Case(
        "embed",
        "embed",
        {"input": "One text"},
        EMBEDDED | {"gen_ai.usage.input_tokens": 11},
        model="embedder",
    ),
    Case(
        "embed two texts in few dimensions",
        "embed",
        {"input": ["One text", "and two"], "dimensions": 4},
        EMBEDDED | {"gen_ai.usage.input_tokens": 21, "gen_ai.embeddings.dimension.count": 4},
        model="embedder",
    ),
    Case(
        "embeddings",
        "embeddings",
        {"prompt": "One text"},
        DIMENSIONS,
        model="embedder",
    ),
)

both_clients = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@pytest.fixture(scope="module")
def server(ollama_server: OllamaServer) -> Iterator[OllamaServer]:
    """The server, with one more model."""
    with ollama.Client(ollama_server.url, timeout=LIMIT) as client:
        client.create(FILLER, from_="scripted", template=FILLER_TEMPLATE)
        yield ollama_server
        client.delete(FILLER)


@pytest.mark.parametrize("case", [*STREAMABLE, *WHOLE], ids=lambda case: case.name)
@both_clients
def test_a_call_is_one_whole_span(
    server: OllamaServer, instrument: Instrument, case: Case, *, asynchronous: bool
) -> None:
    """The application gets what it gets without us."""
    call = (server.url, case.method, case.model, case.arguments)
    without_us = ask(*call, asynchronous=asynchronous)
    recording = instrument()
    assert ask(*call, asynchronous=asynchronous) == without_us
    port = urlsplit(server.url).port
    assert recording.span == span_of(port, case.method, case.attributes, model=case.model)


@pytest.mark.parametrize("case", STREAMABLE, ids=lambda case: case.name)
@both_clients
def test_a_streamed_call_is_one_whole_span(
    server: OllamaServer, instrument: Instrument, case: Case, *, asynchronous: bool
) -> None:
    """The same, chunk by chunk."""
    call = (server.url, case.method, case.model, case.arguments | {"stream": True})
    without_us = ask(*call, asynchronous=asynchronous)
    recording = instrument()
    assert ask(*call, asynchronous=asynchronous) == without_us
    port = urlsplit(server.url).port
    attributes = case.attributes | STREAMED
    assert recording.span == span_of(port, case.method, attributes, model=case.model)


class Subclass(ollama.Client):
    """A client that an application made its own, and that calls the SDK's by way of super()."""

    def chat(self, *args: Any, **kwargs: Any) -> Any:
        """Chat without thinking."""
        return super().chat(*args, think=False, **kwargs)


class AsyncSubclass(ollama.AsyncClient):
    """The same asynchronously."""

    async def chat(self, *args: Any, **kwargs: Any) -> Any:
        """Chat without thinking."""
        return await super().chat(*args, think=False, **kwargs)


def test_a_subclass_is_seen(server: OllamaServer, instrument: Instrument) -> None:
    """Positional arguments too."""
    recording = instrument()
    with Subclass(server.url, timeout=LIMIT) as client:
        answer = client.chat("scripted", QUESTIONS["chat"]["messages"])
    assert answer.message.content == BECAUSE
    assert recording.span == span_of(urlsplit(server.url).port, "chat", ASKED | ANSWERED)


async def test_an_async_subclass_is_seen(server: OllamaServer, instrument: Instrument) -> None:
    """Positional arguments too."""
    recording = instrument()
    async with AsyncSubclass(server.url, timeout=LIMIT) as client:
        answer = await client.chat("scripted", QUESTIONS["chat"]["messages"])
    assert answer.message.content == BECAUSE
    assert recording.span == span_of(urlsplit(server.url).port, "chat", ASKED | ANSWERED)


def test_a_client_keeps_its_headers_and_transport(
    server: OllamaServer, instrument: Instrument
) -> None:
    """The request leaves as without us, header by header, through the application's transport."""

    def call() -> tuple[Any, list[dict[str, str]]]:
        sent: list[dict[str, str]] = []

        def note(request: httpx.Request) -> None:
            sent.append(dict(request.headers))

        with ollama.Client(
            server.url,
            headers={"X-Team": "blue", "Authorization": "Bearer secret"},
            transport=HTTPTransport(retries=1),
            event_hooks={"request": [note]},
            timeout=LIMIT,
        ) as client:
            return plain(client.chat("scripted", **QUESTIONS["chat"])), sent

    without_us = call()
    recording = instrument()
    assert call() == without_us
    assert recording.span == span_of(urlsplit(server.url).port, "chat", ASKED | ANSWERED)


def module_functions_output() -> str:
    streamed = "The| sky| is| blue| because| air| scatters| light|.|"
    return f"""\
chat: {BECAUSE}
streamed chat: {streamed}
generate: {BECAUSE}
streamed generate: {streamed}
embed: 512
embeddings: 512
"""


def test_module_functions_that_were_bound_by_name_are_seen(
    server: OllamaServer, collector: StartCollector
) -> None:
    """Their client has its server from OLLAMA_HOST."""
    without_us = run_as_it_is("module_functions.py", OLLAMA_HOST=server.url)
    assert without_us == Ended(status=0, output=module_functions_output(), complaints="")
    backend = collector()
    ended = run_instrumented(
        "module_functions.py",
        OLLAMA_HOST=server.url,
        OTEL_EXPORTER_OTLP_ENDPOINT=backend.grpc,
        **TRACES_ONLY | {"OTEL_TRACES_EXPORTER": "otlp"},
    )
    assert ended == without_us
    port = urlsplit(server.url).port
    assert received_spans(backend, "ollama_otel", count=6) == [
        as_received(port, "chat", ASKED | ANSWERED),
        as_received(port, "chat", ASKED | ANSWERED | STREAMED),
        as_received(port, "generate", ASKED | ANSWERED),
        as_received(port, "generate", ASKED | ANSWERED | STREAMED),
        as_received(port, "embed", EMBEDDED | {"gen_ai.usage.input_tokens": 14}, "embedder"),
        as_received(port, "embeddings", DIMENSIONS, "embedder"),
    ]


def as_received(
    port: int | None, method: str, attributes: Values, model: str = "scripted"
) -> Values:
    """Return the whole span of a call as a collector receives it."""
    span = span_of(port, method, attributes, model=model)
    sent = {
        name: list(value) if isinstance(value, tuple) else VARYING.get(name, value)
        for name, value in span["attributes"].items()
    }
    return chat_span(port, {}) | {"name": span["name"], "attributes": sent}
