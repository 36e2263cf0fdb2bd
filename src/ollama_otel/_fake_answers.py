"""What the stand-in server says when no script tells it: pure functions over request bodies.

Nothing here knows of HTTP or of the server. The same request always gets the same answer. The
wording of the refusals is Ollama's own (v0.24.0, ``server/routes.go`` and ``api/types.go``).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json = dict[str, Any]

ALL_CAPABILITIES = ("completion", "tools", "thinking", "vision", "embedding")
DEFAULT_MODELS = ("llama3.2:latest",)
DEFAULT_DIMENSIONS = 64
NOTHING_ASKED = "There is nothing to answer."

# The first word found in the question picks the answer.
KNOWN_ANSWERS = (
    ("sky", "The sky is blue because air scatters light."),
    (
        "mlflow",
        "An MLflow model has a flavor, a signature, its dependencies and an input example.",
    ),
    ("trace", "A trace is the tree of spans that one request leaves behind."),
    ("hello", "Hello! How can I help?"),
)

# Words in a tool's name that say nothing about its subject.
PLAIN_WORDS = frozenset({"get", "set", "the", "and", "for", "tool", "call", "calculate", "compute"})

# Option name → what Ollama calls its type when a value does not fit (api.Options.FromMap).
OPTION_TYPES = {
    **dict.fromkeys(
        ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n")
        + ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"),
        "integer",
    ),
    **dict.fromkeys(
        ("top_p", "min_p", "typical_p", "temperature")
        + ("repeat_penalty", "presence_penalty", "frequency_penalty"),
        "float32",
    ),
    "use_mmap": "boolean",
    "stop": "array",
}
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int, float),
    "float32": (int, float),
    "boolean": (bool,),
    "array": (list,),
}

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUOTED = re.compile(r"[\"“']([^\"”']+)[\"”']")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z]\w*(?: [A-Z]\w*)*")
_ZERO_DURATION = re.compile(r"[+-]?0+(\.0*)?(ns|us|µs|ms|s|m|h)?")


class Said(NamedTuple):
    """One answer of a model: pieces of thought, pieces of text, and tool calls."""

    chunks: list[str]
    thinking_chunks: list[str]
    calls: list[tuple[str, Json]]
    done_reason: str = "stop"
    eval_count: int | None = None


class Refusal(NamedTuple):
    """An HTTP status and Ollama's message."""

    status: int
    message: str


def tokens(text: str) -> list[str]:
    """Cut a text into pieces as a tokenizer would: joined, they give the text again."""
    return _TOKEN.findall(text)


def token_ids(texts: Sequence[str]) -> list[int]:
    """Turn pieces of text into stable numbers, as Ollama's ``context`` has them."""
    return [zlib.crc32(piece.encode()) % 32_000 for text in texts for piece in tokens(text)]


def prompt_texts(body: Json) -> list[str]:
    """Collect all the text in a request that a model would have to read."""
    messages = body.get("messages") or []
    inputs = body.get("input") or []
    fixed = [body.get("system"), body.get("prompt"), *(m.get("content") for m in messages)]
    tools = [json.dumps(tool) for tool in body.get("tools") or []]
    given = [inputs] if isinstance(inputs, str) else inputs
    return [text for text in (*fixed, *given, *tools) if text]


def prompt_tokens(body: Json) -> int:
    """Count the tokens of a request, one more for the beginning of the text."""
    return 1 + sum(len(tokens(text)) for text in prompt_texts(body))


def is_load(body: Json) -> bool:
    """Tell whether a chat or generate request only loads or unloads the model."""
    return not (body.get("messages") or body.get("prompt"))


def unloads(body: Json) -> bool:
    """Tell whether ``keep_alive`` asks for the model to leave memory at once."""
    keep_alive = body.get("keep_alive")
    if isinstance(keep_alive, str):
        return _ZERO_DURATION.fullmatch(keep_alive) is not None
    return keep_alive == 0 and keep_alive is not None


def say(body: Json) -> Said:
    """Answer a chat or generate request."""
    thought = tokens(_thought(body)) if body.get("think") else []
    calls = _calls(body)
    spoken = [] if calls else tokens(_text(body))
    return _limited(Said(spoken, thought, calls), (body.get("options") or {}).get("num_predict"))


def _limited(said: Said, limit: int | None) -> Said:
    """Cut an answer short at ``num_predict`` tokens, as a model would be."""
    length = len(said.thinking_chunks) + len(said.chunks)
    if not limit or not 0 < limit <= length:
        return said
    thought = said.thinking_chunks[: int(limit)]
    spoken = said.chunks[: int(limit) - len(thought)]
    return Said(spoken, thought, [], "length", int(limit))


def question_of(body: Json) -> str:
    """Find what the user asked last."""
    if "messages" not in body:
        return body.get("prompt") or ""
    asked = [m for m in body["messages"] if m.get("role") == "user"]
    return (asked[-1].get("content") or "") if asked else ""


def _thought(body: Json) -> str:
    return f"The user asks: {_shortened(question_of(body))} A short answer will do."


