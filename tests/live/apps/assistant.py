"""An assistant that calls a tool, with spans of its own round the calls of the SDK.

python assistant.py http://127.0.0.1:11434
"""

# ruff: noqa: T201 - a script, and it prints

import json
import os
import sys
from typing import Any

from opentelemetry import trace

os.environ["OLLAMA_HOST"] = sys.argv[1]

import ollama

MODEL = "scripted"
TIP = {"role": "user", "content": "What is the tip for a $187.32 bill with a 22% tip?"}

tracer = trace.get_tracer("assistant")


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate the tip amount from the bill and the percentage.

    Args:
        bill_amount: The total bill amount
        tip_percentage: The percentage to give, as a whole number
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


def execute(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": json.dumps(arguments),
    }
    with tracer.start_as_current_span(f"execute_tool {name}", attributes=attributes) as span:
        result = calculate_tip(**arguments)
        span.set_attribute("gen_ai.tool.call.result", result)
    return {"role": "tool", "content": result, "tool_name": name}


def chat(messages: list[Any]) -> ollama.Message:
    return ollama.chat(MODEL, messages, tools=[calculate_tip]).message


def answer(question: dict[str, str]) -> str:
    asked = chat([question])
    calls = [call.function for call in asked.tool_calls or []]
    results = [execute(call.name, dict(call.arguments)) for call in calls]
    return (chat([question, asked, *results]).content or "").strip()


attributes = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "tip-assistant",
    "gen_ai.provider.name": "ollama",
}
with tracer.start_as_current_span("invoke_agent tip-assistant", attributes=attributes) as agent:
    said = answer(TIP)
    for key, role, content in (("input", "user", TIP["content"]), ("output", "assistant", said)):
        message = {"role": role, "parts": [{"type": "text", "content": content}]}
        agent.set_attribute(f"gen_ai.{key}.messages", json.dumps([message]))
print(said)
