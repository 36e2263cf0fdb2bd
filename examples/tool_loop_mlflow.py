"""A tool-calling loop as one trace, written with MLflow's API.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    python tool_loop_mlflow.py [model]
    mlflow ui

In MLflow:

    ToolCallingLoop      CHAIN
    ├── chat llama3.2    CHAT_MODEL
    ├── calculate_tip    TOOL
    └── chat llama3.2    CHAT_MODEL

tool_loop_opentelemetry.py writes the same loop with OpenTelemetry's API, and gives the same trace.
"""

import sys
from typing import Any

import mlflow
import ollama
from mlflow.entities import SpanType

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTION = "What is the tip for a $187.32 bill with a 22% tip?"


@mlflow.trace(span_type=SpanType.TOOL)
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
    result = TOOLS[call.function.name](**call.function.arguments)
    return {"role": "tool", "tool_name": call.function.name, "content": result}


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
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    with mlflow.start_span("ToolCallingLoop", span_type=SpanType.CHAIN) as loop:
        loop.set_inputs({"question": QUESTION})
        answer = converse(QUESTION)
        loop.set_outputs(answer)
    print(answer)


if __name__ == "__main__":
    main()
