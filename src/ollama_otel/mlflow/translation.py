"""GenAI spans as MLflow reads them: a table of rules and pure functions.

``translate_attributes`` takes the attributes of the GenAI semantic conventions, as
opentelemetry-util-genai or any other instrumentation sets them, and adds the ``mlflow.*``
attributes from which MLflow draws its pages, its search and its evaluation. ``RULES`` and
``KINDS`` are the whole mapping; each row links to what it is based on.

Standard library only.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from ollama_otel._text import utf8
from ollama_otel.mlflow._json import decode, decode_mended, encode
from ollama_otel.mlflow._messages import Conversation, system_message
from ollama_otel.mlflow._previews import with_request_preview, with_response_preview
from ollama_otel.mlflow._tools import chat_tools

Attributes = Mapping[str, Any]

NOT_CAPTURED: Final = "[content not captured]"
"""Stands where a prompt or an answer would, when the instrumentation was told to keep none."""

FREE_PROVIDERS: Final = frozenset({"ollama"})
"""Providers (``gen_ai.provider.name``) whose models cost nothing per token."""

_TRACE_TAG: Final = "mlflow.traceTag."

TRACE_NAME: Final = f"{_TRACE_TAG}mlflow.traceName"
"""On the first span of a trace: the trace's name."""

_CONVENTIONS: Final = (
    "https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai"
)
_INFERENCE: Final = f"{_CONVENTIONS}/client-inference.md"
_MLFLOW: Final = "https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow"
_MLFLOW_KEYS: Final = f"{_MLFLOW}/tracing/constant.py"
_MLFLOW_PAGE: Final = (
    f"{_MLFLOW}/server/js/src/shared/web-shared/model-trace-explorer/ModelTraceExplorer.utils.tsx"
)

_LARGEST_NUMBER: Final = 1 << 63
"""Beyond it OTLP cannot carry an integer. NaN is not below it either."""

_OPERATION: Final = "gen_ai.operation.name"
_SPAN_TYPE: Final = "mlflow.spanType"

_LONGEST: Final = {"session.id": 250, "gen_ai.conversation.id": 250, TRACE_NAME: 4096}
"""Characters that MLflow takes. Source: mlflow/store/tracking/utils/trace_analytics.py"""

_EMBEDDING_INPUT: Final = "ollama.request.input"
"""The texts of an embedding, for which the conventions have no name."""

_SUMS: Final = ("mlflow.chat.tokenUsage", "mlflow.llm.cost")
"""What MLflow adds up over a trace. Source: mlflow/tracing/utils/__init__.py"""

_REQUEST_OPTIONS: Final = {
    "gen_ai.request.temperature": "temperature",
    "gen_ai.request.top_p": "top_p",
    "gen_ai.request.top_k": "top_k",
    "gen_ai.request.max_tokens": "max_tokens",
    "gen_ai.request.stop_sequences": "stop",
    "gen_ai.request.seed": "seed",
    "gen_ai.request.frequency_penalty": "frequency_penalty",
    "gen_ai.request.presence_penalty": "presence_penalty",
    "gen_ai.request.choice.count": "n",
    "gen_ai.request.stream": "stream",
    "gen_ai.request.reasoning.level": "reasoning_effort",
    "gen_ai.output.type": "output_type",
}
"""Request attributes and their names in OpenAI's API, where it has one."""


