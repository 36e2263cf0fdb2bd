"""Sessions, users, tags and names of traces: by MLflow's API, and by attributes.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY
    python sessions.py [model]
    mlflow ui

Both ways tell MLflow the same: its page groups the traces of a session, and searches find them.
Which way suits depends on how the application traces: with ollama_otel.mlflow.autolog() it is
MLflow's API, with OpenTelemetry and MlflowSpanExporter it is attributes of the trace's first span.
"""

import sys

import mlflow
import ollama
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import ollama_otel.mlflow
from ollama_otel import OllamaInstrumentor

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTIONS = ("Why is the sky blue?", "Why is the sky red in the evening?")


def converse(question: str, conversation: list[ollama.Message]) -> str:
    """Ask, and keep question and answer for the next time."""
    conversation.append(ollama.Message(role="user", content=question))
    conversation.append(ollama.chat(MODEL, conversation).message)
    return conversation[-1].content or ""


def by_mlflow() -> None:
    """Tell MLflow inside the first span of each trace."""
    ollama_otel.mlflow.autolog()
    conversation: list[ollama.Message] = []
    for question in QUESTIONS:
        with mlflow.start_span("POST /chat") as request:
            mlflow.update_current_trace(
                session_id="session-of-ada",
                user="ada",
                tags={"season": "autumn", "mlflow.traceName": "weather desk"},
                request_preview=question,
            )
            request.set_inputs({"question": question})
            answer = converse(question, conversation)
            request.set_outputs(answer)
            print(answer)
    ollama_otel.mlflow.autolog(disable=True)


def by_opentelemetry() -> None:
    """Set attributes of the first span of each trace."""
    provider = TracerProvider()
    exporter = ollama_otel.mlflow.MlflowSpanExporter(experiment_name="ollama-tracing")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    OllamaInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("weather-desk")

    conversation: list[ollama.Message] = []
    for question in QUESTIONS:
        told = {
            "session.id": "session-of-bob",
            "user.id": "bob",
            "mlflow.traceTag.season": "autumn",
            "mlflow.traceTag.mlflow.traceName": "weather desk",
        }
        with tracer.start_as_current_span("POST /chat", attributes=told):
            print(converse(question, conversation))
    provider.shutdown()


def main() -> None:
    """Hold the same conversation twice."""
    mlflow.set_experiment("ollama-tracing")
    by_mlflow()
    mlflow.flush_trace_async_logging()
    by_opentelemetry()

    found = mlflow.search_traces(
        filter_string="metadata.`mlflow.trace.session` = 'session-of-bob'", return_type="list"
    )
    print(len(found), "traces in the session of bob")


if __name__ == "__main__":
    main()
