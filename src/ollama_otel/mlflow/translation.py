"""GenAI spans as MLflow reads them: a table of rules and pure functions.

``translate_attributes`` takes the attributes of the GenAI semantic conventions, as
opentelemetry-util-genai or any other instrumentation sets them, and adds the ``mlflow.*``
attributes from which MLflow draws its pages, its search and its evaluation. ``RULES`` and
``KINDS`` are the whole mapping; each row links to what it is based on.

Standard library only.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ollama_otel._text import utf8
from ollama_otel.mlflow._json import as_text, decode, encode
from ollama_otel.mlflow._kinds import (
    CACHE_COUNTS,
    EMBEDDING_INPUT,
    KINDS,
    LARGEST_NUMBER,
    OPERATION,
    REQUEST_OPTIONS,
    Attributes,
    GenAiSpan,
)
from ollama_otel.mlflow._previews import with_request_preview, with_response_preview
from ollama_otel.mlflow._tools import chat_tools

__all__ = [
    "FREE_PROVIDERS",
    "KINDS",
    "RULES",
    "TRACE_NAME",
    "exception_attributes",
    "is_genai",
    "refused_attributes",
    "root_attributes",
    "translate_attributes",
    "translate_name",
]

FREE_PROVIDERS: Final = frozenset({"ollama"})
"""Providers (``gen_ai.provider.name``) whose models cost nothing per token."""

_TRACE_TAG: Final = "mlflow.traceTag."

TRACE_NAME: Final = f"{_TRACE_TAG}mlflow.traceName"
"""On the first span of a trace: the trace's name."""

_MLFLOW: Final = "https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow"
_MLFLOW_KEYS: Final = f"{_MLFLOW}/tracing/constant.py"
_MLFLOW_PAGE: Final = (
    f"{_MLFLOW}/server/js/src/shared/web-shared/model-trace-explorer/ModelTraceExplorer.utils.tsx"
)

_SPAN_TYPE: Final = "mlflow.spanType"

_LONGEST: Final = {"session.id": 250, "gen_ai.conversation.id": 250, TRACE_NAME: 4096}
"""Characters that MLflow takes. Source: mlflow/store/tracking/utils/trace_analytics.py"""

_WORDS: Final = (
    *("mlflow.spanType", "gen_ai.operation.name", "openinference.span.kind"),
    *("traceloop.span.kind", "span.type", "entity.type", "ai.operationId"),
    *("langfuse.observation.type", "lmnr.span.type"),
)
"""What MLflow looks up as one word. Source: mlflow/tracing/otel/translation"""

_SUMS: Final = ("mlflow.chat.tokenUsage", "mlflow.llm.cost")
"""What MLflow adds up over a trace. Source: mlflow/tracing/utils/__init__.py"""

# Rules --------------------------------------------------------------------------------------


def _inputs(span: GenAiSpan) -> object:
    inputs = span.kind.inputs(span)
    return with_request_preview(inputs) if span.first and span.kind.asks else inputs


def _outputs(span: GenAiSpan) -> object:
    outputs = span.kind.outputs(span)
    return with_response_preview(outputs) if span.first and span.kind.asks else outputs


def _cost(span: GenAiSpan) -> dict[str, float] | None:
    # Without an explicit cost MLflow takes any provider's price for a model of that name, and
    # fetches a price list from the internet to do so.
    if span.usage is None or span.text("gen_ai.provider.name") not in span.free_providers:
        return None
    return {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}


def _tools(span: GenAiSpan) -> list[dict[str, Any]] | None:
    return chat_tools(span.attributes.get("gen_ai.tool.definitions")) or None


@dataclass(frozen=True)
class Rule:
    """How one ``mlflow.*`` attribute comes about.

    Args:
        writes: the attribute of MLflow's.
        meaning: what it says, in a sentence for docs/mapping.md.
        reads: the attributes that it is made from.
        value: makes it; None leaves it out.
        source: why it is so: the place in MLflow that reads the attribute.
        plain: written as it is, where MLflow would store a JSON text with its quotes.
    """

    writes: str
    meaning: str
    reads: tuple[str, ...]
    value: Callable[[GenAiSpan], object]
    source: str
    plain: bool = False