class GenAiSpan:
    """The attributes of one GenAI span, and what several rules need of them.

    Args:
        attributes: the span's attributes.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token.
        first: whether it is the first span of its trace.
    """

    def __init__(
        self, attributes: Attributes, free_providers: Collection[str], *, first: bool = False
    ) -> None:
        self.attributes = attributes
        self.first = first
        self.kind: Kind = KINDS.get(attributes[_OPERATION], _OTHER_KIND)
        self.free_providers = free_providers
        self._conversation = Conversation()

    def text(self, *names: str) -> str | None:
        """Return the first of the attributes that is a text, and not an empty one."""
        values = (self.attributes.get(name) for name in names)
        return next((value for value in values if isinstance(value, str) and value), None)

    def count(self, name: str) -> int | None:
        """Return an attribute that counts something, if it does."""
        value = self.attributes.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return value if type(value) is int and 0 <= value < _LARGEST_NUMBER else None

    def present(self, *names: str) -> bool:
        """Tell whether any of the attributes was recorded."""
        return any(self.attributes.get(name) is not None for name in names)

    @property
    def failed(self) -> bool:
        """Whether the operation ended in an error."""
        return self.present("error.type")

    @cached_property
    def messages(self) -> list[dict[str, Any]] | None:
        """The request's messages with the system instructions before them, if recorded."""
        found = []
        if self.present("gen_ai.system_instructions"):
            found.append(system_message(self.attributes["gen_ai.system_instructions"]))
        if self.present("gen_ai.input.messages"):
            found += self._conversation.messages(self.attributes["gen_ai.input.messages"])
        return found or None

    @cached_property
    def choices(self) -> list[dict[str, Any]] | None:
        """The answer's messages, if recorded."""
        if not self.present("gen_ai.output.messages"):
            return None
        _ = self.messages  # the calls of the answer are counted on from those of the request
        return self._conversation.choices(
            self.attributes["gen_ai.output.messages"], self.finish_reasons
        )

    @property
    def finish_reasons(self) -> list[object]:
        """Why the model stopped, one reason for each choice."""
        reasons = decode(self.attributes.get("gen_ai.response.finish_reasons"))
        return list(reasons) if isinstance(reasons, list | tuple) else [reasons]

    @cached_property
    def usage(self) -> dict[str, int] | None:
        """The token counts under MLflow's names: always all three of them, or none."""
        known = self.count("gen_ai.usage.input_tokens"), self.count("gen_ai.usage.output_tokens")
        if known == (None, None):
            return None
        given, made = known[0] or 0, known[1] or 0
        usage = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
        for name, key in _CACHE_COUNTS.items():
            if (count := self.count(name)) is not None:
                usage[key] = count
        return usage


_CACHE_COUNTS: Final = {
    "gen_ai.usage.cache_read.input_tokens": "cache_read_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_creation_input_tokens",
    "gen_ai.usage.cache_write.input_tokens": "cache_creation_input_tokens",
}


# Kinds of span ------------------------------------------------------------------------------


def _request(span: GenAiSpan) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if model := span.text("gen_ai.request.model"):
        request["model"] = model
    request["messages"] = span.messages or [{"role": "user", "content": NOT_CAPTURED}]
    for name, option in _REQUEST_OPTIONS.items():
        if span.present(name):
            request[option] = span.attributes[name]
    return request


def _answer(span: GenAiSpan) -> dict[str, Any] | None:
    choices = span.choices
    if choices is None and span.failed:
        return None
    if choices is None and span.messages is not None:
        choices = []  # content was captured, and there was none: nothing came back
    if choices is None:
        message = {"role": "assistant", "content": NOT_CAPTURED}
        reason = next((value for value in span.finish_reasons if isinstance(value, str)), None)
        choices = [{"index": 0, "finish_reason": reason, "message": message}]
    return {"choices": choices}


def _agent_definition(span: GenAiSpan) -> dict[str, Any]:
    definition = {
        "model": span.text("gen_ai.request.model"),
        "name": span.text("gen_ai.agent.name"),
        "description": span.text("gen_ai.agent.description"),
        "messages": span.messages,
    }
    return {key: value for key, value in definition.items() if value is not None}


def _embedding_request(span: GenAiSpan) -> dict[str, Any]:
    texts = span.attributes.get(_EMBEDDING_INPUT)
    request: dict[str, Any] = {"input": NOT_CAPTURED}
    if isinstance(texts, list | tuple):
        request = {"input": texts[0] if len(texts) == 1 else list(texts)}
    if model := span.text("gen_ai.request.model"):
        request = {"model": model, **request}
    if formats := span.attributes.get("gen_ai.request.encoding_formats"):
        request["encoding_format"] = formats
    return request


def _embedding_answer(span: GenAiSpan) -> dict[str, Any] | None:
    dimensions = span.count("gen_ai.embeddings.dimension.count")
    return None if dimensions is None else {"dimensions": dimensions}


def _tool_arguments(span: GenAiSpan) -> object:
    return _content(span, "gen_ai.tool.call.arguments", beside="gen_ai.tool.call.result")


