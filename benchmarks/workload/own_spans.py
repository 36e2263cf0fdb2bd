"""The spans that the application makes itself: the user's turn, and each tool that it runs.

An application has them whatever traces its model calls, written with the API that goes with that:
OpenTelemetry's, or MLflow's.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from diary import SESSION, USER, calculate_tip


class OwnSpans(Protocol):
    """How an application makes its own spans."""

    def turn(self) -> Any:
        """Return a context manager: the span of a user's turn, with session and user."""

    def tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool in a span, and return its result."""


class OpenTelemetrySpans:
    """The application's spans, by OpenTelemetry's API and conventions."""

    def __init__(self) -> None:
        from opentelemetry import trace  # noqa: PLC0415  (not in every environment)

        self._tracer = trace.get_tracer("application")

    def turn(self) -> Any:
        """Return a context manager: the span of a user's turn, with session and user."""
        attributes = {"session.id": SESSION, "user.id": USER}
        return self._tracer.start_as_current_span("turn", attributes=attributes)

    def tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool in a span, and return its result."""
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.arguments": json.dumps(arguments),
        }
        with self._tracer.start_as_current_span(f"execute_tool {name}") as span:
            span.set_attributes(attributes)
            result = calculate_tip(**arguments)
            span.set_attribute("gen_ai.tool.call.result", result)
        return result


class MlflowSpans:
    """The application's spans, by MLflow's API."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Make the span of a user's turn, with session and user."""
        import mlflow  # noqa: PLC0415  (not in every environment)

        with mlflow.start_span("turn"):
            mlflow.update_current_trace(session_id=SESSION, user=USER)
            yield

    def tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Run a tool in a span, and return its result."""
        import mlflow  # noqa: PLC0415  (not in every environment)

        with mlflow.start_span(name, span_type="TOOL") as span:
            span.set_inputs(arguments)
            result = calculate_tip(**arguments)
            span.set_outputs(result)
        return result
