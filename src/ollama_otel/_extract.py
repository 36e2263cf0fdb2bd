"""What an Ollama request and its answer say, in the words of the GenAI conventions.

Pure functions and folds over plain data. A request is the JSON body that the SDK sends; an
answer is one response object, or the chunks of a stream one after another. What comes out are
dictionaries whose keys are the public attributes of util-genai's invocations.

Names and types: https://github.com/open-telemetry/semantic-conventions-genai
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.util.genai.types import (
    BlobPart,
    FunctionToolDefinition,
    GenericToolDefinition,
    InputMessage,
    MessagePart,
    OutputMessage,
    ReasoningPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    ToolDefinition,
    UriPart,
)
from opentelemetry.util.genai.utils import fq_exception_type

from ollama_otel._text import plain, utf8

Body = Mapping[str, Any]
Fields = dict[str, Any]

MAX_INLINE_IMAGE: Final = 48 * 1024
"""Bytes of an image that are still recorded whole; a larger one is named by size and digest."""

MAX_INLINE_IMAGES: Final = 4 * MAX_INLINE_IMAGE
"""Bytes of all images of a message list that are recorded whole; those after them are named."""

_IMAGE_TYPES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM"), "image/bmp"),
)
"""How the first bytes of an image begin, and its media type."""


# Request ------------------------------------------------------------------------------------


def request_model(body: Body) -> str | None:
    """Return the model that a request asks for, if it names one.

    Args:
        body: the JSON body that the SDK sends.
    """
    model = body.get("model")
    return utf8(model) if isinstance(model, str) and model else None


_LARGEST: Final = 1 << 63
"""Where an integer no longer fits into OTLP."""


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN and the infinities are not below it either.
    return int(value) if -_LARGEST <= value < _LARGEST and value == value // 1 else None


def _count(value: object) -> int | None:
    # Nothing counts below zero. Ollama reads a negative num_predict as "no limit".
    number = _integer(value)
    return number if number is not None and number >= 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _strings(value: object) -> list[str] | None:
    if isinstance(value, str):
        return [utf8(value)]
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return [utf8(item) for item in value] or None
    return None


_OPTIONS: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
    "top_k": ("top_k", _integer),
    "num_predict": ("max_tokens", _count),
    "seed": ("seed", _integer),
    "presence_penalty": ("presence_penalty", _number),
    "frequency_penalty": ("frequency_penalty", _number),
    "stop": ("stop_sequences", _strings),
}
"""Ollama's option, the invocation's attribute, and the reader that gives it the registered type.

