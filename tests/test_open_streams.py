"""A stream that is half read when the interpreter exits has its span, with what came."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from ollama_otel.testing import Answer, FakeOllama

SETUP = """
import os, sys, asyncio, threading
import ollama
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from ollama_otel import OllamaInstrumentor

shown = ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + os.linesep)
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(shown))
OllamaInstrumentor().instrument(tracer_provider=provider)
client = ollama.Client(sys.argv[1])
asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
"""


def run(program: str) -> list[dict[str, Any]]:
    """Run a program to its exit and return the spans that it left."""
    with FakeOllama(lambda _request: Answer(chunks=["a", "b", "c"])) as server:
        done = subprocess.run(
            [sys.executable, "-c", SETUP + program, server.url],
            env=os.environ | {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def text(span: dict[str, Any]) -> str:
    (message,) = json.loads(span["attributes"]["gen_ai.output.messages"])
    return "".join(part["content"] for part in message["parts"])


HALF_READ = """
stream = client.chat(**asked)
next(stream)
next(stream)
"""
HALF_READ_ASYNC = """
async def main():
    global stream
    stream = await ollama.AsyncClient(sys.argv[1]).chat(**asked)
    await anext(stream)
    await anext(stream)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
"""


@pytest.mark.parametrize("program", [HALF_READ, HALF_READ_ASYNC], ids=["sync", "async"])
def test_a_stream_in_a_global_variable_is_told(program: str) -> None:
    """Python never closes it, and it is no error."""
    (span,) = run(program)

    assert (span["name"], span["status"]) == ("chat m", {"status_code": "UNSET"})
    assert text(span) == "ab"


def test_a_stream_that_a_daemon_thread_reads_is_told() -> None:
    """The thread is stopped wherever it is."""
    (span,) = run(
        """
begun = threading.Event()
def read():
    for chunk in client.chat(**asked):
        begun.set()
        threading.Event().wait()
threading.Thread(target=read, daemon=True).start()
begun.wait()
"""
    )

    assert text(span) == "a"


def test_a_stream_that_was_read_to_its_end_is_told_once() -> None:
    """The exit adds nothing."""
    spans = run("stream = client.chat(**asked)\nlist(stream)\n")

    assert [text(span) for span in spans] == ["abc"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_stream_that_was_open_at_a_fork_is_the_parents() -> None:
    """The child that exits in its own way does not tell it too."""
    spans = run(
        HALF_READ
        + """
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
"""
    )

    assert [text(span) for span in spans] == ["ab"]
