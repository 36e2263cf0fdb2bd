"""The rules by which the cells of docs/comparison.md are read from what MLflow stored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

from fidelity_facts import FACTS, NO_TRACE  # noqa: E402 - found by the line above
from fidelity_traces import Record, Span, Trace, drawn  # noqa: E402 - found by the line above

QUESTION = {"role": "user", "content": "Why is the sky blue?"}
ANSWER = {"role": "assistant", "content": "Because."}
FUNCTION = {"name": "calculate_tip", "arguments": "{}"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": FUNCTION}]}


def record(**cases: list[Trace]) -> Record:
    return Record(
        traces={case.replace("_", " "): traces for case, traces in cases.items()},
        got={"chat": "Because.", "thinking": ["Hm, well", "Because."]},
        raised={"error": "ResponseError: not found"},
        lines=3,
        settings=2,
    )


def trace(*attributes: dict[str, Any], **more: Any) -> Trace:
    spans = [
        Span("chat", "CHAT_MODEL", None, "OK", each, more.get("events", ())) for each in attributes
    ]
    return Trace("OK", "Why is the sky blue?", '"Because."', None, {}, spans, 1234, frozenset())


def cell(label: str, of: Record) -> str:
    (fact,) = (fact for facts in FACTS.values() for fact in facts if fact.label == label)
    return fact.cell(of)


def told(inputs: object, outputs: object = None) -> Trace:
    return trace({"mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs})


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ([QUESTION], [QUESTION]),
        ({"model": "m", "messages": [QUESTION]}, [QUESTION]),
        ({"choices": [{"message": {**ANSWER, "tool_calls": None}}]}, [ANSWER]),
        (
            [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}],
            [{"role": "user", "content": "Hi"}],
        ),
        ([{"role": "user", "parts": [{"type": "blob", "content": "iVBO"}]}], []),
        ({"messages": [QUESTION, {**ANSWER, "tool_calls": [{"function": FUNCTION}]}]}, []),
        ({"choices": [{"message": {**ANSWER, "content": [{"type": "text", "text": ""}]}}]}, []),
        ({"choices": []}, []),
        ({"message": ANSWER, "done": True}, []),
        ("Why is the sky blue?", []),
        (None, []),
    ],
)
def test_the_page_draws_a_conversation_or_nothing_of_it(
    value: object, messages: list[dict[str, Any]]
) -> None:
    assert drawn(value) == messages


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"messages": [QUESTION]}, "yes"),
        ("Why is the sky blue?", "text"),
        ({"prompt": "Why is the sky blue?"}, "text"),
        ({"body": {"messages": [QUESTION]}}, "raw"),
        ({"messages": [ANSWER]}, "no"),
    ],
)
def test_a_question_is_a_message_or_a_text_or_raw_or_not_there(inputs: object, said: str) -> None:
    assert cell("question", record(chat=[told(inputs)])) == said


def test_a_result_is_linked_only_by_the_id_of_its_call() -> None:
    first = {"mlflow.spanInputs": {"messages": [QUESTION]}}

    def loop(result: dict[str, str]) -> Record:
        second = {"mlflow.spanInputs": {"messages": [QUESTION, CALLING, result]}}
        return record(tools=[trace(first, second)])

    label = "tool result linked to its call"
    result = {"role": "tool", "content": "41.21"}
    assert cell(label, loop({**result, "tool_call_id": "1"})) == "yes"
    assert cell(label, loop({**result, "tool_call_id": "2"})) == "no"
    assert cell(label, loop(result)) == "no"


def test_a_thought_in_a_stream_s_chunks_is_raw() -> None:
    chunk = ("mlflow.chunk.item.0", {"mlflow.chunk.value": '{"delta": {"reasoning": "Hm,"}}'})
    answered = {"mlflow.spanOutputs": {"choices": [{"message": ANSWER}]}}
    kept = {"mlflow.spanOutputs": {"choices": [{"message": {**ANSWER, "reasoning": "Hm, well"}}]}}
    assert cell("reasoning", record(thinking=[trace(kept)])) == "yes"
    assert cell("reasoning", record(thinking=[trace(answered, events=[chunk])])) == "raw"
    assert cell("reasoning", record(thinking=[trace(answered)])) == "no"


def test_a_preview_with_json_round_it_is_raw() -> None:
    stored = record(chat=[told("")])
    assert cell("request preview is the question", stored) == "yes"
    assert cell("response preview is the answer", stored) == "raw"


@pytest.mark.parametrize(
    ("cost", "said"),
    [(None, "none"), ({"total_cost": 0.0}, "zero"), ({"total_cost": 0.000108}, "$0.000108")],
)
def test_no_cost_is_not_a_cost_of_nothing(cost: object, said: str) -> None:
    attributes = {} if cost is None else {"mlflow.llm.cost": cost}
    stored = record(chat=[trace(attributes)])
    assert cell("cost of a chat with the local model", stored) == said


def test_every_row_about_a_call_says_when_it_left_no_trace() -> None:
    nothing = record()
    about_traces = {
        fact.label: fact.cell(nothing)
        for group, facts in FACTS.items()
        if group != "What it takes"
        for fact in facts
    }
    said = {label: cell for label, cell in about_traces.items() if cell != NO_TRACE}
    assert said == {
        "calls of a model that are there": "0 of 17",
        "traces that stay in progress for ever": "0",
        "tool loop is one tree": "no",
    }


def test_the_page_has_the_rows_that_there_are() -> None:
    made = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").partition("begin -->")[2]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in made.splitlines() if "|" in line]
    labels = [fact.label for facts in FACTS.values() for fact in facts]
    assert [row for row in rows if row in labels] == labels