``repeat_penalty`` is a scale of its own and none of the conventions' two penalties.
"""


def inference_request(body: Body) -> Fields:
    """Read what a chat or generate request asks for, apart from its content.

    Args:
        body: the JSON body that the SDK sends.

    Returns:
        Attributes of an inference invocation. What the request leaves open is left out, and so
        is a value of a type that the conventions do not allow.
    """
    fields: Fields = {}
    options = body.get("options")
    if isinstance(options, Mapping):
        for option, value in options.items():
            if (row := _OPTIONS.get(option)) and (read := row[1](value)) is not None:
                fields[row[0]] = read
    if body.get("format"):
        fields["output_type"] = "json"
    think = body.get("think")
    if think is not None:
        fields["reasoning_level"] = utf8(think) if isinstance(think, str) else json.dumps(think)
    if body.get("stream"):
        fields["request_stream"] = True
    return fields


def chat_request_content(body: Body) -> Fields:
    """Read the messages and the tools on offer of a chat request.

    Args:
        body: the JSON body that the SDK sends.

    Returns:
        ``input_messages`` and, where tools are on offer, ``tool_definitions``.
    """
    fields: Fields = {"input_messages": _input_messages(_items(body, "messages"))}
    if tools := _items(body, "tools"):
        fields["tool_definitions"] = [_tool_definition(tool) for tool in tools]
    return fields


def generate_request_content(body: Body) -> Fields:
    """Read the prompt of a generate request, and the system instructions beside it.

    Args:
        body: the JSON body that the SDK sends.

    Returns:
        ``input_messages`` with what the model is to continue, the suffix behind it and the images;
        ``system_instruction`` where one is given. A request that only loads a model has neither.
    """
    parts: list[MessagePart] = [
        TextPart(utf8(text)) for text in (body.get("prompt"), body.get("suffix")) if text
    ]
    parts.extend(map(_Images().part, _items(body, "images")))
    fields: Fields = {"input_messages": [InputMessage("user", parts)]} if parts else {}
    if system := body.get("system"):
        fields["system_instruction"] = [TextPart(utf8(system))]
    return fields


def embed_request(body: Body) -> Fields:
    """Read what an embed request asks for, apart from its content.

    Args:
        body: the JSON body that the SDK sends.
    """
    dimensions = _integer(body.get("dimensions"))
    return {} if dimensions is None else {"dimension_count": dimensions}


def no_content(_body: Body) -> Fields:
    """Return nothing: the conventions record no content of this operation."""
    return {}


def _items(holder: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = holder.get(key)
    if not value:
        # First, because it is the rule, and asking for an abstract type is slow.
        return ()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _input_messages(messages: Iterable[Mapping[str, Any]]) -> list[InputMessage]:
    calls, images = _ToolCalls(), _Images()
    return [_input_message(message, calls, images) for message in messages]


def _input_message(
    message: Mapping[str, Any], calls: "_ToolCalls", images: "_Images"
) -> InputMessage:
    role = message.get("role") or "user"
    # A list rather than a generator: a history has many messages.
    parts: list[MessagePart] = []
    content = message.get("content")
    if thinking := message.get("thinking"):
        parts.append(ReasoningPart(utf8(thinking)))
    if role == "tool":
        parts.append(ToolCallResponsePart(plain(content), calls.answered(message)))
    elif content:
        parts.append(TextPart(utf8(content)))
    parts.extend(map(images.part, _items(message, "images")))
    if asked := _items(message, "tool_calls"):
        calls.forget_unanswered()
        parts.extend(map(calls.asked, asked))
    return InputMessage(utf8(role), parts)


class _ToolCalls:
    """Gives every tool call of a conversation an id, and finds the call that a result answers.

    The SDK drops the server's ids. Counting the calls from the start of the conversation gives
    ids that stay the same when the application sends the history again.
    """

    def __init__(self, count: int = 0) -> None:
        self._count = count
        self._open: list[tuple[str, str]] = []

    def forget_unanswered(self) -> None:
        """Match no result with calls that were left unanswered before the model asked again."""
        self._open.clear()

    def asked(self, call: Mapping[str, Any]) -> ToolCallRequestPart:
        """Return the part for a call that the model asked for."""
        function = call.get("function") or {}
        name = function.get("name") or ""
        identifier = f"call_{self._count}"
        self._count += 1
        self._open.append((name, identifier))
        arguments = plain(function.get("arguments"))
        return ToolCallRequestPart(name=utf8(name), arguments=arguments, id=identifier)

    def answered(self, message: Mapping[str, Any]) -> str | None:
        """Return the id of the call that a tool message answers, by name and order."""
        name = message.get("tool_name")
        for position, (called, identifier) in enumerate(self._open):
            if name is None or called == name:
                del self._open[position]
                return identifier
        return None


def _tool_definition(tool: Mapping[str, Any]) -> ToolDefinition:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        # The SDK passes on its type only.
        kind = utf8(str(tool.get("type")))
        return GenericToolDefinition(name=kind, type=kind)
    return FunctionToolDefinition(
        name=utf8(function.get("name") or ""),
        description=utf8(function.get("description") or "") or None,
        parameters=plain(function.get("parameters")),
    )


class _Images:
    """Records images whole while they are few, so that they never become megabytes together."""

    def __init__(self) -> None:
        self._left = MAX_INLINE_IMAGES

    def part(self, image: str) -> MessagePart:
        """Return the part for an image."""
        part = image_part(image, min(self._left, MAX_INLINE_IMAGE))
        if isinstance(part, BlobPart):
            self._left -= len(part.content)
        return part


def image_part(image: str, most: int = MAX_INLINE_IMAGE) -> MessagePart:
    """Return the part for an image: the bytes when they are few, else type, size and digest.

    Args:
        image: base64 text, as Ollama's wire format has it.
        most: bytes of an image that is recorded whole.

    Returns:
        A blob up to ``most`` bytes; beyond it a URI part whose ``ni:`` address
        (RFC 6920) holds the SHA-256 digest, the content type and the size in bytes.
    """
    try:
        data = base64.b64decode(image, validate=True)
    except ValueError:
        return TextPart(content=f"[image of {len(image)} characters that are not base64]")
    mime_type = next((name for start, name in _IMAGE_TYPES if start.match(data)), None)
    if len(data) <= most:
        return BlobPart(mime_type=mime_type, modality="image", content=data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    content_type = f"ct={mime_type}&" if mime_type else ""
    uri = f"ni:///sha-256;{digest}?{content_type}size={len(data)}"
    return UriPart(mime_type=mime_type, modality="image", uri=uri)


# Answer -------------------------------------------------------------------------------------

UNFINISHED: Final = "error"
"""The finish reason where the server's own was expected and never came."""


