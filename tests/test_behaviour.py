"""Whatever becomes of a call, the application cannot tell, and the telling is right."""

import gc
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import ollama
import pytest
from opentelemetry.sdk.trace import ReadableSpan

import telemetry
from behaviour import CAME, EMPTY, NONE, OPERATIONS, WHOLE, Cell, rows
from behaviour_docs import PAGE, page
from behaviour_readers import APPLICATION, Application, text_of
from conftest import Instrument

CELLS = [
    cell
    for streamed in (False, True)
    for _, cells in rows(streamed=streamed)
    for cell in cells
    if isinstance(cell, Cell)
]
PATHS: dict[str, dict[str, Any]] = {
    "metrics": {},
    "spans_alone": {"meter_provider": None, "logger_provider": None},
}
DURATION = "gen_ai.client.operation.duration"


@pytest.fixture
def noise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[], list[tuple[str, str]]]:
    """What was complained of since the last time: in logs, and where nobody could be told."""
    unraisable: list[tuple[str, str]] = []

    def note(told: Any) -> None:
        unraisable.append(("unraisable", repr(told.exc_value)))

    def heard() -> list[tuple[str, str]]:
        logged = [
            (each.name, each.getMessage().partition("\n")[0])
            for each in caplog.records
            if each.levelno >= logging.WARNING
        ]
        everything = logged + unraisable
        caplog.clear()
        unraisable.clear()
        return everything

    monkeypatch.setattr(sys, "unraisablehook", note)
    return heard


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Spare the garbage collector what was there before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_behaviour(
    cell: Cell,
    path: str,
    instrument: Instrument,
    noise: Callable[[], list[tuple[str, str]]],
) -> None:
    """The application sees what it sees un-instrumented, and its call is told once."""
    expected = cell.watch()
    assert still_kept(expected) == []
    expected_noise = noise()
    recording = instrument(**PATHS[path])

    app = cell.watch(lambda: len(recording.spans))

    wait_for(lambda: len(recording.spans) >= cell.telling.spans)
    spans = [told(span) for span in recording.spans]
    assert spans == [expected_span(cell, app)] * cell.telling.spans
    assert [ended for _, ended in app.endings] == [complete for complete, _ in app.endings]
    assert durations(recording) == (cell.telling.spans if path == "metrics" else 0)
    assert still_kept(app) == []
    assert app.seen == expected.seen
    # The SDK leaves some open where Python breaks into the closing.
    assert app.left_open <= expected.left_open
    assert noise() == expected_noise


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for what another thread does: it ends the stream that the garbage collector found."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)


def told(span: ReadableSpan) -> dict[str, Any]:
    """Return what the matrix says of a span."""
    attributes = telemetry.told(span)["attributes"]
    messages = attributes.get("gen_ai.output.messages")
    return {
        "name": span.name,
        "parent": span.parent,
        "status": (span.status.status_code.name, span.status.description),
        "error": attributes.get("error.type"),
        "finish": attributes.get("gen_ai.response.finish_reasons"),
        "content": messages and "".join(part["content"] for part in messages[0]["parts"]),
        "tokens": [attributes.get(f"gen_ai.usage.{way}_tokens") for way in ("input", "output")],
    }


def expected_span(cell: Cell, app: Application) -> dict[str, Any]:
    """Return what the row says, in the words of this operation and of what came."""
    telling, asked = cell.telling, cell.asked
    name = {"generate": "text_completion", "embed": "embeddings"}.get(asked.method, asked.method)
    said = {NONE: None, EMPTY: "", CAME: app.text, WHOLE: "".join(map(text_of, asked.lines))}
    counts = asked.lines[-1] if telling.tokens else {}
    return {
        "name": f"{name} {asked.request['model']}",
        "parent": APPLICATION.get_span_context(),
        "status": ("ERROR", app.error) if telling.error else ("UNSET", None),
        "error": telling.error,
        "finish": telling.finish and (telling.finish,),
        "content": said[telling.content],
        "tokens": [counts.get("prompt_eval_count"), counts.get("eval_count")],
    }


def durations(recording: telemetry.Recording) -> int:
    """Return of how many calls the duration was measured."""
    return sum(int(count.split()[0]) for _, count in recording.points().get(DURATION, ()))


def still_kept(app: Application) -> list[Any]:
    """Return the objects that the application was given and that still live."""
    if any(chunk() for chunk in app.chunks):
        gc.collect()
    return [chunk() for chunk in app.chunks if chunk()]


@pytest.mark.parametrize("client", [ollama.Client, ollama.AsyncClient])
def test_the_sdk_streams_what_the_matrix_says(client: type) -> None:
    """A release that streams embeddings is noticed."""
    streamed = {
        operation.name: "stream" in inspect.signature(getattr(client, operation.name)).parameters
        for operation in OPERATIONS
    }
    assert streamed == {operation.name: bool(operation.stream) for operation in OPERATIONS}


def test_docs_show_these_rows() -> None:
    """The page is what the rows make, and no cell is empty."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/behaviour_docs.py"
    assert "|  |" not in page()
