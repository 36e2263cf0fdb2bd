"""A tool-calling loop as one trace, written with OpenTelemetry's API.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY
    python tool_loop_opentelemetry.py [model]
    mlflow ui

In MLflow:

    ToolCallingLoop      CHAIN
    ├── chat llama3.2    CHAT_MODEL
    ├── calculate_tip    TOOL
    └── chat llama3.2    CHAT_MODEL

tool_loop_mlflow.py writes the same loop with MLflow's API, and gives the same trace. With an MLflow
server in MLFLOW_TRACKING_URI, "ollama-otel[otlp]" is enough here: no mlflow package is needed.
"""

import json
import sys
from typing import Any

import ollama
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.genai.handler import TelemetryHandler

from ollama_otel import OllamaInstrumentor
from ollama_otel.mlflow import MlflowSpanExporter

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTION = "What is the tip for a $187.32 bill with a 22% tip?"

provider = TracerProvider()
provider.add_span_processor(
    BatchSpanProcessor(MlflowSpanExporter(experiment_name="ollama-tracing"))
)
trace.set_tracer_provider(provider)
OllamaInstrumentor().instrument()

tracer = trace.get_tracer("tool-loop")
# OpenTelemetry's helper for GenAI spans that no instrumentation can see: here, executed tools.
handler = TelemetryHandler(instrumentation_scope_name="tool-loop")


def calculate_tip(bill_amount: float, tip_percentage: float) -> str:
    """Calculate the tip for a bill.

    Args:
        bill_amount: The bill in dollars.
        tip_percentage: The tip in percent of the bill.
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


TOOLS = {"calculate_tip": calculate_tip}


def execute(call: ollama.Message.ToolCall) -> dict[str, Any]:
    """Execute a tool that the model asked for, and return the message that tells it the result."""
    name, arguments = call.function.name, dict(call.function.arguments)
    with handler.tool(name, tool_type="function") as execution:
        execution.arguments = arguments
        execution.tool_result = result = TOOLS[name](**arguments)
    return {"role": "tool", "tool_name": name, "content": result}


def converse(question: str) -> str:
    """Let the model call tools until it knows the answer."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        message = ollama.chat(MODEL, messages, tools=list(TOOLS.values())).message
        if not message.tool_calls:
            return message.content or ""
        messages += [message, *map(execute, message.tool_calls)]


def main() -> None:
    """Run the loop in a span of its own, and print the answer."""
    with tracer.start_as_current_span("ToolCallingLoop") as loop:
        # On a span of the program's own, MLflow's attributes (JSON) say what MLflow shows.
        loop.set_attribute("mlflow.spanType", "CHAIN")
        loop.set_attribute("mlflow.spanInputs", json.dumps({"question": QUESTION}))
        answer = converse(QUESTION)
        loop.set_attribute("mlflow.spanOutputs", json.dumps(answer))
    print(answer)
    provider.shutdown()


if __name__ == "__main__":
    main()