RULES: Final = (
    Rule(
        _SPAN_TYPE,
        "The type by which MLflow groups and finds spans, one for each operation.",
        (OPERATION,),
        lambda span: span.kind.span_type,
        f"{_MLFLOW}/entities/span.py",
        # The search index keeps the text as it comes: in quotes, no filter would find it.
        plain=True,
    ),
    Rule(
        "mlflow.spanInputs",
        "What went in: for a conversation model, messages and options in OpenAI's shape.",
        (
            "gen_ai.request.model",
            "gen_ai.system_instructions",
            "gen_ai.input.messages",
            "gen_ai.agent.name",
            "gen_ai.agent.description",
            "gen_ai.tool.call.arguments",
            "gen_ai.retrieval.query.text",
            "gen_ai.retrieval.top_k",
            "gen_ai.request.encoding_formats",
            EMBEDDING_INPUT,
            *REQUEST_OPTIONS,
        ),
        _inputs,
        _MLFLOW_PAGE,
    ),
    Rule(
        "mlflow.spanOutputs",
        "What came out: for a conversation OpenAI's choices.",
        (
            "gen_ai.output.messages",
            "gen_ai.response.finish_reasons",
            "gen_ai.tool.call.result",
            "gen_ai.retrieval.documents",
            "gen_ai.embeddings.dimension.count",
        ),
        _outputs,
        _MLFLOW_PAGE,
    ),
    Rule(
        "mlflow.message.format",
        "How the page reads inputs and outputs, where they are a conversation.",
        (OPERATION,),
        lambda span: "openai" if span.kind.conversation else None,
        _MLFLOW_PAGE,
    ),
    Rule(
        "mlflow.chat.tools",
        "The tools on offer, valid for MLflow's judges.",
        ("gen_ai.tool.definitions",),
        _tools,
        f"{_MLFLOW}/types/chat.py",
    ),
    Rule(
        "mlflow.chat.tokenUsage",
        "Tokens read, written, in all and from a cache; always the first three, or none.",
        ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", *CACHE_COUNTS),
        lambda span: span.usage,
        _MLFLOW_KEYS,
    ),
    Rule(
        "mlflow.llm.model",
        "The model that answered, else the one that was asked for.",
        ("gen_ai.response.model", "gen_ai.request.model"),
        lambda span: span.text("gen_ai.response.model", "gen_ai.request.model"),
        _MLFLOW_KEYS,
    ),
    Rule(
        "mlflow.llm.provider",
        "Who runs the model.",
        ("gen_ai.provider.name",),
        lambda span: span.text("gen_ai.provider.name"),
        _MLFLOW_KEYS,
    ),
    Rule(
        "mlflow.llm.cost",
        "Zero where models run for free; else MLflow prices them by their name alone.",
        ("gen_ai.provider.name",),
        _cost,
        f"{_MLFLOW}/tracing/otel/translation/__init__.py",
    ),
    Rule(
        "mlflow.spanLogLevel",
        "INFO: the page hides spans without a level.",
        (OPERATION,),
        lambda _span: 20,
        f"{_MLFLOW}/entities/span_log_level.py",
    ),
)
"""Every attribute that is added to a GenAI span, in the order in which they are added."""


def is_genai(attributes: Attributes) -> bool:
    """Tell whether a span follows the GenAI conventions."""
    operation = attributes.get(OPERATION)
    return isinstance(operation, str) and bool(operation)


def translate_attributes(
    attributes: Attributes,
    *,
    free_providers: Collection[str] = FREE_PROVIDERS,
    first: bool = False,
) -> Attributes:
    """Add MLflow's attributes to those of a GenAI span.

    Everything that is there stays, an ``mlflow.*`` attribute that somebody set before too, except
    what ``refused_attributes`` names, and that a span type loses its quotes. The attributes of
    other spans come back as they are. Malformed values never raise: what cannot be read as the
    conventions have it is shown as the text that it is.

    Args:
        attributes: the span's attributes.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token.
        first: whether the span is the first of its trace, from which MLflow takes the previews.

    Returns:
        The same mapping for a span that needs no change, else a new one.

    Example:
        >>> translate_attributes({"gen_ai.operation.name": "execute_tool"})["mlflow.spanType"]
        'TOOL'
    """
    mended = refused_attributes(attributes) | _quoted_type(attributes)
    if mended:
        left_out = {name for name, value in mended.items() if value is None}
        kept = {**attributes, **mended}
        attributes = {name: value for name, value in kept.items() if name not in left_out}
    if not is_genai(attributes):
        return attributes
    span = GenAiSpan(attributes, free_providers, first=first)
    added = {
        rule.writes: _written(rule, value)
        for rule in RULES
        if rule.writes not in attributes and (value := rule.value(span)) is not None
    }
    return {**attributes, **_encodable(attributes), **added}


