"""Evaluation: the application is asked many things at once, and its traces are marked.

    pip install "ollama-otel[mlflow]" ollama
    ollama pull llama3.2
    python evaluation.py [model]
    mlflow ui

Every row of the data set is answered in a thread of its own, and is a trace of its own. The scorers
are plain code, no model judges: they read tool calls, tokens and latency from the trace. After that
traces are searched, and what a person thinks of them is noted on them.
"""

import sys
from typing import Any

import mlflow
import ollama
from mlflow.entities import AssessmentSource, SpanType, Trace
from mlflow.genai.scorers import scorer

import ollama_otel.mlflow

MODEL = sys.argv[1] if len(sys.argv) > 1 else "llama3.2"
BILL = "What is the tip for a $187.32 bill with a 22% tip?"
CALL = {"name": "calculate_tip", "arguments": {"bill_amount": 187.32, "tip_percentage": 22}}
ROWS = [
    {
        "inputs": {"question": BILL, "with_tools": True},
        "expectations": {"tool_calls": [CALL]},
    },
    {
        "inputs": {"question": "Why is the sky blue?", "with_tools": False},
        "expectations": {"tool_calls": []},
    },
]


@mlflow.trace(span_type=SpanType.TOOL)
def calculate_tip(bill_amount: float, tip_percentage: float) -> str:
    """Calculate the tip for a bill.

    Args:
        bill_amount: The bill in dollars.
        tip_percentage: The tip in percent of the bill.
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


@mlflow.trace(span_type=SpanType.AGENT)  # else each call would be a trace of its own
def answer(question: str, *, with_tools: bool) -> str:
    """Answer a question, with tools or without."""
    tools = [calculate_tip] if with_tools else []
    messages: list[Any] = [{"role": "user", "content": question}]
    message = ollama.chat(MODEL, messages, tools=tools).message
    while message.tool_calls:
        results = [
            {
                "role": "tool",
                "tool_name": call.function.name,
                "content": calculate_tip(**call.function.arguments),
            }
            for call in message.tool_calls
        ]
        messages += [message, *results]
        message = ollama.chat(MODEL, messages, tools=tools).message
    return (message.content or "").strip()


@scorer
def calls_as_expected(trace: Trace, expectations: dict[str, Any]) -> bool:
    """Say whether just those tools ran that should, with the arguments that they should have."""
    ran = [
        {"name": span.name, "arguments": span.inputs}
        for span in trace.data.spans
        if span.span_type == SpanType.TOOL
    ]
    return bool(ran == expectations["tool_calls"])


@scorer
def tokens(trace: Trace) -> int:
    """Count the tokens of all calls of the model."""
    return (trace.info.token_usage or {}).get("total_tokens", 0)


@scorer
def within_a_minute(trace: Trace) -> bool:
    """Say whether the answer came in time."""
    return (trace.info.execution_duration or 0) < 60_000  # noqa: PLR2004  (milliseconds)


def note_what_a_person_thinks(trace: Trace) -> None:
    """Log feedback and an expectation onto a trace."""
    ada = AssessmentSource(source_type="HUMAN", source_id="ada")
    mlflow.log_feedback(
        trace_id=trace.info.trace_id,
        name="helpful",
        value=True,
        source=ada,
        rationale="The figure is right.",
    )
    mlflow.log_expectation(
        trace_id=trace.info.trace_id, name="expected_answer", value="$41.21", source=ada
    )


def found(filter_string: str) -> list[Trace]:
    """Search the traces of the active experiment."""
    traces = mlflow.search_traces(filter_string=filter_string, return_type="list", flush=True)
    return [trace for trace in traces if isinstance(trace, Trace)]


def main() -> None:
    """Evaluate, search, and note."""
    mlflow.set_experiment("ollama-tracing")
    ollama_otel.mlflow.autolog()

    result = mlflow.genai.evaluate(
        data=ROWS, predict_fn=answer, scorers=[calls_as_expected, tokens, within_a_minute]
    )
    for name, value in sorted(result.metrics.items()):
        print(f"{name}: {value:.0f}")

    for filter_string in (
        "span.type = 'CHAT_MODEL'",
        "span.type = 'TOOL' AND span.name = 'calculate_tip'",
        f"span.attributes.mlflow.llm.model LIKE '%{MODEL}%'",
        "trace.status = 'ERROR'",
    ):
        print(len(found(filter_string)), "traces with", filter_string)

    for trace in found("span.type = 'TOOL'"):
        note_what_a_person_thinks(trace)


if __name__ == "__main__":
    main()
