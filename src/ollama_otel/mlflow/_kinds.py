"""What a span of each GenAI operation is in MLflow: its type, its inputs and its outputs.

``KINDS`` is the table; the functions before it read one span.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from ollama_otel.mlflow._json import as_text, decode, decode_mended
from ollama_otel.mlflow._messages import Conversation, system_message

Attributes = Mapping[str, Any]

NOT_CAPTURED: Final = "[content not captured]"
"""Stands where a prompt or an answer would, when the instrumentation was told to keep none."""

NO_MESSAGE: Final = "[no message]"
"""Stands where a prompt would, when there was none."""

OPERATION: Final = "gen_ai.operation.name"

LARGEST_NUMBER: Final = 1 << 63
"""Beyond it OTLP cannot carry an integer. NaN is not below it either."""

EMBEDDING_INPUT: Final = "ollama.request.input"
"""The texts of an embedding, for which the conventions have no name."""

_CONVENTIONS: Final = (
    "https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai"
)
_INFERENCE: Final = f"{_CONVENTIONS}/client-inference.md"


def _as_it_is(value: object) -> object:
    return value


def _response_format(schema: object) -> object:
    return {"type": "json_schema", "json_schema": {"schema": decode(schema)}}


Option = tuple[str, Callable[[object], object]]

REQUEST_OPTIONS: Final[Mapping[str, Option]] = {
    "gen_ai.request.temperature": ("temperature", _as_it_is),
    "gen_ai.request.top_p": ("top_p", _as_it_is),
    "gen_ai.request.top_k": ("top_k", _as_it_is),
    "gen_ai.request.max_tokens": ("max_tokens", _as_it_is),
    "gen_ai.request.stop_sequences": ("stop", _as_it_is),
    "gen_ai.request.seed": ("seed", _as_it_is),
    "gen_ai.request.frequency_penalty": ("frequency_penalty", _as_it_is),
    "gen_ai.request.presence_penalty": ("presence_penalty", _as_it_is),
    "gen_ai.request.choice.count": ("n", _as_it_is),
    "gen_ai.request.stream": ("stream", _as_it_is),
    "gen_ai.request.reasoning.level": ("reasoning_effort", _as_it_is),
    "gen_ai.output.type": ("output_type", _as_it_is),
    "ollama.request.format": ("response_format", _response_format),
    "ollama.request.options": ("options", decode),
}
"""Request attributes, their names in OpenAI's API where it has one, and what makes the value."""

_REASONING: Final = "gen_ai.request.reasoning.level"
_SWITCHES: Final[Mapping[object, Option]] = {
    "true": ("think", lambda _level: True),
    "false": ("think", lambda _level: False),
}
"""Ollama's reasoning is on, off, or one of OpenAI's levels."""


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
        self.kind: Kind = KINDS.get(attributes[OPERATION], OTHER_KIND)
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
        return value if type(value) is int and 0 <= value < LARGEST_NUMBER else None

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
        for name, key in CACHE_COUNTS.items():
            if (count := self.count(name)) is not None:
                usage[key] = count
        return usage


CACHE_COUNTS: Final = {
    "gen_ai.usage.cache_read.input_tokens": "cache_read_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_creation_input_tokens",
    "gen_ai.usage.cache_write.input_tokens": "cache_creation_input_tokens",
}


# Kinds of span ------------------------------------------------------------------------------


def _request(span: GenAiSpan) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if model := span.text("gen_ai.request.model"):
        request["model"] = model
    # Where an answer was captured and no question, there was none: the model was only loaded.
    nothing = NO_MESSAGE if span.present("gen_ai.output.messages") else NOT_CAPTURED
    request["messages"] = span.messages or [{"role": "user", "content": nothing}]
    for name, option in REQUEST_OPTIONS.items():
        if span.present(name):
            value = span.attributes[name]
            key, read = _SWITCHES.get(str(value), option) if name == _REASONING else option
            request[key] = read(value)
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
    reasons = [choice["finish_reason"] for choice in choices]
    cut_short = next((reason for reason in reasons if reason not in _WHOLE), None)
    # Beside the choices too: the page does not show it there.
    return {"choices": choices} | ({"finish_reason": cut_short} if cut_short else {})


_WHOLE: Final = (None, "stop", "tool_calls")
"""Why an answer ends that is whole."""


def _agent_definition(span: GenAiSpan) -> dict[str, Any]:
    definition = {
        "model": span.text("gen_ai.request.model"),
        "name": span.text("gen_ai.agent.name"),
        "description": span.text("gen_ai.agent.description"),
        "messages": span.messages,
    }
    return {key: value for key, value in definition.items() if value is not None}


def _embedding_request(span: GenAiSpan) -> dict[str, Any]:
    texts = span.attributes.get(EMBEDDING_INPUT)
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
    if dimensions is None:
        return None
    texts = span.attributes.get(EMBEDDING_INPUT)
    vectors = {"vectors": len(texts)} if isinstance(texts, list | tuple) else {}
    return {**vectors, "dimensions": dimensions}


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
        return {"page_content": as_text(item), "metadata": {}}
    content = next((item[key] for key in _DOCUMENT_TEXTS if isinstance(item.get(key), str)), "")
    metadata = {
        key: value
        for key, value in item.items()
        if key not in ("id", *_DOCUMENT_TEXTS) and value is not None
    }
    document: dict[str, Any] = {"page_content": content, "metadata": metadata}
    if item.get("id") is not None:
        document["id"] = as_text(item["id"])
    return document


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

    @property
    def asks(self) -> bool:
        """Whether a model is asked, so that there are a question and an answer to show."""
        return self.conversation or self.span_type == "EMBEDDING"


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

OTHER_KIND: Final = Kind(
    "UNKNOWN",
    lambda span: _request(span) if span.messages else None,
    lambda span: _answer(span) if span.choices else None,
    f"{_CONVENTIONS}/gen-ai-spans.md",
    conversation=False,
)
