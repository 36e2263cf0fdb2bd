"""What a real Ollama says is what was recorded from it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from . import servers
from .availability import unavailable_skips

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .servers import OllamaServer

RECORDED = json.loads(Path(__file__).with_name("ollama_answers.json").read_text())["exchanges"]
VARYING = {"created_at", "id", "version"}
LEGACY_EMBEDDING_LENGTH = 8  # the recording keeps so many numbers of it
# This one kills the model's process: it has a test and a server of its own.
REPEATABLE = [exchange for exchange in RECORDED if exchange["name"] != "error_mid_stream"]
MID_STREAM = next(exchange for exchange in RECORDED if exchange["name"] == "error_mid_stream")


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


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def ask(http: httpx.Client, url: str, exchange: dict[str, Any]) -> httpx.Response:
    body = exchange["request"]
    content = body if isinstance(body, str) or body is None else json.dumps(body)
    return http.request(exchange["method"], url + exchange["path"], content=content)


def lines_of(response: httpx.Response) -> Any:
    if "json" not in response.headers["content-type"]:
        return response.text
    lines = [json.loads(line) for line in response.text.splitlines()]
    for line in lines:
        if "embedding" in line:
            line["embedding"] = line["embedding"][:LEGACY_EMBEDDING_LENGTH]
    return lines


@pytest.mark.parametrize("exchange", REPEATABLE, ids=lambda exchange: exchange["name"])
def test_the_server_answers_as_recorded(
    http: httpx.Client, ollama_server: OllamaServer, exchange: dict[str, Any]
) -> None:
    """Status, content type, every line and every field are those of the recording."""
    response = ask(http, ollama_server.url, exchange)
    assert {
        "status": response.status_code,
        "content_type": response.headers["content-type"],
        "lines": masked(lines_of(response)),
    } == {
        "status": exchange["status"],
        "content_type": exchange["content_type"],
        "lines": masked(exchange["lines"]),
    }


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_a_model_that_dies_ends_the_stream_as_recorded(http: httpx.Client, tmp_path: Path) -> None:
    """The status is 200 all the same, and the last line is the error."""
    with unavailable_skips(), servers.ollama_server(tmp_path) as server:
        response, lines = break_off(http, server)
    expected = MID_STREAM["lines"]
    assert response.status_code == MID_STREAM["status"]
    assert response.headers["content-type"] == MID_STREAM["content_type"]
    assert [masked(line) for line in (*lines[:3], lines[-1])] == masked(expected)


def break_off(http: httpx.Client, server: OllamaServer) -> tuple[httpx.Response, list[Any]]:
    """Ask for an endless answer, kill the model's process and read on to the end."""
    body, url = MID_STREAM["request"], server.url + MID_STREAM["path"]
    with http.stream("POST", url, json=body) as response:
        lines = response.iter_lines()
        head = [json.loads(next(lines)) for _ in range(3)]
        for child in children(server.pid):
            os.kill(child, signal.SIGKILL)
        return response, [*head, *map(json.loads, lines)]


def children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (thread / "children").read_text().split())
