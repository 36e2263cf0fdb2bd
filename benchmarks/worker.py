"""Times calls of the Ollama SDK with and without one instrumentation, on request.

Runs inside the environment of that instrumentation, as a child of cost.py:

    python worker.py MODE MODULE

It answers each line of JSON on stdin, like {"case": "chat", "calls": 20}, with another.

Times are CPU time of the process, all threads: other programs on the machine disturb them little,
and nothing here waits for anything.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from time import process_time
from timeit import Timer
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx
import ollama

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

CHUNKS: Final = 1000
QUESTION: Final = "Why is the sky blue?"
ANSWER: Final = "Because air scatters blue light more than red."
HOST: Final = "http://localhost:11434"

VERSIONS_OF: Final = ("ollama", "opentelemetry-sdk", "wrapt", "httpx", "pydantic")
"""Packages that must be the same everywhere for the figures to be comparable."""

_WARM_UP: Final = 5
_WINDOWS: Final = 10

Call: TypeAlias = Callable[[], object]

# Cases --------------------------------------------------------------------------------------


def clock(call: Call, number: int) -> float:
    """Return the seconds of one call: the best of a few windows, with the collector on.

    Args:
        call: what to time.
        number: the calls in a window, which the result averages over.
    """
    for _ in range(_WARM_UP):
        call()
    windows = Timer(call, setup=gc.enable, timer=process_time).repeat(_WINDOWS, number)
    return min(windows) / number


def cases() -> dict[str, Call]:
    """Return what can be timed, by name: each makes one call of the SDK."""
    history = [
        {"role": "assistant" if turn % 2 else "user", "content": f"{QUESTION} ".ljust(1000, "x")}
        for turn in range(40)
    ]
    return {
        "chat": _chat([{"role": "user", "content": QUESTION}]),
        "history": _chat(history),
        "stream": _stream(CHUNKS),
        "stream, few chunks": _stream(0),
        "async stream": _async_stream(CHUNKS),
        "async stream, few chunks": _async_stream(0),
    }


def _chat(messages: Sequence[dict[str, str]]) -> Call:
    client = ollama.Client(HOST, transport=_server(_line(ANSWER, done=True)))
    return lambda: client.chat("m", messages)


def _stream(chunks: int) -> Call:
    client = ollama.Client(HOST, transport=_server(_lines(chunks)))
    messages = [{"role": "user", "content": QUESTION}]

    def drain() -> None:
        for _ in client.chat("m", messages, stream=True):
            pass

    return drain


def _async_stream(chunks: int) -> Call:
    client = ollama.AsyncClient(HOST, transport=_server(_lines(chunks)))
    messages = [{"role": "user", "content": QUESTION}]
    loop = asyncio.new_event_loop()

    async def drain() -> None:
        async for _ in await client.chat("m", messages, stream=True):
            pass

    return lambda: loop.run_until_complete(drain())


def _server(body: bytes) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _request: httpx.Response(200, content=body))


def _lines(chunks: int) -> bytes:
    return _line(ANSWER, done=False) + chunks * _line(" blue", done=False) + _line("", done=True)


def _line(content: str, *, done: bool) -> bytes:
    line: dict[str, Any] = {
        "model": "m",
        "created_at": "2026-11-21T11:47:53.96498053Z",
        "message": {"role": "assistant", "content": content},
        "done": done,
    }
    if done:
        line |= {
            "done_reason": "stop",
            "total_duration": 311841545,
            "load_duration": 279110024,
            "prompt_eval_count": 40,
            "prompt_eval_duration": 19455978,
            "eval_count": 10,
            "eval_duration": 11872039,
        }
    return json.dumps(line).encode() + b"\n"


# Modes --------------------------------------------------------------------------------------


class Spans:
    """A span exporter that keeps the last span, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.last: ReadableSpan | None = None

    def export(self, spans: "Sequence[ReadableSpan]") -> None:
        """Take a batch."""
        self.count += len(spans)
        self.last = spans[-1]

    def shutdown(self) -> None:
        """Do nothing: nothing is held."""

    def hold_content(self) -> bool:
        """Return whether the last span tells both question and answer."""
        told = self.last.to_json() if self.last else ""
        return QUESTION in told and ANSWER in told


