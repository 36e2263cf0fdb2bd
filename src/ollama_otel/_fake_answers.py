"""What the stand-in server says: pure functions from a request's body to the lines of an answer.

Nothing here knows of HTTP, of scripts or of faults. The same request always gets the same answer.
The fields and their order are those of answers recorded from Ollama 0.24; the wording of refusals
is that of its ``server/routes.go`` and ``api/types.go``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Json = dict[str, Any]

ALL_CAPABILITIES = ("completion", "tools", "thinking", "vision", "embedding")
CREATED_AT = "2026-01-01T00:00:00.123456789Z"
EXPIRES_AT = "2026-01-01T00:05:00.123456789Z"

_DEFAULT_MODEL = "llama3.2:latest"
_DEFAULT_DIMENSIONS = 64
_VERSION = "0.24.0"
_LOAD_NS = 100_000
_PROMPT_TOKEN_NS = 2_000
_TOKEN_NS = 20_000

# The first word found in the question picks the answer.
_KNOWN_ANSWERS = (
    ("sky", "The sky is blue because air scatters light."),
    (
        "mlflow",
        "An MLflow model has a flavor, a signature, its dependencies and an input example.",
    ),
    ("trace", "A trace is the tree of spans that one request leaves behind."),
    ("hello", "Hello! How can I help?"),
)

# Words in a tool's name that say nothing about its subject.
_PLAIN_WORDS = frozenset({"get", "set", "the", "and", "for", "tool", "call", "calculate"})

# What Ollama calls the type of each option when a value does not fit (api.Options.FromMap).
_OPTION_TYPES = {
    "num_keep": "integer",
    "seed": "integer",
    "num_predict": "integer",
    "top_k": "integer",
    "repeat_last_n": "integer",
    "num_ctx": "integer",
    "num_batch": "integer",
    "num_gpu": "integer",
    "main_gpu": "integer",
    "num_thread": "integer",
    "top_p": "float32",
    "min_p": "float32",
    "typical_p": "float32",
    "temperature": "float32",
    "repeat_penalty": "float32",
    "presence_penalty": "float32",
    "frequency_penalty": "float32",
    "use_mmap": "boolean",
    "stop": "array",
}
_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int, float),
    "float32": (int, float),
    "boolean": (bool,),
    "array": (list,),
}

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUOTED = re.compile(r"[\"“']([^\"”']+)[\"”']")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z]\w*(?: [A-Z]\w*)*")
_ZERO_DURATION = re.compile(r"[+-]?0+(\.0*)?(ns|us|µs|ms|s|m|h)?")


class Content(NamedTuple):
    """An answer before it becomes bytes: JSON lines, or one text that is no JSON."""

    lines: Sequence[Json | str]
    streamed: bool = False
    status: int = 200


class Said(NamedTuple):
    """One answer of a model.

    Fields of its last line that ``end`` holds replace the computed ones; None leaves one out.
    """

    chunks: Sequence[str]
    thinking_chunks: Sequence[str] = ()
    tool_calls: Sequence[Json] = ()
    end: Mapping[str, Any] = MappingProxyType({})


class Pace(NamedTuple):
    """What the durations in an answer have to account for, in nanoseconds."""

    delay: int = 0
    chunk_delay: int = 0


class Models(NamedTuple):
    """The models that a server has: all but the missing ones, unless they are listed.

    Names are full ones, ``llama3.2:latest``.
    """

    listed: Mapping[str, Sequence[str]] | None = None
    missing: frozenset[str] = frozenset()

    def capabilities(self, model: str) -> Sequence[str] | None:
        """Tell what a model can do; None if there is no such model."""
        name = full_name(model)
        if not model or name in self.missing:
            return None
        return ALL_CAPABILITIES if self.listed is None else self.listed.get(name)

    def names(self) -> list[str]:
        """List the models by name."""
        listed = (_DEFAULT_MODEL,) if self.listed is None else self.listed
        return [name for name in listed if name not in self.missing]


def full_name(model: str) -> str:
    """Name a model as Ollama does, with a tag."""
    return model if ":" in model else f"{model}:latest"


# --- The answer to a request ---------------------------------------------------------------------


class Asked(NamedTuple):
    """A request to the server, and what the server knows when it arrives."""

    method: str
    path: str
    body: Any
    models: Models = Models()
    loaded: Sequence[str] = ()


def respond(asked: Asked, pace: Pace) -> Content:
    """Answer any request as an Ollama server would."""
    methods, answer = _ROUTES.get(asked.path, ((), None))
    if answer is None:
        return Content(["404 page not found"], status=404)
    if asked.method not in methods:
        return Content(["405 method not allowed"], status=405)
    return answer(asked, pace)


def _root(_: Asked, __: Pace) -> Content:
    return Content(["Ollama is running"])


def _version(_: Asked, __: Pace) -> Content:
    return Content([{"version": _VERSION}])


def _tags(asked: Asked, _: Pace) -> Content:
    return Content([{"models": [_about(name) for name in asked.models.names()]}])


def _ps(asked: Asked, _: Pace) -> Content:
    return Content([{"models": [_running(name) for name in asked.loaded]}])


def _no_default(asked: Asked, _: Pace) -> Content:
    reason = f"FakeOllama has no default answer for {asked.path}: give it a script with a Raw"
    return Content([{"error": reason}], status=501)


def _model_call(asked: Asked, pace: Pace) -> Content:
    """Answer a call of a model, or say why not."""
    garbled = _garbled(asked.path, asked.body)
    if garbled:
        return Content([{"error": garbled}], status=400)
    capabilities = asked.models.capabilities(_model_of(asked.body))
    refused = _refusal(asked.path, asked.body, capabilities)
    if refused:
        status, reason = refused
        return Content([{"error": reason}], status=status)
    return _MODEL_CALLS[asked.path](asked, pace)


def _said(asked: Asked, pace: Pace) -> Content:
    if not _is_load(asked.body):
        return model_answer(asked.path, asked.body, say(asked.body), pace)
    reason = "unload" if unloads(asked.body) else "load"
    empty = _frame(asked.path, asked.body, {"content": ""}, done=True)
    return Content([empty | {"done_reason": reason}])


def _embedded(asked: Asked, pace: Pace) -> Content:
    dimensions = asked.body.get("dimensions") or _DEFAULT_DIMENSIONS
    vectors = [vector(text, dimensions) for text in _texts_to_embed(asked.body)]
    return embeddings_answer(asked.body, vectors, {}, pace)


def _embedded_one(asked: Asked, _: Pace) -> Content:
    prompt = asked.body.get("prompt")
    return Content([{"embedding": vector(prompt, _DEFAULT_DIMENSIONS) if prompt else []}])


def _shown(asked: Asked, _: Pace) -> Content:
    model = _model_of(asked.body)
    return Content([_about_in_full(model, asked.models.capabilities(model) or ())])


_MODEL_CALLS: Mapping[str, Callable[[Asked, Pace], Content]] = {
    "/api/chat": _said,
    "/api/generate": _said,
    "/api/embed": _embedded,
    "/api/embeddings": _embedded_one,
    "/api/show": _shown,
}
_ROUTES: Mapping[str, tuple[Sequence[str], Callable[[Asked, Pace], Content]]] = {
    "/": (("GET", "HEAD"), _root),
    "/api/version": (("GET", "HEAD"), _version),
    "/api/tags": (("GET", "HEAD"), _tags),
    "/api/ps": (("GET",), _ps),
    **dict.fromkeys(_MODEL_CALLS, (("POST",), _model_call)),
    "/api/pull": (("POST",), _no_default),
    "/api/push": (("POST",), _no_default),
    "/api/create": (("POST",), _no_default),
    "/api/copy": (("POST",), _no_default),
    "/api/delete": (("DELETE",), _no_default),
}
LOADING_PATHS = frozenset(_MODEL_CALLS) - {"/api/show"}


# --- Refusals ------------------------------------------------------------------------------------


# How Go names what JSON holds, and what Ollama reads it into.
_GO_KINDS = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_GO_TYPES = {
    "/api/chat": "api.ChatRequest",
    "/api/generate": "api.GenerateRequest",
    "/api/embed": "api.EmbedRequest",
    "/api/embeddings": "api.EmbeddingRequest",
    "/api/show": "api.ShowRequest",
}


def _garbled(path: str, body: Any) -> str | None:
    """Say why a body is no JSON object; it is text where it could not be parsed."""
    if isinstance(body, dict):
        return None
    if body is None:
        return "missing request body"
    kind, go_type = _GO_KINDS[type(body)], _GO_TYPES[path]
    mismatch = f"json: cannot unmarshal {kind} into Go value of type {go_type}"
    return (_syntax_error(body) if isinstance(body, str) else None) or mismatch


def _syntax_error(text: str) -> str | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        unexpected = f"invalid character '{rest[:1]}' looking for beginning of value"
        return unexpected if rest else "unexpected EOF"
    return None


def _model_of(body: Json) -> str:
    return str(body.get("model") or body.get("name") or "")


def _refusal(path: str, body: Json, capabilities: Sequence[str] | None) -> tuple[int, str] | None:
    """Find the status and the message with which a well-formed request is turned down."""
    model = _model_of(body)
    if not model and path not in ("/api/generate", "/api/embed"):
        return 400, "model is required"
    if capabilities is None:
        return 404, _not_found(path, model)
    unable = _unable(path, body, capabilities)
    if unable:
        return 400, unable
    wrong = _unfit_option(body.get("options") or {}) or _unfit_format(body.get("format"))
    return (500, wrong) if wrong else None


def _not_found(path: str, model: str) -> str:
    if model and path in ("/api/embed", "/api/embeddings"):
        return f'model "{model}" not found, try pulling it first'
    return f"model '{model}' not found"


def _unable(path: str, body: Json, capabilities: Sequence[str]) -> str | None:
    if path not in ("/api/chat", "/api/generate") or (_is_load(body) and unloads(body)):
        return None
    if body.get("think") and "thinking" not in capabilities:
        return f'"{body["model"]}" does not support thinking'
    if "completion" not in capabilities:
        return f'"{body["model"]}" does not support {path.removeprefix("/api/")}'
    if body.get("tools") and "tools" not in capabilities:
        return "does not support tools"
    return None


def _unfit_option(options: Mapping[str, Any]) -> str | None:
    for name, value in options.items():
        kind = _OPTION_TYPES.get(name)
        if kind and value is not None and not _fits(kind, value):
            return f'option "{name}" must be of type {kind}'
    return None


def _fits(kind: str, value: Any) -> bool:
    types = _PYTHON_TYPES[kind]
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _unfit_format(wanted: Any) -> str | None:
    if not wanted or wanted == "json" or isinstance(wanted, dict):
        return None
    shown = json.dumps(json.dumps(wanted, separators=(",", ":")))
    return f'invalid format: {shown}; expected "json" or a valid JSON Schema object'


# --- Lines ---------------------------------------------------------------------------------------


def model_answer(path: str, body: Json, said: Said, pace: Pace) -> Content:
    """Put what a model says into the lines that the endpoint sends."""
    streamed = body.get("stream") is not False
    pieces = _pieces(said)
    parts = [_frame(path, body, p, done=False) | _logprobs(body, [p]) for p in pieces if streamed]
    last = {"content": ""} if streamed else _joined(pieces)
    end = {
        "done_reason": "stop",
        **_context(path, body, pieces),
        **({} if streamed else _logprobs(body, pieces)),
        **_numbers(body, pieces, pace if streamed else Pace(pace.delay)),
    }
    return Content(
        [*parts, _frame(path, body, last, done=True) | _given({**end, **said.end})], streamed
    )


def embeddings_answer(
    body: Json, vectors: Sequence[Sequence[float]], end: Mapping[str, Any], pace: Pace
) -> Content:
    """Put vectors into the line that ``/api/embed`` sends."""
    prompt_ns = _PROMPT_TOKEN_NS * _prompt_tokens(body) + pace.delay
    numbers = {
        "total_duration": _LOAD_NS + prompt_ns,
        "load_duration": _LOAD_NS,
        "prompt_eval_count": _prompt_tokens(body),
    }
    counted = _given({**numbers, **end}) if vectors else {}
    return Content([{"model": _model_of(body), "embeddings": vectors} | counted])


def _given(values: Mapping[str, Any]) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _pieces(said: Said) -> list[Json]:
    """List what each line of a stream brings, in Ollama's order."""
    return [
        *({"content": "", "thinking": piece} for piece in said.thinking_chunks),
        *({"content": piece} for piece in said.chunks),
        *({"content": "", "tool_calls": [call]} for call in said.tool_calls),
    ]