class _Answer:
    """Folds what a model answers, whole or chunk by chunk, into an invocation's attributes.

    Args:
        body: the request's JSON body.
        keep_content: whether texts, images and tool calls are wanted; without it only the last
            chunk is looked at.
    """

    __slots__ = ("_body", "_keep_content", "_last", "_text", "_thinking", "model")

    def __init__(self, body: Body, *, keep_content: bool) -> None:
        self._body = body
        self._keep_content = keep_content
        # Not StringIO: where the garbage collector finds a stream that was left behind, it closes
        # all files first, and the stream after that.
        self._text = bytearray()
        self._thinking = bytearray()
        self._last: Fields | None = None
        self.model: str | None = None

    def add(self, chunk: Any) -> bool:
        """Take one response object or one chunk of a stream.

        Returns:
            Whether the server says that this was the last.
        """
        if self._keep_content:
            self._add_content(chunk)
        if self.model is None:
            self.model = chunk.model and utf8(chunk.model)
        if not chunk.done:
            return False
        self._last = _last_chunk(chunk)
        return True

    def finish(self, response: Any) -> None:
        """Take a whole answer: it is the last of its kind, whether it says so or not."""
        if not self.add(response):
            self._last = _last_chunk(response)

    def _add_content(self, chunk: Any) -> None:
        raise NotImplementedError

    def fields(self, *, failed: bool = False) -> Fields:
        """Return what the answer says apart from its content.

        Args:
            failed: whether the call failed, so that no answer was to be expected.
        """
        if self._last is not None:
            return self._last
        if self.model is None:
            return {} if failed else {"finish_reasons": [UNFINISHED]}
        # It began, and the chunk that says why it ended never came.
        return {"response_model_name": self.model, "finish_reasons": [UNFINISHED]}

    def content(self) -> Fields:
        """Return ``output_messages``: what the model said, in one message."""
        if self._last is None and self.model is None:
            return {}  # nothing came
        # Absent where the server gave none: util-genai takes an empty one for that.
        (reason,) = self.fields().get("finish_reasons") or [""]
        message = OutputMessage(role="assistant", parts=list(self._parts()), finish_reason=reason)
        return {"output_messages": [message]}

    def _parts(self) -> Iterator[MessagePart]:
        if thinking := self._thinking.decode():
            yield ReasoningPart(content=thinking)
        if text := self._text.decode():
            yield TextPart(content=text)


class ChatAnswer(_Answer):
    """What a chat answers: text, thinking and tool calls."""

    __slots__ = ("_tool_calls",)

    def __init__(self, body: Body, *, keep_content: bool) -> None:
        super().__init__(body, keep_content=keep_content)
        self._tool_calls: list[Any] = []

    def _add_content(self, chunk: Any) -> None:
        message = chunk.message
        if message.content:
            self._text.extend(message.content.encode("utf-8", "replace"))
        if message.thinking:
            self._thinking.extend(message.thinking.encode("utf-8", "replace"))
        if message.tool_calls:
            # Copied: the application may change what it is given.
            self._tool_calls.extend(call.model_dump() for call in message.tool_calls)

    def _parts(self) -> Iterator[MessagePart]:
        yield from super()._parts()
        if self._tool_calls:
            calls = _ToolCalls(_count_tool_calls(self._body))
            yield from map(calls.asked, self._tool_calls)


def _count_tool_calls(body: Body) -> int:
    return sum(len(_items(message, "tool_calls")) for message in _items(body, "messages"))


