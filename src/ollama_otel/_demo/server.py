"""Whom the demo asks: a running Ollama with a model, or else the stand-in."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ollama import Client

from ollama_otel._demo import app
from ollama_otel.mlflow._errors import redacted
from ollama_otel.testing import Answer, Default, FakeOllama, Reply, Request, ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ollama import ListResponse

_DEFAULT_HOST: Final = "http://127.0.0.1:11434"
_PROBE_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 600.0
_STAND_IN_MODEL: Final = "qwen3"
_WANTED: Final = frozenset({"tools", "thinking"})
# To look at each of many models would take longer than the demo itself.
_MOST_MODELS: Final = 10


@dataclass(frozen=True)
class Server:
    """Who answers.

    Args:
        client: talks to it.
        model: the model to ask.
        introduction: a sentence that says who it is.
    """

    client: Client
    model: str
    introduction: str


class UnknownModelError(Exception):
    """The model that was asked for is not there; the message says which are."""


class _NoOllamaError(Exception):
    """There is no Ollama to be asked; the message says why."""


@contextmanager
def serving(model: str | None = None, *, stand_in: bool = False) -> Iterator[Server]:
    """Find a running Ollama, or run the stand-in.

    Args:
        model: the model to ask; by default one that can do what the demo shows.
        stand_in: do not look for Ollama.

    Raises:
        UnknownModelError: Ollama runs and does not have that model.
    """
    try:
        server = None if stand_in else _running(model)
        reason = "Ollama is not looked for"
    except _NoOllamaError as error:
        server, reason = None, str(error)
    if server is not None:
        yield server
        return
    with FakeOllama(_stand_in_answer, missing_models=[app.MISSING_MODEL]) as fake:
        # Straight to it, whatever proxy the environment names.
        client = Client(fake.url, trust_env=False, timeout=_CALL_SECONDS)
        name = model or _STAND_IN_MODEL
        yield Server(client, name, f"{reason}: the built-in stand-in answers as {name}.")


# A running Ollama ---------------------------------------------------------------------------


def _running(model: str | None) -> Server:
    host = redacted(os.environ.get("OLLAMA_HOST") or _DEFAULT_HOST)
    try:
        probe = Client(timeout=_PROBE_SECONDS)
        models = probe.list().models
    except ConnectionError:
        raise _NoOllamaError(f"No Ollama at {host}") from None
    except Exception as error:
        # Whatever listens there may send anything, or nothing.
        problem = f"What is at {host} does not answer as Ollama does ({type(error).__name__})"
        raise _NoOllamaError(problem) from error
    chosen = _named(model, models, host) if model else _most_able(probe, models, host)
    introduction = f"Ollama answers at {host}, with the model {chosen}."
    return Server(Client(timeout=_CALL_SECONDS), chosen, introduction)


def _named(model: str, models: "Sequence[ListResponse.Model]", host: str) -> str:
    there = [known.model or "" for known in models]
    if model not in there and f"{model}:latest" not in there:
        known = ", ".join(there) or "none at all"
        raise UnknownModelError(f"Ollama at {host} has no model {model!r}; it has: {known}")
    return model


def _most_able(client: Client, models: "Sequence[ListResponse.Model]", host: str) -> str:
    """Choose the model that can do most of what the demo shows, and of those the smallest."""
    local = [model for model in models if _is_local(model)]
    smallest = sorted(local, key=lambda model: int(model.size or 0))[:_MOST_MODELS]
    able = {model.model or "": _capabilities(client, model.model or "") for model in smallest}
    chatty = [model for model, capabilities in able.items() if "completion" in capabilities]
    if not chatty:
        raise _NoOllamaError(
            f"Ollama at {host} has no model to chat with (ollama pull qwen3:0.6b gets one)"
        )
    return max(chatty, key=lambda model: len(able[model] & _WANTED))


def _is_local(model: "ListResponse.Model") -> bool:
    """Tell whether a model runs here; the others cost money and hear what is asked."""
    return not (model.model or "").endswith(("-cloud", ":cloud"))


def _capabilities(client: Client, model: str) -> frozenset[str]:
    try:
        said = getattr(client.show(model), "capabilities", None)
    except Exception:  # noqa: BLE001  (a broken model must not end the search)
        return frozenset()
    # Older servers do not say.
    return frozenset(said or ({"embedding"} if "embed" in model else {"completion"}))


# The stand-in -------------------------------------------------------------------------------

# What was said last → what the stand-in says to it.
_ANSWERS: Final[Mapping[str, Reply]] = {
    app.MODELS_QUESTION: Answer(
        "An MLflow model is a folder: the MLmodel file that names its flavors, the model's own "
        "files, a signature, an input example, and the environment it needs.",
        delay=0.2,
    ),
    app.SKY_QUESTION: Answer(
        "The sky is blue because air scatters the blue part of sunlight more than the red.",
        delay=0.1,
        chunk_delay=0.01,
    ),
    app.NUMBERS_QUESTION: Answer(
        "9.8 is larger than 9.11.",
        thinking="Compare the tenths first: 9.8 has 8, and 9.11 has 1. So 9.8 is larger.",
        delay=0.3,
    ),
    app.TIP_QUESTION: Answer(
        tool_calls=[ToolCall("calculate_tip", {"bill_amount": 187.32, "tip_percentage": 22})],
        delay=0.15,
    ),
    "41.21": Answer("The tip comes to $41.21, which makes $228.53 in all.", delay=0.15),
}


def _stand_in_answer(request: Request) -> Reply:
    body = request.body or {}
    if body.get("model") == app.MISSING_MODEL or not body.get("messages"):
        return Default()
    return _ANSWERS.get(body["messages"][-1].get("content"), Default())
