"""What a real Ollama says is what was recorded from it, and what the stand-in says."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ollama_otel.testing import FakeOllama

from . import servers
from .availability import unavailable_skips
from .exchanges import MID_STREAM, REPEATABLE, ask, recorded_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .servers import OllamaServer

VARYING = {"created_at", "id", "version"}

every_exchange = pytest.mark.parametrize(
    "exchange", REPEATABLE, ids=lambda exchange: exchange["name"]
)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def stand_in() -> Iterator[FakeOllama]:
    """A stand-in with the same two models, which can do the same."""
    chat = ("completion", "tools", "thinking", "vision")
    with FakeOllama(models={"scripted": chat, "embedder": ("embedding",)}) as server:
        yield server


def masked(value: Any) -> Any:
    """Replace what differs from run to run: times, durations, ids, the last digits of floats."""
    if isinstance(value, dict):
        return {
            key: "*" if key in VARYING or key.endswith("_duration") else masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


@every_exchange
def test_the_server_answers_as_recorded(
    http: httpx.Client, ollama_server: OllamaServer, exchange: dict[str, Any]
) -> None:
    """Status, content type, every line and every field are those of the recording."""
    answer = ask(http, ollama_server.url, exchange)
    assert masked(answer) == masked(recorded_answer(exchange))


@every_exchange
def test_the_stand_in_has_the_fields_of_the_server(
    http: httpx.Client, ollama_server: OllamaServer, stand_in: FakeOllama, exchange: dict[str, Any]
) -> None:
    """Texts may differ; status, content type, the fields of the lines and their types do not."""
    real = ask(http, ollama_server.url, exchange)
    assert form(ask(http, stand_in.url, exchange)) == form(real)


def form(answer: dict[str, Any]) -> dict[str, Any]:
    """Tell an answer by the fields of its lines: those of the last, and all that occur."""
    if isinstance(answer["lines"], str):
        return answer
    lines = [json.dumps(fields(line), sort_keys=True) for line in answer["lines"]]
    return answer | {"lines": sorted(set(lines)), "last": lines[-1]}


def fields(value: Any) -> Any:
    """Replace each value by its type; how a tool is called is the model's own affair."""
    if isinstance(value, dict):
        return {key: "*" if key == "arguments" else fields(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fields(item) for item in value[:1]]
    return "number" if type(value) in {int, float} else type(value).__name__


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_a_model_that_dies_ends_the_stream_as_recorded(http: httpx.Client, tmp_path: Path) -> None:
    """The status is 200 all the same, and the last line is the error."""
    with unavailable_skips(), servers.ollama_server(tmp_path) as server:
        answer = break_off(http, server)
    answer["lines"][3:-1] = []  # the recording leaves the middle out too
    assert masked(answer) == masked(recorded_answer(MID_STREAM))


def break_off(http: httpx.Client, server: OllamaServer) -> dict[str, Any]:
    """Ask for an endless answer, kill the model's process and read on to the end."""
    url = server.url + MID_STREAM["path"]
    with http.stream("POST", url, json=MID_STREAM["request"]) as response:
        lines = response.iter_lines()
        head = [json.loads(next(lines)) for _ in range(3)]
        for child in children(server.pid):
            os.kill(child, signal.SIGKILL)
        return {
            "status": response.status_code,
            "content_type": response.headers["content-type"],
            "lines": [*head, *map(json.loads, lines)],
        }


def children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (thread / "children").read_text().split())
