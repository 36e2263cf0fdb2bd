"""Spans of one's own beside the calls: a call always lies below the span that was current.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    python manual_spans.py [model]
    mlflow ui

Decorators on functions of every kind, spans in ``with`` blocks, threads, tasks that run at the same
time, and failures; each gives one trace.
"""

import asyncio
import contextvars
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import mlflow
import ollama
from mlflow.entities import SpanType

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
SKY = "Why is the sky blue?"
QUESTIONS = [SKY, "Why is the sky red in the evening?", "Why is the sky black at night?"]


def asking(question: str) -> list[dict[str, str]]:
    """Return the messages that ask a question."""
    return [{"role": "user", "content": question}]


# Decorators ---------------------------------------------------------------------------------


@mlflow.trace
def function(question: str) -> str:
    """Wait for an answer."""
    return ollama.chat(MODEL, asking(question)).message.content or ""


@mlflow.trace(name="async function", span_type=SpanType.AGENT, attributes={"team": "weather"})
async def async_function(question: str) -> str:
    """Let others work until the answer comes."""
    answer = await ollama.AsyncClient().chat(MODEL, asking(question))
    return answer.message.content or ""


@mlflow.trace(output_reducer="".join)
def generator(question: str) -> Iterator[str]:
    """Hand on the answer as it comes."""
    for chunk in ollama.chat(MODEL, asking(question), stream=True):
        yield chunk.message.content or ""


@mlflow.trace(output_reducer="".join)
async def async_generator(question: str) -> AsyncIterator[str]:
    """Hand on the answer as it comes, and let others work meanwhile."""
    async for chunk in await ollama.AsyncClient().chat(MODEL, asking(question), stream=True):
        yield chunk.message.content or ""


async def read(question: str) -> str:
    """Read an asynchronous generator to its end."""
    return "".join([word async for word in async_generator(question)])


# Blocks -------------------------------------------------------------------------------------


def blocks(question: str) -> str:
    """Two spans in each other, of a type of one's own, and a tag on the trace."""
    with mlflow.start_span("outer block", span_type="WEATHER") as outer:
        mlflow.update_current_trace(tags={"season": "autumn"})
        outer.set_inputs({"question": question})
        with mlflow.start_span("inner block"):
            answer = ollama.chat(MODEL, asking(question)).message.content or ""
        outer.set_outputs(answer)
    return answer


# At the same time ---------------------------------------------------------------------------


@mlflow.trace
def threads(questions: list[str]) -> list[str]:
    """Ask in several threads, each with a copy of the context: without it, traces of their own."""
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(contextvars.copy_context().run, function, question)
            for question in questions
        ]
        return [each.result() for each in waiting]


@mlflow.trace
async def tasks(questions: list[str]) -> list[str]:
    """Ask in several tasks: they copy the context by themselves."""
    return await asyncio.gather(*map(async_function, questions))


# Failures -----------------------------------------------------------------------------------


@mlflow.trace
def failure(question: str) -> None:
    """Ask a model that is not there: both spans end as errors, and hold the exception."""
    ollama.chat("no-such-model", asking(question))


def main() -> None:
    """Run all, and print the answers."""
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    print("function:", function(SKY))
    print("async function:", asyncio.run(async_function(SKY)))
    print("generator:", "".join(generator(SKY)))
    print("async generator:", asyncio.run(read(SKY)))
    print("blocks:", blocks(SKY))
    print("threads:", *threads(QUESTIONS), sep="\n  ")
    print("tasks:", *asyncio.run(tasks(QUESTIONS)), sep="\n  ")
    try:
        failure(SKY)
    except ollama.ResponseError as error:
        print("failure:", error)


if __name__ == "__main__":
    main()
