"""What Ollama tells of a call beyond the GenAI conventions: the ``ollama.*`` span attributes.

``docs/registry/ollama.yaml`` describes them; a test holds the two together.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from ollama_otel._text import plain, utf8

Reader: TypeAlias = Callable[[object], float | str | None]

_NANOSECONDS: Final = 1e9


def _seconds(nanoseconds: object) -> float | None:
    if isinstance(nanoseconds, bool) or not isinstance(nanoseconds, int | float):
        return None
    return nanoseconds / _NANOSECONDS


def _as_given(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():
        # The SDK makes a float of every number.
        value = int(value)
    return utf8(value) if isinstance(value, str) else json.dumps(value)


def _own_options(options: object) -> str | None:
    if not isinstance(options, Mapping):
        return None
    own = {name: value for name, value in options.items() if name not in CONVENTIONAL_OPTIONS}
    return json.dumps(plain(own)) if own else None


def _schema(value: object) -> str | None:
    # "json" alone is the conventions' output type, and says no more.
    return json.dumps(plain(value)) if isinstance(value, Mapping) else None


CONVENTIONAL_OPTIONS: Final = frozenset(
    {
        *("frequency_penalty", "num_predict", "presence_penalty", "seed", "stop"),
        *("temperature", "top_k", "top_p"),
    }
)
"""Ollama's options for which the conventions have an attribute."""

REQUEST: Final[Mapping[str, tuple[str, Reader]]] = {
    "keep_alive": ("ollama.request.keep_alive", _as_given),
    "options": ("ollama.request.options", _own_options),
    "format": ("ollama.request.format", _schema),
}
"""Field of the request's body, the attribute, and what makes its value."""

RESPONSE: Final[Mapping[str, tuple[str, Reader]]] = {
    "total_duration": ("ollama.response.total_duration", _seconds),
    "load_duration": ("ollama.response.load_duration", _seconds),
    "prompt_eval_duration": ("ollama.response.prompt_eval_duration", _seconds),
    "eval_duration": ("ollama.response.eval_duration", _seconds),
}
"""The same for the last chunk of the answer, which gives durations in nanoseconds."""


INPUT: Final = "ollama.request.input"
"""The texts of an embedding: content, for which the conventions have no name."""


def embedded_texts(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the attribute with the texts that a request wants embedded.

    Args:
        body: the JSON body of an embed request, or of the older embeddings.
    """
    texts = body.get("input", body.get("prompt"))
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list | tuple):
        return {}
    return {INPUT: [utf8(text) for text in texts if isinstance(text, str)]}


def request_attributes(body: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the ``ollama.*`` attributes of a request.

    Args:
        body: the JSON body that the SDK sends.
    """
    return _read(REQUEST, body.get)


def response_attributes(last: Any) -> dict[str, float | str]:
    """Return the ``ollama.*`` attributes of an answer; what the server did not tell is left out.

    Args:
        last: the response object, or the chunk of a stream that says it is the last.
    """
    return _read(RESPONSE, lambda field: getattr(last, field, None))


def _read(
    table: Mapping[str, tuple[str, Reader]], get: Callable[[str], object]
) -> dict[str, float | str]:
    return {
        attribute: value
        for field, (attribute, reader) in table.items()
        if (told := get(field)) is not None and (value := reader(told)) is not None
    }
