"""A person who opens MLflow in a browser sees the conversation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .applications import (
    CONVERSATION,
    CONVERSATION_OUTPUT,
    TRACES_ONLY,
    Ended,
    run_instrumented,
)
from .servers import ARTIFACTS
from .stored import finished_traces

if TYPE_CHECKING:
    from mlflow.entities import Trace
    from playwright.sync_api import Locator, Page

    from .servers import OllamaServer

# What the pages show once to newcomers lies over everything else.
SEEN_BEFORE = """
for (const key of ["detectIssues.guidanceShown", "assistant.fab.autoOpenedOnFirstLoad"])
    localStorage.setItem(`mlflow.${key}_v1`, "true");
"""


@pytest.fixture(scope="module")
def assistant(ollama_server: OllamaServer, mlflow_server: str) -> Trace:
    """The trace of an agent that asks the model, calls a tool and asks again."""
    ended = run_traced("assistant.py", ollama_server, mlflow_server)
    assert ended == Ended(status=0, output="Your tip comes to $41.21.\n", complaints="")
    (trace,) = finished_traces(mlflow_server, "assistant.py", count=1)
    return trace


@pytest.fixture(scope="module")
def conversation(ollama_server: OllamaServer, mlflow_server: str) -> list[Trace]:
    """The traces of an application that makes all kinds of chat."""
    ended = run_traced(CONVERSATION, ollama_server, mlflow_server)
    assert ended == Ended(status=0, output=CONVERSATION_OUTPUT, complaints="")
    return finished_traces(mlflow_server, CONVERSATION, count=10)


def run_traced(app: str, ollama: OllamaServer, mlflow_uri: str) -> Ended:
    env = {"MLFLOW_TRACKING_URI": mlflow_uri, "MLFLOW_EXPERIMENT_NAME": app}
    return run_instrumented(app, ollama.url, **TRACES_ONLY, **env, OTEL_TRACES_EXPORTER="mlflow")


def open_trace(page: Page, mlflow_uri: str, trace: Trace) -> Locator:
    """Open a trace on the whole screen."""
    page.add_init_script(SEEN_BEFORE)
    page.goto(
        f"{mlflow_uri}/#/experiments/{trace.info.experiment_id}/traces"
        f"?selectedEvaluationId={trace.info.trace_id}"
    )
    page.get_by_role("button", name="Full screen").click()
    return page.get_by_role("dialog")


def keep_picture(page: Page, name: str) -> None:
    page.mouse.move(0, 0)  # nothing under the pointer
    page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")


def unreadable(shown: Locator, *words: str) -> list[str]:
    """Return those of the words that are not on the page."""
    text = shown.inner_text()
    return [word for word in words if word not in text]


def test_a_conversation_with_a_tool_can_be_read(
    browser_page: Page, mlflow_server: str, assistant: Trace
) -> None:
    """Question, tool call, result, answer, model and tokens are on the page of the last chat."""
    trace = open_trace(browser_page, mlflow_server, assistant)
    trace.get_by_text("chat scripted").nth(1).click()
    trace.get_by_text("150 tokens").wait_for()
    keep_picture(browser_page, "tool-call")
    header = ("Success", "219 tokens", "$0.00", "chat scripted\nscripted\n150 tokens\n$0.00")
    question = "User\nWhat is the tip for a $187.32 bill with a 22% tip?"
    call = ("Assistant\nTool calls\ncalculate_tip", "bill_amount\n187.32", "tip_percentage\n22")
    answer = "Outputs\nPretty\nAssistant\nYour tip comes to $41.21."
    result = "calculate_tip\n41.21\nmodel\nscripted"
    assert unreadable(trace, *header, question, *call, result, answer) == []


def test_the_spans_of_an_agent_are_a_tree(
    browser_page: Page, mlflow_server: str, assistant: Trace
) -> None:
    """The agent's span holds chat, tool and chat, with the tokens of each."""
    trace = open_trace(browser_page, mlflow_server, assistant)
    trace.get_by_text("chat scripted").nth(1).wait_for()
    duration = re.compile(r"^[\d.]+m?s$", re.MULTILINE)
    tree = duration.sub("<duration>", trace.inner_text()).partition("\nSpans\n")[2]
    chat = ("chat scripted", "<duration>")
    assert tree.splitlines()[:12] == [
        *("invoke_agent tip-assistant", "<duration>"),
        *(*chat, "69", "$0.00"),
        *("calculate_tip", "<duration>"),
        *(*chat, "150", "$0.00"),
    ]


def test_thinking_can_be_read(
    browser_page: Page, mlflow_server: str, conversation: list[Trace]
) -> None:
    """The answer is there, and what the model thought before it."""
    trace = open_trace(browser_page, mlflow_server, conversation[2])
    trace.get_by_text("Reasoning", exact=True).click()
    trace.get_by_text("Let me reason about it").wait_for()
    keep_picture(browser_page, "thinking")
    said = "Assistant\nReasoning\nLet me reason about it\nBlue wave wins!"
    assert unreadable(trace, "User\nWhy is the sky blue?", "scripted\n33 tokens", said) == []


def test_a_failure_is_red(
    browser_page: Page, mlflow_server: str, conversation: list[Trace]
) -> None:
    """The state is Error, and the message can be read."""
    trace = open_trace(browser_page, mlflow_server, conversation[7])
    trace.get_by_text("exception.message").wait_for()
    keep_picture(browser_page, "failure")
    message = "model 'nope' not found (status code: 404)"
    assert unreadable(trace, "\nError\n", "chat nope\nnope", "\nException\n", message) == []