def _joined(pieces: Sequence[Json]) -> Json:
    thinking = "".join(piece.get("thinking", "") for piece in pieces)
    calls = [call for piece in pieces for call in piece.get("tool_calls", ())]
    return {
        "content": "".join(piece["content"] for piece in pieces),
        **({"thinking": thinking} if thinking else {}),
        **({"tool_calls": calls} if calls else {}),
    }


def _frame(path: str, body: Json, piece: Json, *, done: bool) -> Json:
    """Put a piece of an answer where the endpoint has it."""
    if path == "/api/chat":
        said = {"message": {"role": "assistant", **piece}}
    else:
        said = {"response" if name == "content" else name: piece[name] for name in piece}
    return {"model": _model_of(body), "created_at": CREATED_AT, **said, "done": done}


def _context(path: str, body: Json, pieces: Sequence[Json]) -> Json:
    """Number the tokens of prompt and answer, which generate gives back unless in raw mode."""
    if path != "/api/generate" or body.get("raw"):
        return {}
    texts = [*_prompt_texts(body), *(piece["content"] for piece in pieces)]
    return {"context": [zlib.crc32(t.encode()) % 32_000 for text in texts for t in tokens(text)]}


def _numbers(body: Json, pieces: Sequence[Json], pace: Pace) -> Json:
    """Count the tokens, two more for the marks round a thought and one for the end."""
    prompt_count = _prompt_tokens(body)
    count = len(pieces) + 1 + (2 if any("thinking" in piece for piece in pieces) else 0)
    prompt_ns = _PROMPT_TOKEN_NS * prompt_count + pace.delay
    answer_ns = _TOKEN_NS * count + pace.chunk_delay * len(pieces)
    return {
        "total_duration": _LOAD_NS + prompt_ns + answer_ns,
        "load_duration": _LOAD_NS,
        "prompt_eval_count": prompt_count,
        "prompt_eval_duration": prompt_ns,
        "eval_count": count,
        "eval_duration": answer_ns,
    }


