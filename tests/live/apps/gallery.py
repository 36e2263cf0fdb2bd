"""An application that makes one trace of each kind, to be looked at, and prints what it makes.

python gallery.py http://127.0.0.1:11434
"""

# ruff: noqa: T201 - a script, and it prints

import json
import os
import struct
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from opentelemetry import trace

os.environ["OLLAMA_HOST"] = sys.argv[1]

import ollama

MODEL, EMBEDDER = "scripted", "embedder"
WHY = {"role": "user", "content": "Why is the sky blue?"}
TIP = {"role": "user", "content": "What is the tip for a $187.32 bill with a 22% tip?"}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["answer", "n"],
}

tracer = trace.get_tracer("gallery")


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate the tip amount from the bill and the percentage.

    Args:
        bill_amount: The total bill amount
        tip_percentage: The percentage to give, as a whole number
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


def get_weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: The name of the city
    """
    return {"Paris": "rain, 11 degrees", "Tokyo": "sun, 24 degrees"}[city]


def png(size: int) -> bytes:
    """Draw a square picture: an evening sky over the sea."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    def row(y: int) -> bytes:
        sky = y < size * 2 // 3
        pixel = (255 - y * 160 // size, 130, 60 + y * 190 // size) if sky else (20, 60, 110)
        return b"\0" + bytes(pixel) * size

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(map(row, range(size))))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def plain() -> None:
    system = {"role": "system", "content": "You are a physicist. Be brief."}
    options = {"temperature": 0, "top_p": 0.9, "seed": 7, "num_predict": 64, "stop": ["STOP"]}
    ollama.chat(MODEL, [system, WHY], think=False, options=options)


def streamed() -> None:
    for _chunk in ollama.chat(MODEL, [WHY], think=False, stream=True):
        pass


def thinking() -> None:
    ollama.chat(MODEL, [WHY], think=True)


def unfinished_thought() -> None:
    ollama.chat(MODEL, [WHY], think=True, options={"num_predict": 4})


def tool_call() -> None:
    ollama.chat(MODEL, [TIP], tools=[calculate_tip], think=False)


def two_tool_calls() -> None:
    both = {"role": "user", "content": "both"}
    for _chunk in ollama.chat(MODEL, [both], tools=[get_weather], think=False, stream=True):
        pass


def tool_results() -> None:
    both = {"role": "user", "content": "both"}
    cities = ("Paris", "Tokyo")
    calls = [{"function": {"name": "get_weather", "arguments": {"city": city}}} for city in cities]
    asked = {"role": "assistant", "content": "", "tool_calls": calls}
    results = [
        {"role": "tool", "tool_name": "get_weather", "content": get_weather(city)}
        for city in cities
    ]
    ollama.chat(MODEL, [both, asked, *results], tools=[get_weather], think=False)


def execute(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": json.dumps(arguments),
    }
    with tracer.start_as_current_span(f"execute_tool {name}", attributes=attributes) as span:
        result = calculate_tip(**arguments)
        span.set_attribute("gen_ai.tool.call.result", result)
    return {"role": "tool", "content": result, "tool_name": name}


def tool_loop() -> None:
    question = json.dumps({"question": TIP["content"]})
    inputs = {"mlflow.spanType": "CHAIN", "mlflow.spanInputs": question}
    with tracer.start_as_current_span("ToolCallingLoop", attributes=inputs) as loop:
        messages: list[Any] = [TIP]
        while True:
            said = ollama.chat(MODEL, messages, tools=[calculate_tip]).message
            if not said.tool_calls:
                break
            calls = [call.function for call in said.tool_calls]
            messages += [said, *(execute(call.name, dict(call.arguments)) for call in calls)]
        loop.set_attribute("mlflow.spanOutputs", json.dumps((said.content or "").strip()))


def structured() -> None:
    ollama.chat(MODEL, [WHY], format=SCHEMA, think=False, options={"num_predict": 60})


def image() -> None:
    question = {"role": "user", "content": "What is in this picture?", "images": [png(160)]}
    ollama.chat(MODEL, [question], think=False)


def large_image() -> None:
    large = png(160) + bytes(64 * 1024)
    question = {"role": "user", "content": "What is in this picture?", "images": [large]}
    ollama.chat(MODEL, [question], think=False)


def embed() -> None:
    ollama.embed(EMBEDDER, ["The sky is blue.", "Grass is green."])


def generate() -> None:
    ollama.generate(MODEL, WHY["content"], system="You are a physicist.", think=True)


def missing_model() -> None:
    with suppress(ollama.ResponseError):
        ollama.chat("nope", [WHY])


def broken_off() -> None:
    loop = {"role": "user", "content": "loop"}
    chunks = ollama.chat(MODEL, [loop], think=False, stream=True)
    for _heard in zip(range(3), chunks, strict=False):
        pass


def cut_short() -> None:
    loop = {"role": "user", "content": "loop"}
    ollama.chat(MODEL, [loop], think=False, options={"num_predict": 5})


def retrieval() -> None:
    document = {"id": "doc-1", "content": "Air scatters blue light.", "score": 0.92}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "librarian"}
    query = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": WHY["content"]}
    with tracer.start_as_current_span("invoke_agent librarian", attributes=agent) as librarian:
        with tracer.start_as_current_span("retrieval library", attributes=query) as lookup:
            ollama.embed(EMBEDDER, WHY["content"])
            lookup.set_attribute("gen_ai.retrieval.documents", json.dumps([document]))
        answer = ollama.chat(MODEL, [WHY], think=False).message
        for key, role, said in (
            ("input", "user", WHY["content"]),
            ("output", "assistant", answer.content),
        ):
            message = {"role": role, "parts": [{"type": "text", "content": said}]}
            librarian.set_attribute(f"gen_ai.{key}.messages", json.dumps([message]))


def turn(*messages: dict[str, str]) -> None:
    who = {"session.id": "support-42", "user.id": "ada"}
    with tracer.start_as_current_span("turn", attributes=who):
        ollama.chat(MODEL, messages, think=False)


def first_turn() -> None:
    turn(WHY)


def second_turn() -> None:
    answer = {"role": "assistant", "content": "The sky is blue because air scatters light."}
    turn(WHY, answer, {"role": "user", "content": "And at night?"})


KINDS: tuple[Callable[[], None], ...] = (
    *(plain, streamed, thinking, unfinished_thought, structured, cut_short, broken_off),
    *(generate, embed, tool_call, two_tool_calls, tool_results, tool_loop, retrieval),
    *(missing_model, image, large_image, first_turn, second_turn),
)
for kind in KINDS:
    kind()
    print(kind.__name__)