def _text(body: Json) -> str:
    if body.get("format"):
        return json.dumps(_formatted(body), separators=(",", ":"), ensure_ascii=False)
    return _after_tools(body.get("messages") or []) or _known(question_of(body))


def _formatted(body: Json) -> Any:
    wanted = body["format"]
    if wanted == "json":
        return {"answer": _known(question_of(body))}
    return sample(wanted, question_of(body))


def _known(question: str) -> str:
    if not question.strip():
        return NOTHING_ASKED
    lowered = question.lower()
    echo = f"A short answer to: {_shortened(question)}"
    return next((answer for word, answer in KNOWN_ANSWERS if word in lowered), echo)


def _shortened(text: str, limit: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _after_tools(messages: Sequence[Json]) -> str:
    """Sum up the tool results at the end of a conversation; nothing if there are none."""
    results = _trailing_results(messages)
    called = [call for m in messages for call in m.get("tool_calls") or []]
    names = [call["function"]["name"] for call in called][-len(results) :] if results else []
    names += ["the tool"] * (len(results) - len(names))
    parts = [
        f"{m.get('tool_name') or name} gave {_shortened(str(m.get('content', '')))}"
        for m, name in zip(results, names, strict=True)
    ]
    return f"Here is the answer: {' and '.join(parts)}." if parts else ""


def _trailing_results(messages: Sequence[Json]) -> list[Json]:
    results: list[Json] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, message)
    return results


def _calls(body: Json) -> list[tuple[str, Json]]:
    """Call each tool whose name has a word of the question, or else the first one."""
    tools = [tool["function"] for tool in body.get("tools") or []]
    if not tools or _trailing_results(body.get("messages") or []):
        return []
    question = question_of(body)
    asked = set(_WORD.findall(question.lower()))
    fitting = [tool for tool in tools if _subject(tool["name"]) & asked] or tools[:1]
    return [(t["name"], sample(t.get("parameters") or {}, question) or {}) for t in fitting]


def _subject(name: str) -> set[str]:
    return set(_WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())) - PLAIN_WORDS


def sample(schema: Mapping[str, Any], text: str = "") -> Any:
    """Build a value that a JSON schema accepts, out of numbers and names found in a text.

    Args:
        schema: A JSON schema; of its many keywords type, properties, required, items, minItems,
            minimum, enum, const, default, anyOf, oneOf, allOf and local $ref are heeded.
        text: Where to look for numbers, quoted strings and names, which are used in their order.
    """
    numbers = (float(n) if "." in n else int(n) for n in _NUMBER.findall(text))
    names = iter(_QUOTED.findall(text) or _NAME.findall(text))
    return _sample(schema, _Found(schema, numbers, names), "text")


class _Found(NamedTuple):
    root: Mapping[str, Any]
    numbers: Iterator[float]
    names: Iterator[str]


def _sample(schema: Mapping[str, Any], found: _Found, name: str) -> Any:
    schema = _resolved(schema, found.root)
    fixed = [schema[k] for k in ("const", "default") if k in schema] + schema.get("enum", [])
    if fixed:
        return fixed[0]
    kinds = schema.get("type") or ("object" if "properties" in schema else "string")
    kind = kinds if isinstance(kinds, str) else next(k for k in (*kinds, "null") if k != "null")
    return _SAMPLERS[kind](schema, found, name)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and take the first of several choices."""
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _resolved(target, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _resolved({**schema, key: None, **schema[key][0]}, root)
    return schema


def _sample_object(schema: Mapping[str, Any], found: _Found, _: str) -> Json:
    properties = schema.get("properties") or {}
    wanted = schema.get("required") or properties
    return {name: _sample(properties.get(name, {}), found, name) for name in wanted}


def _sample_array(schema: Mapping[str, Any], found: _Found, name: str) -> list[Any]:
    return [
        _sample(schema.get("items") or {}, found, name)
        for _ in range(max(1, schema.get("minItems", 1)))
    ]


def _sample_number(schema: Mapping[str, Any], found: _Found, _: str) -> float:
    return next(found.numbers, schema.get("minimum", 1))


def _sample_integer(schema: Mapping[str, Any], found: _Found, _: str) -> int:
    return int(next(found.numbers, schema.get("minimum", 1)))


def _sample_string(_schema: Mapping[str, Any], found: _Found, name: str) -> str:
    return next(found.names, name)


def _sample_boolean(*_: object) -> bool:
    return True


def _sample_null(*_: object) -> None:
    return None


_SAMPLERS: dict[str, Any] = {
    "object": _sample_object,
    "array": _sample_array,
    "number": _sample_number,
    "integer": _sample_integer,
    "string": _sample_string,
    "boolean": _sample_boolean,
    "null": _sample_null,
}


def vector(text: str, dimensions: int) -> list[float]:
    """Embed a text: texts that share words lie closer together; length 1.

    Args:
        text: The text; its words count, not their order.
        dimensions: How many numbers to give.
    """
    words = _WORD.findall(text.lower()) or [text]
    total = [
        sum(column) for column in zip(*(_direction(w, dimensions) for w in words), strict=True)
    ]
    norm = math.sqrt(sum(x * x for x in total)) or 1.0
    return [round(x / norm, 7) for x in total]


def _direction(word: str, dimensions: int) -> list[float]:
    """Give each word a direction of its own, the same on every machine."""
    raw = hashlib.shake_128(word.encode()).digest(4 * dimensions)
    return [n / 2**31 for n in struct.unpack(f">{dimensions}i", raw)]


def embedding_texts(body: Json) -> list[str]:
    """List the texts that an embed request wants embedded; an empty string is none."""
    given = body.get("input") or []
    return [given] if isinstance(given, str) else list(given)


def logprobs(pieces: Sequence[str], alternatives: int) -> list[Json]:
    """Give each piece of an answer a log probability, as Ollama writes them."""
    return [_logprob(piece, alternatives) for piece in pieces]


def _logprob(piece: str, alternatives: int) -> Json:
    ranked = [_candidate(piece, 0), *(_candidate(f"<{i}>", -40.5 - i) for i in range(1, 20))]
    top = {"top_logprobs": ranked[:alternatives]} if alternatives else {}
    return {**ranked[0], **top}


def _candidate(piece: str, logprob: float) -> Json:
    return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}


def unfit_option(options: Mapping[str, Any]) -> str | None:
    """Find an option whose value has the wrong type, and say it in Ollama's words."""
    for name, value in options.items():
        kind = OPTION_TYPES.get(name)
        if kind is None or value is None:
            continue
        fits = isinstance(value, PYTHON_TYPES[kind])
        if not fits or (kind in ("integer", "float32") and isinstance(value, bool)):
            return f'option "{name}" must be of type {kind}'
    return None


