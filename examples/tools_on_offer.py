"""Tools on offer: a Python function as it is, and the same tool written out as a dict.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    python tools_on_offer.py [model]
    mlflow ui

In MLflow both traces show the tool that was on offer, and the call with which the model answered.
Nothing is executed here; tool_loop_mlflow.py does that.
"""

import sys
from collections.abc import Callable
from typing import Any

import mlflow
import ollama

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
QUESTION = {"role": "user", "content": "What is the tip for a $187.32 bill with a 22% tip?"}


def calculate_tip(bill_amount: float, tip_percentage: float) -> float:
    """Calculate the tip for a bill.

    Args:
        bill_amount: The bill in dollars.
        tip_percentage: The tip in percent of the bill.
    """
    return round(bill_amount * tip_percentage / 100, 2)


CALCULATE_TIP = {
    "type": "function",
    "function": {
        "name": "calculate_tip",
        "description": "Calculate the tip for a bill.",
        "parameters": {
            "type": "object",
            "required": ["bill_amount", "tip_percentage"],
            "properties": {
                "bill_amount": {"type": "number", "description": "The bill in dollars."},
                "tip_percentage": {
                    "type": "number",
                    "description": "The tip in percent of the bill.",
                },
            },
        },
    },
}


def offer(tool: Callable[..., Any] | dict[str, Any]) -> None:
    """Ask with a tool on offer, and print what the model wants to call."""
    answer = ollama.chat(MODEL, [QUESTION], tools=[tool])
    for call in answer.message.tool_calls or []:
        print(call.function.name, *sorted(call.function.arguments.items()))


def main() -> None:
    """Offer the tool in both ways."""
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    offer(calculate_tip)
    offer(CALCULATE_TIP)


if __name__ == "__main__":
    main()
