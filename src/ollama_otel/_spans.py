"""A call recorded by its span alone, where spans are all that anybody receives.

util-genai 1.3b0 serves metrics, events, hooks and nesting as well, which costs several times the
span. Here are the attributes that the extraction names, and the same span in the end: a test holds
the two side by side, so that what changes there is noticed here.
"""

import base64
import json
from collections.abc import Mapping
from timeit import default_timer
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.genai.types import Error

# Names of our own, because a module's attribute costs a look-up in every call.
_OPERATION: Final = gen_ai.GEN_AI_OPERATION_NAME
_PROVIDER: Final = gen_ai.GEN_AI_PROVIDER_NAME
_MODEL: Final = gen_ai.GEN_AI_REQUEST_MODEL
_ADDRESS: Final = server_attributes.SERVER_ADDRESS
_PORT: Final = server_attributes.SERVER_PORT

ATTRIBUTES: Final[Mapping[str, str]] = {
    "dimension_count": gen_ai.GEN_AI_EMBEDDINGS_DIMENSION_COUNT,
    "error_type": error_attributes.ERROR_TYPE,
    "finish_reasons": gen_ai.GEN_AI_RESPONSE_FINISH_REASONS,
    "frequency_penalty": gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY,
    "input_tokens": gen_ai.GEN_AI_USAGE_INPUT_TOKENS,
    "max_tokens": gen_ai.GEN_AI_REQUEST_MAX_TOKENS,
    "output_tokens": gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS,
    "output_type": gen_ai.GEN_AI_OUTPUT_TYPE,
    "presence_penalty": gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY,
    "reasoning_level": "gen_ai.request.reasoning.level",
    "request_stream": "gen_ai.request.stream",
    "response_model_name": gen_ai.GEN_AI_RESPONSE_MODEL,
    "seed": gen_ai.GEN_AI_REQUEST_SEED,
    "stop_sequences": gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES,
    "temperature": gen_ai.GEN_AI_REQUEST_TEMPERATURE,
    "top_k": gen_ai.GEN_AI_REQUEST_TOP_K,
    "top_p": gen_ai.GEN_AI_REQUEST_TOP_P,
    "ttfc_seconds": "gen_ai.response.time_to_first_chunk",
}
"""The invocation's attribute → the span's."""

CONTENT: Final[Mapping[str, str]] = {
    "input_messages": gen_ai.GEN_AI_INPUT_MESSAGES,
    "output_messages": gen_ai.GEN_AI_OUTPUT_MESSAGES,
    "system_instruction": gen_ai.GEN_AI_SYSTEM_INSTRUCTIONS,
    "tool_definitions": gen_ai.GEN_AI_TOOL_DEFINITIONS,
}
"""The same for what is written as JSON."""


def _plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else vars(value)


# Kept, because making an encoder costs as much as encoding a question.
_encode: Final = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


class SpanInvocation:
    """What a call needs of util-genai's invocations, as a span and no more.

    Args:
        tracer: makes the span.
        provider: the ``gen_ai.provider.name``.
        operation_name: the ``gen_ai.operation.name``.
        request_model: the model asked for.
        server_address: the server's host name.
        server_port: the server's port.
        context: the parent.
        should_capture_content: whether content is wanted.

    Attributes:
        span: the span.
        attributes: more attributes, by their own names.
    """

    def __init__(  # noqa: PLR0913  (the facts that a sampler may want to see)
        self,
        tracer: "Tracer",
        provider: str,
        *,
        operation_name: str,
        request_model: str | None,
        server_address: str | None,
        server_port: int | None,
        context: "Context",
        should_capture_content: bool,
    ) -> None:
        known: dict[str, str | int] = {_OPERATION: operation_name, _PROVIDER: provider}
        if request_model is not None:
            known[_MODEL] = request_model
        if server_address is not None:
            known[_ADDRESS] = server_address
        if server_port is not None:
            known[_PORT] = server_port
        span = tracer.start_span(
            f"{operation_name} {request_model}" if request_model else operation_name,
            context,
            SpanKind.CLIENT,
            known,
        )
        self._begin(span, should_capture_content=should_capture_content)
        self._context_token: Token[Context] | None = contexts.attach(
            set_span_in_context(self.span, context)
        )

    def _begin(self, span: "Span", *, should_capture_content: bool) -> None:
        self.span = span
        self.attributes: dict[str, Any] = {}
        self.should_capture_content = should_capture_content
        self._started = default_timer()

    def suspend(self) -> None:
        """Make the context current again that was so before the start."""
        token, self._context_token = self._context_token, None
        if token is not None:
            contexts.detach(token)

    def forget_foreign_token(self) -> None:
        """Leave the context alone where the span is not current: in another thread or task."""
        if get_current_span() is not self.span:
            self._context_token = None

    def record_stream_chunk(self) -> None:
        """Take the time of the first chunk; nobody wants that of the others."""
        if "ttfc_seconds" not in vars(self):
            self.request_stream = True
            self.ttfc_seconds = default_timer() - self._started

    def stop(self) -> None:
        """End the span, with what was set here."""
        try:
            if self.span.is_recording():
                self.span.set_attributes(self._fields() | self.attributes)
                # Apart, so that content which is no JSON takes nothing else with it.
                self.span.set_attributes(self._content())
        finally:
            self.suspend()
            self.span.end()

    def fail(self, error: "Error") -> None:
        """End the span with the error."""
        self.span.set_status(Status(StatusCode.ERROR, error.message))
        self.error_type = error.type
        self.stop()

    def _fields(self) -> dict[str, Any]:
        return {
            ATTRIBUTES[name]: value
            for name, value in vars(self).items()
            if name in ATTRIBUTES and value is not None
        }

    def _content(self) -> dict[str, str]:
        return {
            attribute: _encode(content)
            for name, attribute in CONTENT.items()
            if (content := vars(self).get(name))
        }
