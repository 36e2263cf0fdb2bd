"""GenAI messages in OpenAI's shape, which MLflow's pages, judges and datasets read.

The pages take a list of messages all or nothing: one unknown role, an id or arguments that are
no text, and the whole conversation shows as raw JSON. So everything is made to fit, and what
has no place in OpenAI's shape becomes a text that says what it is.

Messages: https://github.com/open-telemetry/semantic-conventions-genai (gen-ai-input-messages.json)
Reader: https://github.com/mlflow/mlflow (ModelTraceExplorer.utils.tsx)
"""

import base64
import binascii
import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ollama_otel.mlflow._json import decode_mended, encode

Message = dict[str, Any]
Part = Mapping[str, Any]
Block = dict[str, Any]

MAX_INLINE_MEDIA: Final = 256 * 1024
"""Bytes of a picture or a sound that is still shown inline; a larger one is named by its digest."""

_NAMED: Final = re.compile(r"ni:///sha-256;(?P<digest>[\w-]+)\?(?:.*&)?size=(?P<size>\d+)")

_ROLES: Final = {
    "ai": "assistant",
    "assistant": "assistant",
    "developer": "system",
    "function": "tool",
    "human": "user",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "user": "user",
}
_FINISH_REASONS: Final = {"tool_call": "tool_calls"}
_AUDIO_FORMATS: Final = {
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
}
_RESPONSES: Final = ("tool_call_response", "server_tool_call_response")
_CALLS: Final = ("tool_call", "server_tool_call")


class Conversation:
    """Turns the messages of one span into OpenAI's shape, with tool calls and results matched.

    Ask for the input first: a result finds its call, and the calls of the output go on counting
    where the input ended, so that the next span of the conversation gives them the same ids.
    """

    def __init__(self) -> None:
        self._calls = _ToolCalls()

    def messages(self, value: object) -> list[Message]:
        """Return the messages of ``gen_ai.input.messages``.

        Args:
            value: the attribute: JSON text, whole or cut, or what it decodes to.
        """
        return [
            turned
            for message in _message_list(value, "user")
            for turned in self._split(message, "user")
        ]

    def choices(self, value: object, finish_reasons: Sequence[object]) -> list[Message]:
        """Return the messages of ``gen_ai.output.messages`` as OpenAI's choices.

        Args:
            value: the attribute: JSON text, whole or cut, or what it decodes to.
            finish_reasons: ``gen_ai.response.finish_reasons``, one for each choice.
        """
        return [
            {
                "index": index,
                "finish_reason": _finish_reason(message, finish_reasons, index),
                "message": self._message(_role(message, "assistant"), _parts(message), message),
            }
            for index, message in enumerate(_message_list(value, "assistant"))
        ]

    def _split(self, message: Part, default_role: str) -> Iterator[Message]:
        """Give every tool result its own message, as OpenAI's shape wants it."""
        role = _role(message, default_role)
        parts: list[Part] = []
        results = 0
        for part in _parts(message):
            if part.get("type") not in _RESPONSES:
                parts.append(part)
                continue
            if parts:
                yield self._message(role, parts, message)
                parts = []
            results += 1
            yield self._result(part, message)
        if parts or not results:
            yield self._message(role, parts, message)

    def _message(self, role: str, parts: Sequence[Part], source: Part) -> Message:
        calls = [self._call(part) for part in parts if part.get("type") in _CALLS]
        reasoning = [
            _text(part.get("content")) for part in parts if part.get("type") == "reasoning"
        ]
        content = _content(parts)
        message: Message = {"role": role, "content": None if calls and not content else content}
        if reasoning:
            message["reasoning"] = "\n".join(reasoning)
        if calls:
            message["tool_calls"] = calls
        if role == "tool":
            message["tool_call_id"] = self._calls.answered(None, source.get("name"))
        return message

    def _call(self, part: Part) -> Message:
        name = _text(part.get("name"))
        arguments = part.get("arguments", part.get("server_tool_call"))
        return {
            "id": self._calls.asked(part.get("id"), name),
            "type": "function",
            "function": {
                "name": name,
                "arguments": arguments if isinstance(arguments, str) else encode(arguments or {}),
            },
        }

    def _result(self, part: Part, message: Part) -> Message:
        name = part.get("name") or message.get("name")
        return {
            "role": "tool",
            "tool_call_id": self._calls.answered(part.get("id"), name),
            "content": _response_text(part),
        }


class _ToolCalls:
    """The tool calls of a conversation: an id for each, and the call that a result answers."""

    def __init__(self) -> None:
        self._count = 0
        self._seen: set[str] = set()
        self._open: set[str] = set()
        self._in_order: deque[str] = deque()
        self._by_name: defaultdict[str, deque[str]] = defaultdict(deque)

    def asked(self, given: object, name: str) -> str:
        identifier = self._identifier(_text(given))
        self._open.add(identifier)
        self._in_order.append(identifier)
        self._by_name[name].append(identifier)
        return identifier

    def answered(self, given: object, name: object) -> str:
        """Return the id of the call that is answered: by its id, else by name, else by order."""
        # Ollama's messages name the tool; some instrumentations record that name as the id.
        for key in filter(None, (_text(given), _text(name))):
            if key in self._open:
                self._open.remove(key)
                return key
            if identifier := self._first_open(self._by_name[key]):
                return identifier
        if given in (None, "") and (identifier := self._first_open(self._in_order)):
            return identifier
        return self._identifier(_text(given))

    def _first_open(self, identifiers: deque[str]) -> str | None:
        while identifiers:
            if (identifier := identifiers.popleft()) in self._open:
                self._open.remove(identifier)
                return identifier
        return None

    def _identifier(self, given: str) -> str:
        identifier = given or f"call_{self._count}"
        while not given and identifier in self._seen:
            self._count += 1
            identifier = f"call_{self._count}"
        self._count += 1
        self._seen.add(identifier)
        return identifier


