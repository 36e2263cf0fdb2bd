"""Recorded exchanges with an Ollama server, and how to have them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "wire" / "ollama_answers.json").read_text()
)["exchanges"]
MID_STREAM = next(exchange for exchange in RECORDED if exchange["name"] == "error_mid_stream")
# That one kills the model's process: it has a test and a server of its own.
REPEATABLE = [exchange for exchange in RECORDED if exchange is not MID_STREAM]

LEGACY_EMBEDDING_LENGTH = 8  # the recording keeps so many numbers of it


def ask(http: httpx.Client, url: str, exchange: dict[str, Any]) -> dict[str, Any]:
    """Send a recorded request to a server; return its answer in the form of the recording."""
    body = exchange["request"]
    content = body if isinstance(body, str) or body is None else json.dumps(body)
    response = http.request(exchange["method"], url + exchange["path"], content=content)
    return {
        "status": response.status_code,
        "content_type": response.headers["content-type"],
        "lines": _lines(response),
    }


def _lines(response: httpx.Response) -> Any:
    if "json" not in response.headers["content-type"]:
        return response.text
    lines = [json.loads(line) for line in response.text.splitlines()]
    for line in lines:
        if "embedding" in line:
            line["embedding"] = line["embedding"][:LEGACY_EMBEDDING_LENGTH]
    return lines


def recorded_answer(exchange: dict[str, Any]) -> dict[str, Any]:
    """Return what the server answered when it was recorded."""
    return {key: exchange[key] for key in ("status", "content_type", "lines")}