def _logprobs(body: Json, pieces: Sequence[Json]) -> Json:
    if not body.get("logprobs"):
        return {}
    texts = [piece["content"] or piece.get("thinking", "") for piece in pieces]
    return {"logprobs": [_logprob(text, body.get("top_logprobs") or 0) for text in texts]}


def _logprob(text: str, alternatives: int) -> Json:
    """Make the text certain, and its alternatives all but impossible."""
    ranked = [_candidate(text, 0), *(_candidate(f"<{i}>", -40.5 - i) for i in range(20))]
    return {**ranked[0], **({"top_logprobs": ranked[:alternatives]} if alternatives else {})}


def _candidate(text: str, logprob: float) -> Json:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


# --- What a model says ---------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """Cut a text into pieces as a tokenizer would: joined, they give the text again."""
    return _TOKEN.findall(text)


def tool_call(body: Json, index: int, name: str, arguments: Mapping[str, Any]) -> Json:
    """Write a tool call, its id counted through the conversation."""
    earlier = sum(len(m.get("tool_calls") or ()) for m in body.get("messages") or ())
    function = {"index": index, "name": name, "arguments": dict(arguments)}
    return {"id": f"call_{earlier + index:08d}", "function": function}


def say(body: Json) -> Said:
    """Answer a chat or generate request as a model would."""
    thought = tokens(_thought(body)) if body.get("think") else []
    calls = [tool_call(body, i, *call) for i, call in enumerate(_calls(body))]
    said = Said([] if calls else tokens(_text(body)), thought, calls)
    return _limited(said, (body.get("options") or {}).get("num_predict") or 0)


