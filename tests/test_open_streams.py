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


def test_every_stream_that_is_open_is_told() -> None:
    """One that fails to end takes no other with it."""
    spans = run(
        """
streams = [client.chat(**asked | {"model": model}) for model in ("first", "second", "third")]
for stream in streams:
    next(stream)
from ollama_otel import _calls
end = _calls.Call.end
fault = [ZeroDivisionError()]
def end_but_one(call, *error):
    if fault and call._invocation.span.name == "chat second":
        raise fault.pop()
    end(call, *error)
_calls.Call.end = end_but_one
import logging
logging.disable()
os.environ["OLLAMA_OTEL_RAISE_ERRORS"] = "false"
"""
    )

    assert [span["name"] for span in spans] == ["chat first", "chat third"]


def test_a_provider_that_was_made_later_is_told_too() -> None:
    """It shuts down before those that were made earlier."""
    spans = run(
        HALF_READ
        + """
OllamaInstrumentor().uninstrument()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(shown))
OllamaInstrumentor().instrument(tracer_provider=provider)
later = client.chat(**asked)
next(later)
"""
    )

    assert sorted(text(span) for span in spans) == ["a", "ab"]


@pytest.mark.parametrize(
    "program",
    [
        """
def read():
    next(client.chat(**asked))
threading.Thread(target=read, daemon=True).start()
hanging.wait()
""",
        """
async def main():
    global stream, task
    stream = await ollama.AsyncClient(sys.argv[1]).chat(**asked)
    task = asyncio.ensure_future(anext(stream))
    while not hung():
        await asyncio.sleep(0.01)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
""",
    ],
    ids=["thread", "task"],
)
def test_a_first_read_that_never_came_back_is_told_without_noise(program: str) -> None:
    """The span began in another thread or task, and ends at the exit."""
    with FakeOllama(lambda _request: Answer(hang_after=0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", SETUP + HANGING + program, server.url],
            env=os.environ | {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert "detach" not in done.stderr
    (span,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert span["attributes"]["gen_ai.response.finish_reasons"] == ["error"]


HANGING = """
import httpx
hanging = threading.Event()
hung = hanging.is_set
original = httpx.Client.send
async def note_async(request):
    hanging.set()
def note(request):
    hanging.set()
client._client.event_hooks["request"] = [note]
init = ollama.AsyncClient.__init__
def with_hook(self, *args, **kwargs):
    init(self, *args, **kwargs)
    self._client.event_hooks["request"] = [note_async]
ollama.AsyncClient.__init__ = with_hook
"""


def test_a_stream_that_the_collector_finds_waits_for_no_lock() -> None:
    """Where the collection starts while metrics are collected, recording there would hang."""
    spans = run(
        """
import gc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
OllamaInstrumentor().uninstrument()
OllamaInstrumentor().instrument(tracer_provider=provider, meter_provider=MeterProvider([reader]))
list(client.chat(**asked))

class Node:
    pass

def half_read():
    node = Node()
    node.me, node.stream = node, client.chat(**asked)
    next(node.stream)
    return node

gc.disable()
left = [half_read() for _ in range(5)]
from opentelemetry.sdk.metrics._internal import aggregation
collect = aggregation._ExplicitBucketHistogramAggregation.collect
def collect_with_garbage(self, *args):
    with self._lock:
        left[:1] = []
        gc.collect()
    return collect(self, *args)
aggregation._ExplicitBucketHistogramAggregation.collect = collect_with_garbage
reader.get_metrics_data()
assert not left
"""
    )

    assert sorted(text(span) for span in spans) == ["a"] * 5 + ["abc"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_stream_that_was_open_at_a_fork_is_the_parents() -> None:
    """The child that exits in its own way does not tell it too."""
    spans = run(
        HALF_READ
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks, from Python 3.12 on
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
"""
    )

    assert [text(span) for span in spans] == ["ab"]