class Recorder:
    """OpenTelemetry set up as an application would, in one of its modes.

    Args:
        mode: ``recording`` (traces only), ``with metrics``, ``sampled out`` or ``no SDK``.
    """

    def __init__(self, mode: str) -> None:
        self.spans = Spans()
        self._records = mode in {"recording", "with metrics"}
        if mode != "no SDK":
            self._set_up_traces()
        if mode == "with metrics":
            _set_up_metrics()

    def _set_up_traces(self) -> None:
        from opentelemetry import trace  # noqa: PLC0415  ("no SDK" must not load it)
        from opentelemetry.sdk.trace import TracerProvider, sampling  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        sampler = sampling.ALWAYS_ON if self._records else sampling.ALWAYS_OFF
        self._provider = TracerProvider(sampler=sampler)
        self._provider.add_span_processor(BatchSpanProcessor(self.spans))  # type: ignore[arg-type]  # what it needs of one
        trace.set_tracer_provider(self._provider)

    def flush(self) -> None:
        """Wait until every span is exported."""
        if self._records:
            self._provider.force_flush()

    def expects(self, calls: int) -> int:
        """Return how many spans some instrumented calls must make."""
        return calls if self._records else 0


def _set_up_metrics() -> None:
    from opentelemetry import metrics  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


class Patches:
    """What an instrumentation changed in the SDK: it can be switched off, for the baseline.

    Baseline and instrumented calls are timed in one process, because two processes differ by
    more than what is to be measured.

    Args:
        module: the instrumentation's module.
    """

    def __init__(self, module: str) -> None:
        owners = (ollama, import_module("ollama._client"), ollama.Client, ollama.AsyncClient)
        before = [dict(vars(owner)) for owner in owners]
        import_module(module).OllamaInstrumentor().instrument()
        self._changed = [
            (owner, name, old, vars(owner)[name])
            for owner, names in zip(owners, before, strict=True)
            for name, old in names.items()
            if vars(owner)[name] is not old
        ]
        if not self._changed:
            raise RuntimeError(f"{module} changed nothing in the SDK")

    @contextmanager
    def off(self) -> Iterator[None]:
        """Make the SDK what it was, for a while."""
        for owner, name, old, _ in self._changed:
            setattr(owner, name, old)
        yield
        for owner, name, _, new in self._changed:
            setattr(owner, name, new)


class Bench:
    """Times the cases for one instrumentation in one mode.

    Args:
        mode: as in :class:`Recorder`.
        module: the instrumentation's module.
    """

    def __init__(self, mode: str, module: str) -> None:
        self._recorder = Recorder(mode)
        self._patches = Patches(module)
        self._cases = cases()

    def answer(self, case: str, calls: int) -> dict[str, float]:
        """Time a case with and without the instrumentation.

        Args:
            case: its name.
            calls: how many calls to average over.

        Returns:
            ``baseline`` and ``instrumented``, in seconds per call.

        Raises:
            RuntimeError: the spans are not those that the calls must make.
        """
        with self._patches.off():
            baseline = self._timed(case, calls, instrumented=False)
        return {"baseline": baseline, "instrumented": self._timed(case, calls, instrumented=True)}

    def _timed(self, case: str, calls: int, *, instrumented: bool) -> float:
        before = self._recorder.spans.count
        seconds = clock(self._cases[case], calls)
        self._recorder.flush()
        made = self._recorder.spans.count - before
        expected = self._recorder.expects(_WARM_UP + calls * _WINDOWS) if instrumented else 0
        if made != expected:
            raise RuntimeError(f"{case}: the calls made {made} spans, not {expected}")
        if expected and not self._recorder.spans.hold_content():
            raise RuntimeError(f"{case}: the content is not in the span")
        return seconds


# Commands -----------------------------------------------------------------------------------


def serve(mode: str, module: str) -> None:
    """Answer requests on stdin until it is closed.

    Args:
        mode: as in :class:`Recorder`.
        module: the instrumentation's module.
    """
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        bench = Bench(mode, module)
        print(json.dumps({name: version(name) for name in VERSIONS_OF}), file=answers, flush=True)
        for line in sys.stdin:
            try:
                answer: dict[str, Any] = bench.answer(**json.loads(line))
            except Exception as error:  # noqa: BLE001  (a peer's fault is a finding, not an end)
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
