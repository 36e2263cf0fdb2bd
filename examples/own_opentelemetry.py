"""One line in an application that sets up OpenTelemetry itself.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY
    python own_opentelemetry.py [model]
    mlflow ui

Without that variable the spans hold no content: neither questions nor answers.

To a collector, use OpenTelemetry's own OTLPSpanExporter in place of MlflowSpanExporter; to a
collector that forwards to MLflow, use ollama_otel.mlflow.MlflowOtlpSpanExporter.
"""

import sys

import ollama
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ollama_otel import OllamaInstrumentor
from ollama_otel.mlflow import MlflowSpanExporter

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"

# What the application had before.
provider = TracerProvider(resource=Resource.create({"service.name": "weather-desk"}))
provider.add_span_processor(
    BatchSpanProcessor(MlflowSpanExporter(experiment_name="ollama-tracing"))
)
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("weather-desk")

# The one line.
OllamaInstrumentor().instrument()


def main() -> None:
    """Answer a request in a span of the application's own, below which the chat will be."""
    with tracer.start_as_current_span("GET /why-is-the-sky-blue"):
        answer = ollama.chat(MODEL, [{"role": "user", "content": "Why is the sky blue?"}])
    print(answer.message.content)
    provider.shutdown()


if __name__ == "__main__":
    main()
