"""Pieces of what spans are expected to hold."""

from typing import Any


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "name": None, "parts": [{"type": "text", "content": content}]}


def said(reason: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "assistant", "name": None, "finish_reason": reason, "parts": list(parts)}]


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def answered(reason: str, model: str = "scripted", **tokens: int) -> dict[str, Any]:
    return {
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": (reason,),
        **{f"gen_ai.usage.{name}_tokens": count for name, count in tokens.items()},
    }


def exception(kind: str, message: str) -> tuple[str, dict[str, Any]]:
    """The event that says why a call failed, as telemetry.told() tells it."""
    return "exception", {
        "exception.type": kind,
        "exception.message": message,
        "exception.stacktrace": "Traceback (most recent call last):\n",
    }


def client_span(
    name: str,
    attributes: dict[str, Any],
    error: str | None = None,
    raised: str = "ollama.ResponseError",
) -> dict[str, Any]:
    """The whole span of a call, as telemetry.told() tells it."""
    return {
        "name": name,
        "kind": "CLIENT",
        "status": ("UNSET", None) if error is None else ("ERROR", error),
        "events": [] if error is None else [exception(raised, error)],
        "attributes": attributes,
    }