def unfit_format(wanted: Any) -> str | None:
    """Say in Ollama's words why a format is none that it can follow."""
    if not wanted or wanted == "json" or isinstance(wanted, dict):
        return None
    shown = json.dumps(json.dumps(wanted, separators=(",", ":")))
    return f'invalid format: {shown}; expected "json" or a valid JSON Schema object'


def unparsable(raw: str) -> str | None:
    """Say in Ollama's words why a body is no JSON object; nothing if it is one."""
    if not raw:
        return "missing request body"
    try:
        parsed = json.loads(raw)
    except json.JSONDecodeError as error:
        rest = raw[error.pos :].strip()
        found = f"invalid character '{rest[:1]}' looking for beginning of value"
        return found if rest else "unexpected EOF"
    return None if isinstance(parsed, dict) else "json: cannot unmarshal into a request"


def refusal(path: str, body: Json, capabilities: Sequence[str] | None) -> Refusal | None:
    """Find the reason why Ollama would turn a well-formed request down.

    Args:
        path: The endpoint.
        body: The request.
        capabilities: What the model can do; None when there is no such model.
    """
    model = body.get("model") or body.get("name") or ""
    if not model and path not in ("/api/generate", "/api/embed"):
        return Refusal(400, "model is required")
    if capabilities is None:
        return Refusal(404, _not_found(path, model))
    unable = _unable(path, body, capabilities)
    if unable:
        return Refusal(400, unable)
    wrong = unfit_option(body.get("options") or {}) or unfit_format(body.get("format"))
    return Refusal(500, wrong) if wrong else None


def _not_found(path: str, model: str) -> str:
    if model and path in ("/api/embed", "/api/embeddings"):
        return f'model "{model}" not found, try pulling it first'
    return f"model '{model}' not found"


def _unable(path: str, body: Json, capabilities: Sequence[str]) -> str | None:
    if path not in ("/api/chat", "/api/generate") or (is_load(body) and unloads(body)):
        return None
    if body.get("think") and "thinking" not in capabilities:
        return f'"{body["model"]}" does not support thinking'
    if "completion" not in capabilities:
        return f'"{body["model"]}" does not support {path.removeprefix("/api/")}'
    if body.get("tools") and "tools" not in capabilities:
        return "does not support tools"
    return None


_DETAILS: Json = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}
_MODEL_SIZE = 2_019_393_189


def listed(model: str, now: str) -> Json:
    """Describe a model as ``/api/tags`` does."""
    return {
        "name": model,
        "model": model,
        "modified_at": now,
        "size": _MODEL_SIZE,
        "digest": hashlib.sha256(model.encode()).hexdigest(),
        "details": _DETAILS,
    }


def running(model: str, until: str) -> Json:
    """Describe a model in memory as ``/api/ps`` does."""
    about = listed(model, until)
    del about["modified_at"]
    return {**about, "expires_at": until, "size_vram": _MODEL_SIZE, "context_length": 4096}


def shown(model: str, now: str, capabilities: Sequence[str]) -> Json:
    """Describe a model as ``/api/show`` does."""
    return {
        "modelfile": f"FROM {model}\n",
        "template": "{{ .Prompt }}",
        "details": _DETAILS,
        "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        "capabilities": list(capabilities),
        "modified_at": now,
    }