def _message_list(value: object, default_role: str) -> list[Part]:
    decoded = decode_mended(value)
    if isinstance(decoded, Mapping):
        decoded = [decoded]
    if not isinstance(decoded, list | tuple) or not decoded:
        # Not JSON, or nothing of it survived the cut: the text itself is still worth reading.
        return [{"role": default_role, "content": _text(value)}]
    return [
        item if isinstance(item, Mapping) else {"role": default_role, "content": _text(item)}
        for item in decoded
    ]


def _role(message: Part, default: str) -> str:
    role = message.get("role")
    return _ROLES.get(role.lower(), default) if isinstance(role, str) else default


def _parts(message: Part) -> list[Part]:
    parts = message.get("parts", message.get("content"))
    if parts is None:
        return []
    if not isinstance(parts, list | tuple):
        parts = [parts]
    return [
        part if isinstance(part, Mapping) else {"type": "text", "content": part} for part in parts
    ]


def _finish_reason(message: Part, finish_reasons: Sequence[object], index: int) -> str | None:
    reason = message.get("finish_reason")
    if not reason and index < len(finish_reasons):
        reason = finish_reasons[index]
    return _FINISH_REASONS.get(_text(reason), _text(reason)) if reason else None


def system_message(value: object) -> Message:
    """Return ``gen_ai.system_instructions`` as a system message.

    Args:
        value: the attribute: JSON text of a list of parts, or what it decodes to.
    """
    decoded = decode_mended(value)
    return {"role": "system", "content": _content(_parts({"parts": decoded}))}


def _content(parts: Iterable[Part]) -> str | list[Block]:
    blocks = [
        _BLOCKS.get(_text(part.get("type")), _other)(part) for part in parts if not _apart(part)
    ]
    if all(block["type"] == "text" for block in blocks):
        return "\n".join(block["text"] for block in blocks)
    return blocks


def _apart(part: Part) -> bool:
    return part.get("type") == "reasoning" or part.get("type") in _CALLS


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else encode(value)


def _text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def _plain_text(part: Part) -> Block:
    return _text_block(_text(part.get("content", part.get("text"))))


def _response_text(part: Part) -> str:
    return _text(part.get("response", part.get("server_tool_call_response", part.get("result"))))


def _blob(part: Part) -> Block:
    content = _text(part.get("content"))
    label = _label(part)
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return _text_block(f"[{label}, {len(content)} characters that are not base64]")
    if len(data) <= MAX_INLINE_MEDIA and (inline := _inline(part, content)):
        return inline
    digest = hashlib.sha256(data).hexdigest()
    return _text_block(f"[{label}, {len(data)} bytes, sha256 {digest}]")


def _inline(part: Part, content: str) -> Block | None:
    mime_type = _text(part.get("mime_type")).lower()
    if mime_type.startswith("image/") or _is_image(part):
        # Browsers look at the bytes: a missing type only must not be another medium's.
        return _image(f"data:{mime_type or 'image/png'};base64,{content}")
    if audio := _AUDIO_FORMATS.get(mime_type):
        return {"type": "input_audio", "input_audio": {"data": content, "format": audio}}
    return None


def _uri(part: Part) -> Block:
    uri = _text(part.get("uri"))
    shown = ("http://", "https://", "data:image/", "mlflow-attachment://")
    if _is_image(part) and uri.startswith(shown) and len(uri) <= MAX_INLINE_MEDIA * 4 // 3:
        return _image(uri)
    if named := _NAMED.fullmatch(uri):
        # RFC 6920, with the size beside the type: nobody can open it, but it says what it was.
        return _text_block(f"[{_label(part)}, {named['size']} bytes, sha256 {named['digest']}]")
    return _text_block(f"[{_label(part)}: {uri[:1000]}]")


def _file(part: Part) -> Block:
    return _text_block(f"[{_label(part)}, file {_text(part.get('file_id'))}]")


def _other(part: Part) -> Block:
    return _text_block(encode(dict(part)))


def _is_image(part: Part) -> bool:
    return part.get("modality") == "image"


def _label(part: Part) -> str:
    return _text(part.get("mime_type") or part.get("modality") or part.get("type"))


def _image(url: str) -> Block:
    return {"type": "image_url", "image_url": {"url": url}}


_BLOCKS: Final[Mapping[str, Callable[[Part], Block]]] = {
    "text": _plain_text,
    "blob": _blob,
    "uri": _uri,
    "file": _file,
    "tool_call_response": lambda part: _text_block(_response_text(part)),
    "server_tool_call_response": lambda part: _text_block(_response_text(part)),
}
