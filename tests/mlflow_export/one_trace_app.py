"""An application with spans by MLflow's API (m) and by OpenTelemetry's (o), nested in four ways.

Each case is a process of its own, forked from one that has imported what takes seconds.

python one_trace_app.py '[{"door": "autolog", "steps": ["provider", "door"], "env": {...}}]'
"""

import json
import os
import sys
from contextlib import ExitStack
from typing import Any, Final

import mlflow
import ollama
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import ollama_otel.mlflow
from ollama_otel import OllamaInstrumentor

NESTINGS: Final = ("om", "omo", "mo", "mom")
"""From the outside to the inside; those that a late MLflow spoils come first."""

ASKED: Final = [{"role": "user", "content": "Why is the sky blue?"}]


def set_up(step: str, door: str) -> None:
    """Take one of the steps with which the application begins.

    Args:
        step: which.
        door: what records the calls: ``autolog`` or ``exporter``.
    """
    match step:
        case "provider":
            provider = TracerProvider()
            if door == "exporter":
                exporter = ollama_otel.mlflow.MlflowSpanExporter()
                provider.add_span_processor(BatchSpanProcessor(exporter))
            trace.set_tracer_provider(provider)
        case "door" if door == "autolog":
            ollama_otel.mlflow.autolog()
        case "door":
            OllamaInstrumentor().instrument()
        case "enable":
            mlflow.tracing.enable()
        case "tracking uri":
            mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])


def call(nesting: str) -> None:
    """Ask a model, which is named as the nesting, below the spans of a nesting."""
    with ExitStack() as spans:
        for depth, kind in enumerate(nesting):
            name = f"{nesting} {depth} {kind}"
            spans.enter_context(
                mlflow.start_span(name)
                if kind == "m"
                else trace.get_tracer("application").start_as_current_span(name)
            )
        ollama.chat(nesting, ASKED)


def run(case: dict[str, Any]) -> None:
    """Set up, make the calls, and wait until all is stored."""
    for step in case["steps"]:
        set_up(step, case["door"])
    for nesting in NESTINGS:
        call(nesting)
    mlflow.flush_trace_async_logging()
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush()


def main() -> None:
    """Run each case in a process of its own, all at the same time."""
    children = []
    for case in json.loads(sys.argv[1]):
        child = os.fork()
        if not child:
            os.environ.update(case["env"])
            run(case)
            return
        children.append(child)
    if any([os.waitpid(child, 0)[1] for child in children]):  # noqa: C419  (all are awaited)
        sys.exit("a case failed")


if __name__ == "__main__":
    main()