class GenerateAnswer(_Answer):
    """What generate answers: text and thinking, or an image."""

    __slots__ = ("_images",)

    def __init__(self, body: Body, *, keep_content: bool) -> None:
        super().__init__(body, keep_content=keep_content)
        self._images: list[str] = []

    def _add_content(self, chunk: Any) -> None:
        if chunk.response:
            self._text.extend(chunk.response.encode("utf-8", "replace"))
        if chunk.thinking:
            self._thinking.extend(chunk.thinking.encode("utf-8", "replace"))
        # Older releases of the SDK know no images.
        if image := getattr(chunk, "image", None):
            self._images.append(image)

    def _parts(self) -> Iterator[MessagePart]:
        yield from super()._parts()
        yield from map(_Images().part, self._images)


class EmbedAnswer:
    """What embed and the older embeddings answer: vectors, of which only the length is read.

    Args:
        body: not needed.
        keep_content: not needed: vectors are no content to record.
    """

    __slots__ = ("_fields", "model")

    def __init__(self, body: Body, *, keep_content: bool) -> None:  # noqa: ARG002  (as for all)
        self._fields: Fields = {}
        self.model: str | None = None

    def add(self, chunk: Any) -> bool:
        """Take the response; embeddings are never streamed."""
        self.model = getattr(chunk, "model", None) and utf8(chunk.model)
        vectors = getattr(chunk, "embeddings", None) or [getattr(chunk, "embedding", ())]
        fields = {
            "response_model_name": self.model,
            "input_tokens": _count(getattr(chunk, "prompt_eval_count", None)),
            "dimension_count": len(vectors[0]) or None,
        }
        self._fields = {name: value for name, value in fields.items() if value is not None}
        return True

    def finish(self, response: Any) -> None:
        """Take the response."""
        self.add(response)

    def fields(self, *, failed: bool = False) -> Fields:  # noqa: ARG002  (embeddings have no reason)
        """Return what the answer says."""
        return self._fields

    def content(self) -> Fields:
        """Return nothing: the conventions record no vectors."""
        return {}


def _last_chunk(chunk: Any) -> Fields:
    fields: Fields = {
        "response_model_name": chunk.model and utf8(chunk.model),
        "input_tokens": _count(chunk.prompt_eval_count),
        "output_tokens": _count(chunk.eval_count),
        "finish_reasons": [utf8(chunk.done_reason)] if chunk.done_reason else None,
    }
    # Absent is not zero: a count that the server did not send stays out.
    return {name: value for name, value in fields.items() if value is not None}


# Error --------------------------------------------------------------------------------------


def error_type(error: BaseException) -> str:
    """Return the ``error.type`` of an exception that a call of the SDK raised.

    Args:
        error: what was raised.

    Returns:
        The HTTP status of an answer that says one, else the name of the exception's class.
    """
    try:
        status: Any = getattr(error, "status_code", None)
    except Exception:  # noqa: BLE001  (the application's own exception, and its name will do)
        status = None
    is_status = isinstance(status, int) and not isinstance(status, bool) and status > 0
    return str(int(status)) if is_status else exception_type(error)


def exception_type(error: BaseException) -> str:
    """Return the qualified name of an exception's class; of the SDK's own, the public name."""
    kind = type(error)
    if kind.__module__.partition(".")[0] == "ollama":
        return f"ollama.{kind.__qualname__}"
    return fq_exception_type(error)


def exception_message(error: BaseException, *, quote: bool = True) -> str:
    """Return what an exception says, or that it says nothing that can be printed.

    Args:
        error: the exception.
        quote: whether it may quote content. Without it, of an answer that is not what the SDK
            expects only the place of the fault is told, and not what stands there.
    """
    try:
        if not quote and type(error).__module__.startswith("pydantic"):
            return utf8(_places(error))
        return utf8(str(error))
    except Exception:  # noqa: BLE001  (the application's own, and nothing to warn of)
        return f"[{exception_type(error)} that cannot be printed]"


def _places(error: Any) -> str:
    """Return what a ``pydantic.ValidationError`` says without the values that it refused."""
    faults = error.errors(include_input=False, include_context=False, include_url=False)
    said = (f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults)
    return f"{error.title}: {'; '.join(said)}"
