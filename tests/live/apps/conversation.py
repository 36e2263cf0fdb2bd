"""An ordinary application of the Ollama SDK, which knows nothing of telemetry.

python conversation.py http://127.0.0.1:11434
"""

# ruff: noqa: T201 - a script, and it prints

import asyncio
import os
import sys

os.environ["OLLAMA_HOST"] = sys.argv[1]  # as load_dotenv() does: before the SDK is imported

import ollama

MODEL = "scripted"
WHY = {"role": "user", "content": "Why is the sky blue?"}
TIP = {"role": "user", "content": "What is the tip for a $187.32 bill with a 22% tip?"}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["answer", "n"],
}


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate the tip.

    Args:
        bill_amount: The total bill amount
        tip_percentage: The percentage to give, as a whole number
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


def plain() -> None:
    messages = [{"role": "system", "content": "Be brief."}, WHY]
    options = {
        "temperature": 0,
        "seed": 7,
        "top_p": 0.9,
        "top_k": 40,
        "num_predict": 64,
        "stop": ["STOP"],
    }
    answer = ollama.chat(MODEL, messages, think=False, options=options, keep_alive="5m")
    print("plain:", answer.message.content)


def streamed() -> None:
    chunks = ollama.chat(MODEL, [WHY], think=False, stream=True)
    print("streamed:", "|".join(chunk.message.content or "" for chunk in chunks))


def thinking() -> None:
    message = ollama.chat(MODEL, [WHY], think=True).message
    print("thinking:", message.thinking, "->", message.content)


def tool_loop() -> None:
    asked = ollama.chat(MODEL, [TIP], tools=[calculate_tip], think=False).message
    (call,) = asked.tool_calls or []
    tip = calculate_tip(**call.function.arguments)
    result = {"role": "tool", "content": tip, "tool_name": call.function.name}
    answer = ollama.chat(MODEL, [TIP, asked, result], tools=[calculate_tip], think=False)
    print("tool_loop:", (answer.message.content or "").strip())


def structured() -> None:
    answer = ollama.chat(MODEL, [WHY], format=SCHEMA, think=False, options={"num_predict": 60})
    print("structured:", answer.message.content)


def cut_short() -> None:
    loop = {"role": "user", "content": "loop"}
    answer = ollama.chat(MODEL, [loop], think=False, options={"num_predict": 5})
    print("cut_short:", answer.message.content, answer.done_reason)


def missing_model() -> None:
    try:
        ollama.chat("nope", [WHY])
    except ollama.ResponseError as error:
        print("missing_model:", error)


async def asynchronous() -> None:
    answer = await ollama.AsyncClient().chat(MODEL, [WHY], think=False)
    print("asynchronous:", answer.message.content)


async def streamed_asynchronously() -> None:
    chunks = await ollama.AsyncClient().chat(MODEL, [WHY], think=False, stream=True)
    texts = [chunk.message.content or "" async for chunk in chunks]
    print("streamed_asynchronously:", "|".join(texts))


for talk in (plain, streamed, thinking, tool_loop, structured, cut_short, missing_model):
    talk()
asyncio.run(asynchronous())
asyncio.run(streamed_asynchronously())