def _quoted_type(attributes: Attributes) -> dict[str, object]:
    """Return the type of a span that MLflow's own SDK knows, without the quotes it puts there.

    None stands for the ``null`` that it puts on spans of a provider that it shares.
    """
    span_type = attributes.get(_SPAN_TYPE)
    plain = decode(span_type)
    if span_type is None or plain == span_type or not isinstance(plain, str | None):
        return {}
    return {_SPAN_TYPE: plain}


def _written(rule: Rule, value: object) -> object:
    """Return what rides on the span: documents and texts as JSON, numbers as they are."""
    number = isinstance(value, int | float) and abs(value) < LARGEST_NUMBER
    return value if rule.plain or number else encode(value)


def _encodable(attributes: Attributes) -> dict[str, str]:
    """Return the texts that OTLP could not carry, made so that it can."""
    return {
        name: encodable
        for name, value in attributes.items()
        if isinstance(value, str) and not value.isascii() and (encodable := utf8(value)) != value
    }


def refused_attributes(attributes: Attributes) -> dict[str, object]:
    """Return the attributes for which MLflow would refuse a whole batch, and what may stand there.

    Args:
        attributes: the attributes of any span.

    Returns:
        For each such attribute its beginning, where it is too long; None, where it must go.
    """
    refused: dict[str, object] = {
        name: utf8(text[:length])
        for name, length in _LONGEST.items()
        if (value := attributes.get(name)) is not None
        and (len(text := as_text(value)) > length or not isinstance(value, str))
    }
    for name in _SUMS:
        if name in attributes and not _is_sum(attributes[name]):
            refused[name] = None
    for name in _WORDS:
        if isinstance(decode(attributes.get(name)), Mapping | list | tuple | bytes):
            refused[name] = None
    return refused


def _is_sum(value: object) -> bool:
    """Tell whether MLflow can add a value up: an object with nothing but numbers in it."""
    decoded = decode(value)
    return isinstance(decoded, Mapping) and all(
        isinstance(number, int | float) and abs(number) < LARGEST_NUMBER
        for number in decoded.values()
    )


# Beside the attributes ----------------------------------------------------------------------


def translate_name(name: str, attributes: Attributes) -> str:
    """Return a span's name in MLflow: a tool's span is named as its tool, for the judges.

    Args:
        name: the span's name.
        attributes: its attributes.
    """
    tool = attributes.get("gen_ai.tool.name")
    if attributes.get(OPERATION) == "execute_tool" and isinstance(tool, str) and tool:
        name = tool
    return utf8(name)


def exception_attributes(attributes: Attributes, description: str | None) -> dict[str, str]:
    """Return the attributes of the ``exception`` event that makes MLflow show a failure in red.

    Args:
        attributes: the failed span's attributes.
        description: the description of its status.
    """
    error_type = attributes.get("error.type")
    kind = error_type if isinstance(error_type, str) and error_type else "_OTHER"
    return {"exception.type": utf8(kind), "exception.message": utf8(description or kind)}


def root_attributes(
    name: str, attributes: Attributes, tags: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return what the first span of a trace says about the trace: its name and its tags.

    Args:
        name: the span's name, translated.
        attributes: its attributes; what they say of the trace already is left to them.
        tags: tags for every trace.
    """
    said = {f"{_TRACE_TAG}{key}": utf8(value) for key, value in tags.items()}
    said.setdefault(TRACE_NAME, name)
    said[TRACE_NAME] = said[TRACE_NAME][: _LONGEST[TRACE_NAME]]
    return {key: value for key, value in said.items() if key not in attributes}