def _tool_result(span: GenAiSpan) -> object:
    if span.failed and not span.present("gen_ai.tool.call.result"):
        return None
    return _content(span, "gen_ai.tool.call.result", beside="gen_ai.tool.call.arguments")


def _content(span: GenAiSpan, name: str, *, beside: str) -> object:
    """Return a content attribute; where the other one was captured, this one had nothing."""
    if span.present(name):
        value = span.attributes[name]
        # Text is recorded as it is and numbers as JSON: 3.10 may be a version.
        is_structure = isinstance(value, str) and value.lstrip()[:1] in ("{", "[")
        return decode(value) if is_structure else value
    return None if span.present(beside) else NOT_CAPTURED


def _query(span: GenAiSpan) -> dict[str, Any]:
    query: dict[str, Any] = {"query": span.text("gen_ai.retrieval.query.text") or NOT_CAPTURED}
    if (top_k := span.count("gen_ai.retrieval.top_k")) is not None:
        query["top_k"] = top_k
    return query


def _documents(span: GenAiSpan) -> list[dict[str, Any]] | None:
    documents = decode_mended(span.attributes.get("gen_ai.retrieval.documents"))
    if not isinstance(documents, list | tuple):
        return None
    return [_document(item) for item in documents]


def _document(item: object) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        return {"page_content": _as_text(item), "metadata": {}}
    content = next((item[key] for key in _DOCUMENT_TEXTS if isinstance(item.get(key), str)), "")
    metadata = {
        key: value
        for key, value in item.items()
        if key not in ("id", *_DOCUMENT_TEXTS) and value is not None
    }
    document: dict[str, Any] = {"page_content": content, "metadata": metadata}
    if item.get("id") is not None:
        document["id"] = _as_text(item["id"])
    return document


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else encode(value)


_DOCUMENT_TEXTS: Final = ("content", "page_content", "text")


@dataclass(frozen=True)
class Kind:
    """What a span of one ``gen_ai.operation.name`` is in MLflow.

    Args:
        span_type: MLflow's span type.
        inputs: reads the span's inputs.
        outputs: reads its outputs; None leaves them out.
        source: where the operation is defined.
        conversation: whether inputs and outputs are messages in OpenAI's shape.
    """

    span_type: str
    inputs: Callable[[GenAiSpan], object]
    outputs: Callable[[GenAiSpan], object]
    source: str
    conversation: bool = True


_AGENTS: Final = f"{_CONVENTIONS}/gen-ai-agent-spans.md"

KINDS: Final[Mapping[object, Kind]] = {
    "chat": Kind("CHAT_MODEL", _request, _answer, _INFERENCE),
    "generate_content": Kind("LLM", _request, _answer, _INFERENCE),
    "text_completion": Kind("LLM", _request, _answer, _INFERENCE),
    "fetch_response": Kind("LLM", _request, _answer, _INFERENCE),
    "embeddings": Kind(
        "EMBEDDING",
        _embedding_request,
        _embedding_answer,
        f"{_CONVENTIONS}/client-embeddings.md",
        conversation=False,
    ),
    "execute_tool": Kind(
        "TOOL",
        _tool_arguments,
        _tool_result,
        f"{_CONVENTIONS}/execute-tool.md",
        conversation=False,
    ),
    "retrieval": Kind(
        "RETRIEVER",
        _query,
        _documents,
        f"{_CONVENTIONS}/gen-ai-spans.md#retrievals",
        conversation=False,
    ),
    "create_agent": Kind(
        "AGENT",
        _agent_definition,
        lambda _span: None,
        f"{_AGENTS}#create-agent-span",
        conversation=False,
    ),
    "invoke_agent": Kind("AGENT", _request, _answer, f"{_AGENTS}#invoke-agent-span"),
    "invoke_workflow": Kind("WORKFLOW", _request, _answer, f"{_AGENTS}#invoke-workflow-span"),
    "plan": Kind("TASK", _request, _answer, f"{_AGENTS}#plan-span"),
}
"""MLflow's view of each operation of the conventions."""

_OTHER_KIND: Final = Kind(
    "UNKNOWN",
    lambda span: _request(span) if span.messages else None,
    lambda span: _answer(span) if span.choices else None,
    f"{_CONVENTIONS}/gen-ai-spans.md",
    conversation=False,
)


