"""An evaluation of traces that are there already, with scorers that need no model.

Somebody has noted at the trace with a tool which calls are expected of it.

Its last line is what each scorer says of each trace: {trace id: {scorer: value}}.

python evaluating.py sqlite:///mlflow.db EXPERIMENT
"""

# ruff: noqa: T201 - a script, and it prints

import json
import sys
from typing import Any

import mlflow
from mlflow.entities import AssessmentSource, Span, SpanType, Trace
from mlflow.genai.scorers import RegexMatch, ResponseLength, ToolCallCorrectness, scorer

tracking_uri, experiment = sys.argv[1:]
mlflow.set_tracking_uri(tracking_uri)
mlflow.set_experiment(experiment)


def spans(trace: Trace, kind: Any) -> list[Span]:
    return trace.search_spans(span_type=kind)


def text_of(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if block["type"] == "text")


def called(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={arguments[key]}' for key in sorted(arguments))})"


@scorer
def question(inputs: dict[str, Any] | None) -> str:
    """Say what the user asked last."""
    asked = [each for each in (inputs or {}).get("messages", []) if each["role"] == "user"]
    return text_of(asked[-1]["content"]) if asked else ""


@scorer
def answer(outputs: dict[str, Any] | None) -> str:
    """Say what the model answered."""
    choices = (outputs or {}).get("choices", [])
    return choices[0]["message"]["content"] or "" if choices else ""


@scorer
def calls_asked_for(trace: Trace) -> str:
    """Name the tools that the model asked for, with their arguments."""
    return "; ".join(
        called(call["function"]["name"], json.loads(call["function"]["arguments"]))
        for span in spans(trace, SpanType.CHAT_MODEL)
        for choice in (span.outputs or {}).get("choices", [])
        for call in choice["message"].get("tool_calls", [])
    )


@scorer
def tools_on_offer(trace: Trace) -> str:
    """Name the tools that the first chat had on offer."""
    chats = spans(trace, SpanType.CHAT_MODEL)
    tools = (chats[0].get_attribute("mlflow.chat.tools") or []) if chats else []
    return " ".join(tool["function"]["name"] for tool in tools)


@scorer
def tools_called(trace: Trace) -> str:
    """Say which tools ran, with what, and what came of it."""
    return "; ".join(
        f"{called(span.name, span.inputs)} = {span.outputs}" for span in spans(trace, SpanType.TOOL)
    )


@scorer
def tokens(trace: Trace) -> int:
    """Count the tokens of all calls of the trace."""
    return (trace.info.token_usage or {}).get("total_tokens", 0)


@scorer
def model_time_within_trace(trace: Trace) -> bool:
    """Say whether the calls of the model took some time, and no more than the whole trace."""
    took = [
        ((span.end_time_ns or 0) - span.start_time_ns) / 1e6
        for kind in (SpanType.CHAT_MODEL, SpanType.LLM, SpanType.EMBEDDING)
        for span in spans(trace, kind)
    ]
    return 0 < max(took) <= (trace.info.execution_duration or 0) + 1


@scorer
def calls_as_expected(trace: Trace, expectations: dict[str, Any] | None) -> str:
    """Say whether just those tools were called that somebody expected, where somebody did."""
    if not expectations:
        return ""
    exactly = ToolCallCorrectness(should_exact_match=True)
    return str(exactly(trace=trace, expectations=expectations).value)


@scorer
def session_so_far(session: list[Trace]) -> str:
    """Say what was asked in a session, in order."""
    return " ".join(trace.info.request_preview or "" for trace in session)


for found in mlflow.search_traces(filter_string="span.type = 'TOOL'", return_type="list"):
    arguments = {"bill_amount": 187.32, "tip_percentage": 22}
    mlflow.log_expectation(
        trace_id=found.info.trace_id,
        name="expected_tool_calls",
        value=[{"name": "calculate_tip", "arguments": arguments}],
        source=AssessmentSource(source_type="HUMAN", source_id="ada"),
    )

result = mlflow.genai.evaluate(
    data=mlflow.search_traces(order_by=["timestamp_ms ASC"]),
    scorers=[
        *(question, answer, calls_asked_for, tools_on_offer, tools_called),
        *(tokens, model_time_within_trace, calls_as_expected, session_so_far),
        RegexMatch(name="says_blue", pattern=r"\bblue\b"),
        ResponseLength(name="short", max_length=40),
    ],
)
rows = result.result_df
assert rows is not None
said = {
    row["trace_id"]: {
        name.removesuffix("/value"): value
        for name, value in row.items()
        if name.endswith(("/value", "/error_message")) and value not in {None, ""}
    }
    for row in json.loads(rows.to_json(orient="records"))
}
print(json.dumps(said))