def _limited(said: Said, limit: int) -> Said:
    """Cut an answer short at ``num_predict`` tokens; without a positive one there is no limit."""
    if not 0 < limit <= len(said.thinking_chunks) + len(said.chunks):
        return said
    thought = said.thinking_chunks[: int(limit)]
    spoken = said.chunks[: int(limit) - len(thought)]
    return Said(spoken, thought, (), {"done_reason": "length", "eval_count": int(limit)})


def _is_load(body: Json) -> bool:
    return not (body.get("messages") or body.get("prompt"))


def unloads(body: Json) -> bool:
    """Tell whether ``keep_alive`` asks for the model to leave memory at once."""
    keep_alive = body.get("keep_alive")
    if isinstance(keep_alive, str):
        return _ZERO_DURATION.fullmatch(keep_alive) is not None
    return keep_alive is not None and keep_alive == 0


def _prompt_texts(body: Json) -> list[str]:
    messages = body.get("messages") or []
    tools = [json.dumps(tool) for tool in body.get("tools") or []]
    fixed = [body.get("system"), body.get("prompt"), *(m.get("content") for m in messages)]
    return [text for text in (*fixed, *_texts_to_embed(body), *tools) if text]


def _prompt_tokens(body: Json) -> int:
    """Count the tokens of a request, one more for the beginning of the text."""
    return 1 + sum(len(tokens(text)) for text in _prompt_texts(body))


