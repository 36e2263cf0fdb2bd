"""What util-genai leaves in the context for calls inside an open invocation.

A call inside an invocation of its own kind makes no telemetry of its own: what it tells is merged
into the outer one, so that nothing is counted twice.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.context import get_current, set_value
from opentelemetry.trace import get_current_span
from opentelemetry.util.genai.invocation import (
    CLIENT_EMBEDDING_CONTEXT_KEY,
    CLIENT_INFERENCE_CONTEXT_KEY,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.util.genai.invocation import GenAIInvocation

_KEYS: Final[Mapping[str, str]] = {
    "chat": CLIENT_INFERENCE_CONTEXT_KEY,
    "text_completion": CLIENT_INFERENCE_CONTEXT_KEY,
    "embeddings": CLIENT_EMBEDDING_CONTEXT_KEY,
}
"""``gen_ai.operation.name`` → where the outer invocation of its kind is."""


def is_inner(operation_name: str, invocation: "GenAIInvocation", context: "Context") -> bool:
    """Return whether an invocation is merged into an outer one.

    Args:
        operation_name: the ``gen_ai.operation.name``.
        invocation: the invocation, still open.
        context: its parent.
    """
    key = _KEYS[operation_name]
    # One of its own puts itself there.
    return invocation.context.get(key) is context.get(key)


def without_ended(operation_name: str, context: "Context") -> "Context":
    """Return the context of a call without an outer invocation that is over.

    A stream may be asked for inside an invocation and read after its end: merged into it, the
    call would be lost. util-genai does not say that an invocation is over. Here it is, when the
    span that was current at the request has ended and the reader has left the invocation.

    That is not always so. Where that span is one below the invocation's, it may still be open
    (and the call is lost) or have ended before it (and the call is told by itself, though it is
    also merged). Of an invocation that is not sampled nothing can be known.

    Args:
        operation_name: the ``gen_ai.operation.name``.
        context: the context in which the stream was asked for.
    """
    key = _KEYS[operation_name]
    if context.get(key) is get_current().get(key):
        return context
    span = get_current_span(context)
    ended = span.get_span_context().trace_flags.sampled and not span.is_recording()
    return set_value(key, None, context) if ended else context