# Rules --------------------------------------------------------------------------------------


def _inputs(span: GenAiSpan) -> object:
    inputs = span.kind.inputs(span)
    return with_request_preview(inputs) if span.first else inputs


def _outputs(span: GenAiSpan) -> object:
    outputs = span.kind.outputs(span)
    return with_response_preview(outputs) if span.first else outputs


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
        reads: the attributes that it is made from.
        value: makes it; None leaves it out.
        source: why it is so: the place in MLflow that reads the attribute.
        plain: written as it is, where MLflow would store a JSON text with its quotes.
    """

    writes: str
    reads: tuple[str, ...]
    value: Callable[[GenAiSpan], object]
    source: str
    plain: bool = False


RULES: Final = (
    Rule(
        _SPAN_TYPE,
        (_OPERATION,),
        lambda span: span.kind.span_type,
        f"{_MLFLOW}/entities/span.py",
        # The search index keeps the text as it comes: in quotes, no filter would find it.
        plain=True,
    ),
    Rule(
        "mlflow.spanInputs",
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
            _EMBEDDING_INPUT,
            *_REQUEST_OPTIONS,
        ),
        _inputs,
        _MLFLOW_PAGE,
    ),
    Rule(
        "mlflow.spanOutputs",
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
        (_OPERATION,),
        lambda span: "openai" if span.kind.conversation else None,
        _MLFLOW_PAGE,
    ),
    Rule(
        "mlflow.chat.tools",
        ("gen_ai.tool.definitions",),
        _tools,
        f"{_MLFLOW}/types/chat.py",
    ),
    Rule(
        "mlflow.chat.tokenUsage",
        ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", *_CACHE_COUNTS),
        lambda span: span.usage,
        _MLFLOW_KEYS,
    ),
    Rule(
        "mlflow.llm.model",
        ("gen_ai.response.model", "gen_ai.request.model"),
        lambda span: span.text("gen_ai.response.model", "gen_ai.request.model"),
        _MLFLOW_KEYS,
    ),
    Rule(
        "mlflow.llm.provider",
        ("gen_ai.provider.name",),
        lambda span: span.text("gen_ai.provider.name"),
        _MLFLOW_KEYS,
    ),
    Rule(
        "mlflow.llm.cost",
        ("gen_ai.provider.name",),
        _cost,
        f"{_MLFLOW}/tracing/otel/translation/__init__.py",
    ),
    Rule(
        "mlflow.spanLogLevel",
        (_OPERATION,),
        lambda _span: 20,
        f"{_MLFLOW}/entities/span_log_level.py",
    ),
)
"""Every attribute that is added to a GenAI span, in the order in which they are added."""


def is_genai(attributes: Attributes) -> bool:
    """Tell whether a span follows the GenAI conventions."""
    operation = attributes.get(_OPERATION)
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
    """Return the type of a span that MLflow's own SDK made, without the quotes it puts there."""
    span_type = attributes.get(_SPAN_TYPE)
    plain = decode(span_type)
    return {_SPAN_TYPE: plain} if isinstance(plain, str) and plain != span_type else {}


def _written(rule: Rule, value: object) -> object:
    """Return what rides on the span: documents and texts as JSON, numbers as they are."""
    number = isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER
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
        name: utf8(value[:length])
        for name, length in _LONGEST.items()
        if isinstance(value := attributes.get(name), str) and len(value) > length
    }
    for name in _SUMS:
        if name in attributes and not _is_sum(attributes[name]):
            refused[name] = None
    if isinstance(attributes.get(_SPAN_TYPE), Mapping | list | tuple):
        refused[_SPAN_TYPE] = None
    return refused


def _is_sum(value: object) -> bool:
    """Tell whether MLflow can add a value up: an object with nothing but numbers in it."""
    decoded = decode(value)
    return isinstance(decoded, Mapping) and all(
        isinstance(number, int | float) and abs(number) < _LARGEST_NUMBER
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
    if attributes.get(_OPERATION) == "execute_tool" and isinstance(tool, str) and tool:
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
    said[TRACE_NAME] = name[: _LONGEST[TRACE_NAME]]
    return {key: value for key, value in said.items() if key not in attributes}
