"""The workload over the Ollama SDK. Nothing in it knows who traces the calls.

python over_ollama.py http://127.0.0.1:11434
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from diary import (
    BREAK_AFTER,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    ICON,
    LOOP,
    MISSING_MODEL,
    OPTIONS,
    PHOTO,
    QUESTION,
    SCHEMA,
    SYSTEM,
    TIP,
    TOOL,
    keep,
)
from own_spans import OpenTelemetrySpans, OwnSpans


class Workload:
    """The application.

    Args:
        client: an ``ollama.Client``, or what offers the same calls.
        spans: how it makes spans of its own.
    """

    def __init__(self, client: Any, spans: OwnSpans) -> None:
        self._client = client
        self._spans = spans

    def cases(self) -> dict[str, Callable[[], object]]:
        """Return what it does, by name."""
        return {
            "chat": self.chat,
            "stream": partial(self.streamed, think=False),
            "thinking": self.thinking,
            "thinking stream": partial(self.streamed, think=True),
            "tools": partial(self.tools, stream=False),
            "tools stream": partial(self.tools, stream=True),
            "JSON": self.structured,
            "icon": partial(self.image, ICON),
            "photo": partial(self.image, PHOTO),
            "generate": self.generate,
            "embed": self.embed,
            "length": self.cut_short,
            "session": self.turn,
            "error": self.missing_model,
            "broken off": self.broken_off,
        }

    def _chat(self, messages: list[Any], **more: Any) -> Any:
        settings: dict[str, Any] = {"model": CHAT_MODEL, "think": False}
        return self._client.chat(messages=messages, **settings | more)

    def chat(self) -> object:
        """Ask with a system message and options."""
        messages = [{"role": "system", "content": SYSTEM}, _asks(QUESTION)]
        return self._chat(messages, options=OPTIONS).message.content

    def streamed(self, *, think: bool) -> object:
        """Ask for a stream, and read it to its end."""
        parts = [chunk.message for chunk in self._chat([_asks(QUESTION)], stream=True, think=think)]
        thinking = "".join(part.thinking or "" for part in parts)
        return [thinking, "".join(part.content or "" for part in parts)]

    def thinking(self) -> object:
        """Ask a model that thinks first."""
        message = self._chat([_asks(QUESTION)], think=True).message
        return [message.thinking, message.content]

    def tools(self, *, stream: bool) -> object:
        """Run the tool that the model calls, and ask again with its result."""
        with self._spans.turn():
            asked = self._ask_with_tools([_asks(TIP)], stream=stream)
            results = [
                self._run(call.function.name, call.function.arguments)
                for call in asked["tool_calls"]
            ]
            return self._ask_with_tools([_asks(TIP), asked, *results], stream=stream)["content"]

    def _ask_with_tools(self, messages: list[Any], *, stream: bool) -> dict[str, Any]:
        answer = self._chat(messages, tools=[TOOL], stream=stream)
        parts = [chunk.message for chunk in answer] if stream else [answer.message]
        return {
            "role": "assistant",
            "content": "".join(part.content or "" for part in parts),
            "tool_calls": [call for part in parts for call in part.tool_calls or []],
        }

    def _run(self, name: str, arguments: Any) -> dict[str, str]:
        result = self._spans.tool(name, dict(arguments))
        return {"role": "tool", "tool_name": name, "content": result}

    def structured(self) -> object:
        """Ask for JSON of a schema."""
        options = {"num_predict": 60}
        return self._chat([_asks(QUESTION)], format=SCHEMA, options=options).message.content

    def image(self, data: bytes) -> object:
        """Ask about an image."""
        return self._chat([{**_asks(QUESTION), "images": [data]}]).message.content

    def generate(self) -> object:
        """Complete a text."""
        return self._client.generate(model=CHAT_MODEL, prompt=QUESTION, think=False).response

    def embed(self) -> object:
        """Embed two texts."""
        return len(self._client.embed(model=EMBEDDING_MODEL, input=[QUESTION, TIP]).embeddings)

    def cut_short(self) -> object:
        """Ask for more than the limit lets the model say."""
        return self._chat([_asks(LOOP)], options={"num_predict": 5}).message.content

    def turn(self) -> object:
        """Ask on behalf of a user, in a session."""
        with self._spans.turn():
            return self._chat([_asks(QUESTION)]).message.content

    def missing_model(self) -> object:
        """Ask a model that the server does not have."""
        return self._chat([_asks(QUESTION)], model=MISSING_MODEL)

    def broken_off(self) -> object:
        """Leave a stream after some chunks, as a user does who has seen enough."""
        said = []
        for chunk in self._chat([_asks(LOOP)], stream=True, options={"num_predict": 200}):
            said.append(chunk.message.content)
            if len(said) == BREAK_AFTER:
                break
        return "".join(said)


def _asks(question: str) -> dict[str, Any]:
    return {"role": "user", "content": question}


if __name__ == "__main__":
    import ollama

    keep(Workload(ollama.Client(sys.argv[1]), OpenTelemetrySpans()).cases())
