"""An application that makes every kind of call, some under spans of its own.

It knows nothing of MLflow. The ten calls of conversation.py come first.

python kinds.py http://127.0.0.1:11434
"""

# ruff: noqa: T201 - a script, and it prints

import asyncio
import base64
import contextvars
import json
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import trace

os.environ["OLLAMA_HOST"] = sys.argv[1]  # as load_dotenv() does: before the SDK is imported

import ollama

MODEL, EMBEDDER = "scripted", "embedder"
LIMIT = 20  # seconds that a thread waits for another
WHY = {"role": "user", "content": "Why is the sky blue?"}
TIP = {"role": "user", "content": "What is the tip for a $187.32 bill with a 22% tip?"}
DOCUMENTS = [
    {"id": "7", "score": 0.9, "content": "Air scatters blue light."},
    {"id": "8", "score": 0.4, "content": "The sea mirrors the sky."},
]
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)

tracer = trace.get_tracer("kinds")


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate the tip.

    Args:
        bill_amount: The total bill amount
        tip_percentage: The percentage to give, as a whole number
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


def get_weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: The city's name
    """
    return f"Rain in {city}"


def messages(role: str, content: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": content}]}])


@contextmanager
def asked(operation: str, name: str, question: str, **more: str) -> Iterator[Callable[[str], None]]:
    """Open a span of the application; what comes out is to be told to the function it gives."""
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.input.messages": messages("user", question),
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    with tracer.start_as_current_span(f"{operation} {name}", attributes=attributes) as span:
        yield lambda said: span.set_attribute("gen_ai.output.messages", messages("assistant", said))


def content(answer: ollama.ChatResponse) -> str:
    return answer.message.content or ""


# One call, one trace ------------------------------------------------------------------------


def streamed_thinking() -> None:
    chunks = list(ollama.chat(MODEL, [WHY], think=True, stream=True))
    thought = "".join(chunk.message.thinking or "" for chunk in chunks)
    print("streamed_thinking:", thought, "->", "".join(map(content, chunks)))


def streamed_tool_call() -> None:
    chunks = ollama.chat(MODEL, [TIP], tools=[calculate_tip], think=False, stream=True)
    calls = [call.function.name for chunk in chunks for call in chunk.message.tool_calls or []]
    print("streamed_tool_call:", *calls)


def two_tool_calls() -> None:
    both = {"role": "user", "content": "both"}
    answer = ollama.chat(MODEL, [both], tools=[get_weather, calculate_tip], think=False)
    cities = [call.function.arguments["city"] for call in answer.message.tool_calls or []]
    print("two_tool_calls:", *cities)


def image() -> None:
    picture = ollama.Message(
        role="user", content=WHY["content"], images=[ollama.Image(value=PICTURE)]
    )
    print("image:", content(ollama.chat(MODEL, [picture], think=False)))


def embed() -> None:
    answer = ollama.embed(EMBEDDER, ["One text", "and two"])
    print("embed:", *(len(embedding) for embedding in answer.embeddings))


def generate() -> None:
    answer = ollama.generate(MODEL, WHY["content"], system="Be brief.", think=False)
    print("generate:", answer.response)


def generate_streamed() -> None:
    chunks = ollama.generate(MODEL, WHY["content"], think=False, stream=True)
    print("generate_streamed:", "|".join(chunk.response or "" for chunk in chunks))


def broken_off() -> None:
    loop = {"role": "user", "content": "loop"}
    said = []
    for chunk in ollama.chat(MODEL, [loop], think=False, stream=True):
        said.append(content(chunk))
        if len(said) == 3:
            break
    print("broken_off:", *said)


# Several spans in a trace -------------------------------------------------------------------


def tool_loop_under_an_agent() -> None:
    print("tool_loop_under_an_agent:", tip_told("tip-assistant", calculate_tip))


def tool_that_fails() -> None:
    def out_of_order(**_: object) -> str:
        raise LookupError("The calculator is out of order.")

    print("tool_that_fails:", tip_told("unlucky", out_of_order))


def tip_told(agent: str, tool: Callable[..., str]) -> str:
    with asked("invoke_agent", agent, TIP["content"], gen_ai__agent__name=agent) as say:
        first = ollama.chat(MODEL, [TIP], tools=[calculate_tip], think=False).message
        (call,) = first.tool_calls or []
        result = executed(tool, call.function.name, dict(call.function.arguments))
        conversation: list[Any] = [TIP, first, result]
        last = ollama.chat(MODEL, conversation, tools=[calculate_tip], think=False)
        answer = content(last).strip()
        say(answer)
    return answer


def executed(tool: Callable[..., str], name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": json.dumps(arguments, sort_keys=True),
    }
    try:
        with tracer.start_as_current_span(f"execute_tool {name}", attributes=attributes) as span:
            result = tool(**arguments)
            span.set_attribute("gen_ai.tool.call.result", result)
    except LookupError as error:
        result = str(error)
    return {"role": "tool", "content": result, "tool_name": name}


def retrieval() -> None:
    question = WHY["content"]
    with asked("invoke_agent", "librarian", question, gen_ai__agent__name="librarian") as say:
        found = [document["content"] for document in documents(question)]
        context = {"role": "system", "content": "\n".join(map(str, found))}
        answer = content(ollama.chat(MODEL, [context, WHY], think=False))
        say(answer)
    print("retrieval:", answer)


def documents(question: str) -> list[dict[str, Any]]:
    attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "library",
        "gen_ai.retrieval.query.text": question,
    }
    with tracer.start_as_current_span("retrieval library", attributes=attributes) as span:
        ollama.embed(EMBEDDER, question)
        span.set_attribute("gen_ai.retrieval.documents", json.dumps(DOCUMENTS))
    return DOCUMENTS


def session() -> None:
    for question in (WHY["content"], "And at night?"):
        with asked(
            "invoke_workflow",
            "turn",
            question,
            session__id="session-1",
            user__id="ada",
            mlflow__traceTag__team="blue",
        ) as say:
            answer = content(
                ollama.chat(MODEL, [{"role": "user", "content": question}], think=False)
            )
            say(answer)
    print("session:", answer)


def concurrent_tasks() -> None:
    """Three tasks wait for their answers at the same time; each began before the next."""

    async def ask(client: ollama.AsyncClient, length: int) -> str:
        loop = [{"role": "user", "content": "loop"}]
        options = {"num_predict": length}
        return content(await client.chat(MODEL, loop, think=False, options=options))

    async def ask_all() -> list[str]:
        client = ollama.AsyncClient()
        return await asyncio.gather(*(ask(client, length) for length in (2, 3, 4)))

    with tracer.start_as_current_span("three tasks") as span:
        answers = asyncio.run(ask_all())
        # Which of them came last nobody knows: so the application says itself what it was about.
        span.set_attribute("mlflow.spanInputs", json.dumps({"lengths": [2, 3, 4]}))
        span.set_attribute("mlflow.spanOutputs", json.dumps({"answers": answers}))
    print("concurrent_tasks:", *answers, sep="|")


def concurrent_threads() -> None:
    """Three threads read their streams at the same time; each begins, and ends, after the last."""
    begun, ended = ([threading.Event() for _ in range(4)] for _ in range(2))
    begun[0].set()
    ended[0].set()

    def ask(number: int) -> str:
        loop = [{"role": "user", "content": "loop"}]
        options = {"num_predict": number + 2}
        begun[number].wait(LIMIT)
        chunks = ollama.chat(MODEL, loop, think=False, stream=True, options=options)
        first = content(next(chunks))
        begun[number + 1].set()
        begun[-1].wait(LIMIT)
        ended[number].wait(LIMIT)
        answer = first + "".join(map(content, chunks))
        ended[number + 1].set()
        return answer

    with tracer.start_as_current_span("three threads"), ThreadPoolExecutor() as pool:
        contexts = [contextvars.copy_context() for _ in range(3)]
        waiting = [pool.submit(own.run, ask, number) for number, own in enumerate(contexts)]
        answers = [each.result(LIMIT) for each in waiting]
    print("concurrent_threads:", *answers, sep="|")


runpy.run_path(str(Path(__file__).with_name("conversation.py")), run_name="__main__")
for call in (
    *(streamed_thinking, streamed_tool_call, two_tool_calls, image, embed),
    *(generate, generate_streamed, broken_off),
    *(
        tool_loop_under_an_agent,
        tool_that_fails,
        retrieval,
        session,
        concurrent_tasks,
        concurrent_threads,
    ),
):
    call()