def _question(body: Json) -> str:
    """Find what the user asked last."""
    if "messages" not in body:
        return body.get("prompt") or ""
    asked = [m.get("content") for m in body["messages"] if m.get("role") == "user"]
    return asked[-1] or "" if asked else ""


def _thought(body: Json) -> str:
    return f"The user asks: {_shortened(_question(body))} A short answer will do."


def _text(body: Json) -> str:
    if body.get("format"):
        return json.dumps(_formatted(body), separators=(",", ":"), ensure_ascii=False)
    return _after_tools(body.get("messages") or []) or _known(_question(body))


def _formatted(body: Json) -> Any:
    if body["format"] == "json":
        return {"answer": _known(_question(body))}
    return sample(body["format"], _question(body))


def _known(question: str) -> str:
    if not question.strip():
        return "There is nothing to answer."
    lowered = question.lower()
    echo = f"A short answer to: {_shortened(question)}"
    return next((answer for word, answer in _KNOWN_ANSWERS if word in lowered), echo)


def _shortened(text: str, limit: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _after_tools(messages: Sequence[Json]) -> str:
    """Sum up the tool results at the end of a conversation; nothing if there are none."""
    results = _trailing_results(messages)
    parts = [
        f"{message.get('tool_name') or 'the tool'} gave {_shortened(message.get('content') or '')}"
        for message in results
    ]
    return f"Here is the answer: {' and '.join(parts)}." if parts else ""


def _trailing_results(messages: Sequence[Json]) -> Sequence[Json]:
    roles = [message.get("role") for message in messages]
    start = next((i for i in range(len(roles), 0, -1) if roles[i - 1] != "tool"), 0)
    return messages[start:]


def _calls(body: Json) -> list[tuple[str, Json]]:
    """Call each tool whose name has a word of the question, or else the first one."""
    tools = [tool["function"] for tool in body.get("tools") or []]
    if not tools or _trailing_results(body.get("messages") or []):
        return []
    question = _question(body)
    asked = set(_WORD.findall(question.lower()))
    fitting = [tool for tool in tools if _subject(tool["name"]) & asked] or tools[:1]
    return [(t["name"], sample(t.get("parameters") or {}, question)) for t in fitting]


def _subject(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)
    return set(spaced.lower().split()) - _PLAIN_WORDS


# --- Values for JSON schemas ---------------------------------------------------------------------


class _Found(NamedTuple):
    root: Mapping[str, Any]
    numbers: Iterator[float]
    names: Iterator[str]


def sample(schema: Mapping[str, Any], text: str = "") -> Any:
    """Build a value that a JSON schema accepts, out of the numbers and names found in a text.

    Args:
        schema: The schema of an object. Of its many keywords type, properties, required, items,
            minItems, minimum, enum, const, default, anyOf, oneOf, allOf and local $ref count.
        text: Where to look for numbers, quoted strings and names; they are used in their order.
    """
    numbers = (float(n) if "." in n else int(n) for n in _NUMBER.findall(text))
    names = iter(_QUOTED.findall(text) or _NAME.findall(text))
    return _sample({"type": "object", **schema}, _Found(schema, numbers, names), "")


def _sample(schema: Mapping[str, Any], found: _Found, name: str) -> Any:
    schema = _resolved(schema, found.root)
    fixed = [schema[key] for key in ("const", "default") if key in schema]
    fixed += schema.get("enum") or []
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
    choices = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), None)
    return _resolved(choices[0], root) if choices else schema


