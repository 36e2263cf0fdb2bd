"""A call that fails fails as without us, and MLflow shows why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from ollama_otel.testing import Answer, FakeOllama

from .applications import TRACES_ONLY, Ended, run_as_it_is, run_instrumented
from .expected_spans import NOT_FOUND, SKY, answer, chat_span, exception, message, text
from .expected_traces import LAUNCHED, chat_trace, choices
from .servers import free_address
from .stored import stored_traces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .servers import OllamaServer

Values = dict[str, Any]

EXPERIMENT = "failing calls"
CALLS = (
    *("missing model", "missing model streamed", "missing model asynchronously"),
    *("server down", "too slow", "broken off"),
)
REFUSED = ("404", "ollama.ResponseError")
RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"
NOBODY = (
    "Failed to connect to Ollama. Please check that Ollama is downloaded, running and accessible. "
    "https://ollama.com/download"
)
OUTPUT = f"""\
missing_model: ollama._types.ResponseError: {NOT_FOUND}
missing_model_streamed: ollama._types.ResponseError: {NOT_FOUND}
missing_model_asynchronously: ollama._types.ResponseError: {NOT_FOUND}
server_down: builtins.ConnectionError: {NOBODY}
too_slow: httpx.ReadTimeout: timed out
The
 sky
broken_off: ollama._types.ResponseError: {RUNNER_DIED} (status code: -1)
"""


@pytest.fixture(scope="module")
def urls(ollama_server: OllamaServer) -> Iterator[list[str]]:
    """Where the application calls: a real server, none, one that is mute, one that breaks off."""

    def break_off(_request: object) -> Answer:
        return Answer("The sky is blue", fail_after=2)

    def keep_quiet(_request: object) -> Answer:
        return Answer(hang_after=0)

    with FakeOllama(keep_quiet) as mute, FakeOllama(break_off) as breaking:
        yield [ollama_server.url, f"http://{free_address()}", mute.url, breaking.url]


@pytest.fixture(scope="module")
def traces(urls: list[str], mlflow_server: str) -> list[Values]:
    """What MLflow keeps of the calls."""
    ended = run_instrumented(
        "failing.py",
        *urls,
        OTEL_TRACES_EXPORTER="mlflow",
        MLFLOW_TRACKING_URI=mlflow_server,
        MLFLOW_EXPERIMENT_NAME=EXPERIMENT,
        **TRACES_ONLY,
    )
    assert ended == Ended(status=0, output=OUTPUT, complaints="")
    return stored_traces(mlflow_server, EXPERIMENT, count=len(CALLS))


def test_the_application_sees_the_same_errors_without_us(urls: list[str]) -> None:
    """Same types, same messages: OUTPUT is also what comes without instrumentation."""
    assert run_as_it_is("failing.py", *urls) == Ended(status=0, output=OUTPUT, complaints="")


def expected_traces(urls: list[str]) -> list[Values]:
    """The six traces, in the order of the calls."""
    real, dead, mute, breaking = (urlsplit(url).port for url in urls)
    return [
        failed_trace(real, NOT_FOUND, REFUSED, model="nope"),
        failed_trace(real, NOT_FOUND, REFUSED, model="nope", stream=True),
        failed_trace(real, NOT_FOUND, REFUSED, model="nope"),
        failed_trace(dead, NOBODY, ("ConnectionError", "ConnectionError")),
        failed_trace(mute, "timed out", ("httpx.ReadTimeout", "httpx.ReadTimeout")),
        broken_off_trace(breaking),
    ]


def failed_trace(
    port: int | None,
    error: str,
    kinds: tuple[str, str],
    *,
    model: str = "scripted",
    **option: bool,
) -> Values:
    """A call without an answer; the kinds are those of the error and of the exception."""
    span = failed_span(
        port,
        error,
        kinds[1],
        {
            "error.type": kinds[0],
            "gen_ai.request.model": model,
            "gen_ai.input.messages": [message("user", text(SKY))],
            **{f"gen_ai.request.{name}": value for name, value in option.items()},
        },
    )
    told = {
        "request_preview": SKY,
        "response_preview": None,
        "attributes": {"mlflow.spanInputs": asked(model, **option)},
    }
    return chat_trace(span, LAUNCHED, told)


def broken_off_trace(port: int | None) -> Values:
    """A call whose answer broke off: what came is kept."""
    error = f"{RUNNER_DIED} (status code: -1)"
    span = failed_span(
        port,
        error,
        "ollama.ResponseError",
        {
            "error.type": "ollama.ResponseError",
            "gen_ai.request.stream": True,
            "gen_ai.response.model": "scripted",
            "gen_ai.response.finish_reasons": ["error"],
            "gen_ai.response.time_to_first_chunk": "<seconds>",
            "gen_ai.input.messages": [message("user", text(SKY))],
            "gen_ai.output.messages": [answer(text("The sky"), finish_reason="error")],
        },
    )
    told = {
        "request_preview": SKY,
        "response_preview": "The sky",
        "attributes": {
            "mlflow.spanInputs": asked("scripted", stream=True),
            "mlflow.spanOutputs": choices("error", content="The sky"),
        },
    }
    return chat_trace(span, LAUNCHED, told)


def failed_span(port: int | None, error: str, raised: str, attributes: Values) -> Values:
    span = chat_span(port, attributes)
    name = f"chat {span['attributes']['gen_ai.request.model']}"
    return span | {
        "name": name,
        "status": ("ERROR", error),
        "events": [exception(raised, error)],
    }


def asked(model: str, **option: bool) -> Values:
    return {"model": model, "messages": [{"role": "user", "content": SKY}], **option}


@pytest.mark.parametrize("number", range(len(CALLS)), ids=CALLS)
def test_mlflow_shows_why_a_call_failed(traces: list[Values], urls: list[str], number: int) -> None:
    """The trace is in state ERROR, and its span holds type and message of the error."""
    assert traces[number] == expected_traces(urls)[number]
