"""The SDK's endpoints: which become telemetry and how, and which do not and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from ollama_otel import _extract
from ollama_otel._ollama_attributes import embedded_texts

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.util.genai.handler import TelemetryHandler
    from opentelemetry.util.genai.invocation import GenAIInvocation

    from ollama_otel._spans import SpanInvocation
    from ollama_otel._telemetry import Telemetry

Invocation: TypeAlias = "GenAIInvocation | SpanInvocation"

PROVIDER: Final = "ollama"
"""The ``gen_ai.provider.name``: a custom value, as the conventions allow."""


class Answer(Protocol):
    """A fold over what the server answers.

    Attributes:
        model: the model that answers, once anything came.
    """

    model: str | None

    def __init__(self, body: _extract.Body, *, keep_content: bool) -> None: ...

    def add(self, chunk: Any) -> bool:
        """Take one response object or chunk; return whether it was the last."""
        ...

    def finish(self, response: Any) -> None:
        """Take a whole response object: the only one."""
        ...

    def fields(self, *, failed: bool) -> _extract.Fields:
        """Return the invocation's attributes apart from content."""
        ...

    def content(self) -> _extract.Fields:
        """Return the invocation's attributes that hold content."""
        ...


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint that is recorded as a GenAI operation.

    Attributes:
        name: the ``gen_ai.operation.name``.
        start: starts the invocation from the facts that samplers may want to see.
        request: reads the request's attributes apart from content.
        request_content: reads the request's content.
        answer: the fold over the answer.
        own_content: reads content for which the conventions have no name, as span attributes.
    """

    name: str
    start: Callable[..., Invocation]
    request: Callable[[_extract.Body], _extract.Fields]
    request_content: Callable[[_extract.Body], _extract.Fields]
    answer: type[Answer]
    own_content: Callable[[_extract.Body], _extract.Fields] = _extract.no_content


def _start(
    by_handler: Callable[..., "GenAIInvocation"],
    telemetry: "Telemetry",
    *,
    operation_name: str,
    context: "Context",
    **facts: Any,
) -> Invocation:
    facts["operation_name"] = operation_name
    if not telemetry.only_spans(context):
        # Here, for the sake of those who receive spans alone: it imports much of util-genai.
        from ollama_otel._nesting import without_ended  # noqa: PLC0415

        context = without_ended(operation_name, context)
        return by_handler(telemetry.handler, context=context, **facts)
    return telemetry.start_span_alone(PROVIDER, context=context, **facts)


def _inference(handler: "TelemetryHandler", **facts: Any) -> "GenAIInvocation":
    return handler.inference(PROVIDER, **facts)


def _embedding(
    handler: "TelemetryHandler",
    operation_name: str,  # noqa: ARG001  (the handler knows it)
    **facts: Any,
) -> "GenAIInvocation":
    return handler.embedding(PROVIDER, **facts)


_EMBED: Final = Operation(
    name="embeddings",
    start=partial(_start, _embedding),
    request=_extract.embed_request,
    request_content=_extract.no_content,
    answer=_extract.EmbedAnswer,
    own_content=embedded_texts,
)

OPERATIONS: Final[Mapping[str, Operation]] = {
    "/api/chat": Operation(
        name="chat",
        start=partial(_start, _inference),
        request=_extract.inference_request,
        request_content=_extract.chat_request_content,
        answer=_extract.ChatAnswer,
    ),
    "/api/generate": Operation(
        name="text_completion",
        start=partial(_start, _inference),
        request=_extract.inference_request,
        request_content=_extract.generate_request_content,
        answer=_extract.GenerateAnswer,
    ),
    "/api/embed": _EMBED,
    "/api/embeddings": _EMBED,
}
"""Endpoint → how it is recorded."""

_MANAGEMENT: Final = "managing models is not a GenAI operation"
_WEB: Final = "a lookup on ollama.com, not a call of a model; the HTTP client's span records it"

NOT_INSTRUMENTED: Final[Mapping[str, str]] = {
    "/v1/systemone": "scores of answers to closed questions: the conventions have no name for it",
    "/api/pull": _MANAGEMENT,
    "/api/push": _MANAGEMENT,
    "/api/create": _MANAGEMENT,
    "/api/tags": _MANAGEMENT,
    "/api/show": _MANAGEMENT,
    "/api/ps": _MANAGEMENT,
    "https://ollama.com/api/web_search": _WEB,
    "https://ollama.com/api/web_fetch": _WEB,
}
"""Endpoint that passes the seam → why it makes no telemetry."""