def _sample_object(schema: Mapping[str, Any], found: _Found, _: str) -> Json:
    properties = schema.get("properties") or {}
    wanted = schema.get("required") or properties
    return {name: _sample(properties.get(name) or {}, found, name) for name in wanted}


def _sample_array(schema: Mapping[str, Any], found: _Found, name: str) -> list[Any]:
    count = max(1, schema.get("minItems") or 0)
    return [_sample(schema.get("items") or {}, found, name) for _ in range(count)]


def _sample_number(schema: Mapping[str, Any], found: _Found, _: str) -> float:
    return next(found.numbers, schema.get("minimum", 1))


_SAMPLERS: Mapping[str, Callable[[Mapping[str, Any], _Found, str], Any]] = {
    "object": _sample_object,
    "array": _sample_array,
    "number": _sample_number,
    "integer": lambda schema, found, name: int(_sample_number(schema, found, name)),
    "string": lambda _, found, name: next(found.names, name),
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}


# --- Embeddings ----------------------------------------------------------------------------------


def _texts_to_embed(body: Json) -> list[str]:
    """List the texts of an embed request; an empty string is none, as for Ollama."""
    given = body.get("input") or []
    return [given] if isinstance(given, str) else given


def vector(text: str, dimensions: int) -> list[float]:
    """Embed a text in a vector of length 1; texts that share words lie closer together."""
    words = _WORD.findall(text.lower()) or [text]
    directions = (_direction(word, dimensions) for word in words)
    total = [sum(column) for column in zip(*directions, strict=True)]
    length = math.hypot(*total)
    return [round(number / length, 7) for number in total]


def _direction(word: str, dimensions: int) -> Iterable[float]:
    """Give each word a direction of its own, the same on every machine."""
    raw = hashlib.shake_128(word.encode()).digest(4 * dimensions)
    return struct.unpack(f">{dimensions}i", raw)


# --- Models --------------------------------------------------------------------------------------

_MODEL_SIZE = 2_019_393_189
_DETAILS: Json = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}


def _about(model: str) -> Json:
    return {
        "name": model,
        "model": model,
        "modified_at": CREATED_AT,
        "size": _MODEL_SIZE,
        "digest": hashlib.sha256(model.encode()).hexdigest(),
        "details": _DETAILS,
    }


def _running(model: str) -> Json:
    about = _about(model)
    del about["modified_at"]
    return about | {
        "expires_at": EXPIRES_AT,
        "size_vram": _MODEL_SIZE,
        "context_length": 4096,
    }


def _about_in_full(model: str, capabilities: Sequence[str]) -> Json:
    return {
        "modelfile": f"FROM {full_name(model)}\n",
        "template": "{{ .Prompt }}",
        "details": _DETAILS,
        "model_info": {"general.architecture": "llama", "llama.context_length": 131_072},
        "capabilities": list(capabilities),
        "modified_at": CREATED_AT,
    }
