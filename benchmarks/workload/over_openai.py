"""The workload over Ollama's OpenAI-compatible endpoint, traced by mlflow.openai.autolog.

python over_openai.py http://127.0.0.1:11434
"""

import base64
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import mlflow
from diary import (
    BREAK_AFTER,
    CHAT_MODEL,
    EMBEDDING_MODEL,
    ICON,
    LOOP,
    MISSING_MODEL,
    PHOTO,
    QUESTION,
    SCHEMA,
    SYSTEM,
    TIP,
    TOOL,
    keep,
)
from openai import OpenAI  # type: ignore[import-not-found]  # in its own environment only
from own_spans import MlflowSpans

# What a user writes: begin
mlflow.openai.autolog()
# What a user writes: end


class Workload:
    """The application.

    Args:
        url: where the Ollama server answers.
    """

    def __init__(self, url: str) -> None:
        self._client = OpenAI(base_url=f"{url}/v1", api_key="ollama", max_retries=0)
        self._spans = MlflowSpans()

    def cases(self) -> dict[str, Callable[[], object]]:
        """Return what it does, by name: the same as over the Ollama SDK."""
        return {
            "chat": self.chat,
            "stream": partial(self.streamed, effort="none"),
            "thinking": self.thinking,
            "thinking stream": partial(self.streamed, effort="high"),
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
        settings: dict[str, Any] = {"model": CHAT_MODEL, "reasoning_effort": "none"}
        if more.get("stream"):
            settings["stream_options"] = {"include_usage": True}
        return self._client.chat.completions.create(messages=messages, **settings | more)

    def _say(self, messages: list[Any], **more: Any) -> Any:
        return self._chat(messages, **more).choices[0].message

    def chat(self) -> object:
        """Ask with a system message and options."""
        messages = [{"role": "system", "content": SYSTEM}, _asks(QUESTION)]
        return self._say(messages, temperature=0, seed=7).content

    def streamed(self, *, effort: str) -> object:
        """Ask for a stream, and read it to its end."""
        chunks = self._chat([_asks(QUESTION)], stream=True, reasoning_effort=effort)
        parts = list(_deltas(chunks))
        thinking = "".join(getattr(part, "reasoning", None) or "" for part in parts)
        return [thinking, "".join(part.content or "" for part in parts)]

    def thinking(self) -> object:
        """Ask a model that thinks first."""
        message = self._say([_asks(QUESTION)], reasoning_effort="high")
        return [getattr(message, "reasoning", None), message.content]

    def tools(self, *, stream: bool) -> object:
        """Run the tool that the model calls, and ask again with its result."""
        with self._spans.turn():
            asked = self._ask_with_tools([_asks(TIP)], stream=stream)
            results = [self._run(call) for call in asked["tool_calls"]]
            return self._ask_with_tools([_asks(TIP), asked, *results], stream=stream)["content"]

    def _ask_with_tools(self, messages: list[Any], *, stream: bool) -> dict[str, Any]:
        answer = self._chat(messages, tools=[TOOL], stream=stream)
        parts = list(_deltas(answer)) if stream else [answer.choices[0].message]
        calls = [call for part in parts for call in part.tool_calls or []]
        said = "".join(part.content or "" for part in parts)
        message = {"role": "assistant", "content": said}
        return message | {"tool_calls": [_plain(call) for call in calls]}

    def _run(self, call: dict[str, Any]) -> dict[str, str]:
        function = call["function"]
        result = self._spans.tool(function["name"], json.loads(function["arguments"]))
        return {"role": "tool", "tool_call_id": call["id"], "content": result}

    def structured(self) -> object:
        """Ask for JSON of a schema."""
        schema = {"name": "answer", "schema": SCHEMA}
        wanted = {"type": "json_schema", "json_schema": schema}
        return self._say([_asks(QUESTION)], response_format=wanted, max_tokens=60).content

    def image(self, data: bytes) -> object:
        """Ask about an image."""
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        blocks = [
            {"type": "text", "text": QUESTION},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return self._say([{"role": "user", "content": blocks}]).content

    def generate(self) -> object:
        """Complete a text."""
        return self._client.completions.create(model=CHAT_MODEL, prompt=QUESTION).choices[0].text

    def embed(self) -> object:
        """Embed two texts."""
        answer = self._client.embeddings.create(model=EMBEDDING_MODEL, input=[QUESTION, TIP])
        return len(answer.data)

    def cut_short(self) -> object:
        """Ask for more than the limit lets the model say."""
        return self._say([_asks(LOOP)], max_tokens=5).content

    def turn(self) -> object:
        """Ask on behalf of a user, in a session."""
        with self._spans.turn():
            return self._say([_asks(QUESTION)]).content

    def missing_model(self) -> object:
        """Ask a model that the server does not have."""
        return self._chat([_asks(QUESTION)], model=MISSING_MODEL)

    def broken_off(self) -> object:
        """Leave a stream after some chunks, as a user does who has seen enough."""
        said = []
        for chunk in self._chat([_asks(LOOP)], stream=True, max_tokens=200):
            said.append(chunk.choices[0].delta.content or "")
            if len(said) == BREAK_AFTER:
                break
        return "".join(said)


def _asks(question: str) -> dict[str, Any]:
    return {"role": "user", "content": question}


def _deltas(chunks: Any) -> Any:
    return (choice.delta for chunk in chunks for choice in chunk.choices)


def _plain(call: Any) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


if __name__ == "__main__":
    keep(Workload(sys.argv[1]).cases())
    mlflow.flush_trace_async_logging()
