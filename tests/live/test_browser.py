"""A person who opens MLflow in a browser sees the conversation.

What is compared is what can be read: whole texts, where they stand, and whether they are red. A
picture of every page is kept in artifacts/live.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .applications import TRACES_ONLY, Ended, run_instrumented
from .pages import (
    cells,
    expect_text,
    expect_to_read,
    expect_value,
    is_red,
    open_list,
    open_trace,
    tree,
)
from .stored import finished_traces

if TYPE_CHECKING:
    from mlflow.entities import Trace
    from playwright.sync_api import Locator, Page

    from .servers import OllamaServer

APP = "gallery.py"
KINDS = (
    *("plain", "streamed", "thinking", "unfinished_thought", "structured", "cut_short"),
    *("broken_off", "generate", "embed", "tool_call", "two_tool_calls", "tool_results"),
    *("tool_loop", "retrieval", "missing_model", "image", "large_image"),
    *("first_turn", "second_turn"),
)
WHY = "Why is the sky blue?"
SKY = "The sky is blue because air scatters light."
TIP = "What is the tip for a $187.32 bill with a 22% tip?"
NOT_FOUND = "model 'nope' not found (status code: 404)"
NOT_CAPTURED = "[content not captured]"
IMAGE_WIDTH = 160  # pixels
LARGE_IMAGE = "[image/png, 66260 bytes, sha256 CTWbas75Ty2Cxwnr3ee5CUEHfERSC-0DCqWO7E1Tbg0]"

# Texts of the page of a call.
TOOLS = ("Tools", "(1)", "Click to Expand")
INPUTS, OUTPUTS = ("Inputs", "Pretty"), ("Outputs", "Pretty")
QUESTION = ("User", WHY)
MODEL = ("model", "scripted")
THINKING, NO_THINKING = ("think", "true"), ("think", "false")
SCHEMA = (
    *("response_format", "type: json_schema", "json_schema:", "schema:", "type: object"),
    *("properties:", "answer:", "type: string", "'n':", "type: integer"),
    *("required:", "- answer", "- 'n'"),
)
STREAMED = ("stream", "true")
ANSWER = ("Assistant", SKY)
PARIS, TOKYO = (("get_weather", "city", city) for city in ("Paris", "Tokyo"))

Gallery = dict[str, "Trace"]
Row = tuple[str, ...]
Opened = Callable[[str], "Locator"]


@dataclass(frozen=True)
class Shown:
    """What the page of a call shows.

    Attributes:
        name: the span's name.
        numbers: tokens and cost, in the head of the page.
        lines: the inputs and outputs.
    """

    name: str
    numbers: str
    lines: tuple[str, ...]


PAGES = {
    "plain": Shown(
        "chat scripted",
        "79 tokens $0.00",
        (
            *(*INPUTS, "System", "You are a physicist. Be brief.", *QUESTION),
            *(*MODEL, "temperature", "0", "top_p", "0.9", "max_tokens", "64"),
            *("stop", "- STOP", "seed", "7", *NO_THINKING),
            *(*OUTPUTS, *ANSWER),
        ),
    ),
    "streamed": Shown(
        "chat scripted",
        "31 tokens $0.00",
        (*INPUTS, *QUESTION, *MODEL, *STREAMED, *NO_THINKING, *OUTPUTS, *ANSWER),
    ),
    "thinking": Shown(
        "chat scripted",
        "33 tokens $0.00",
        (
            *(*INPUTS, *QUESTION, *MODEL, *THINKING),
            *(*OUTPUTS, "Assistant", "Reasoning", "Blue wave wins!"),
        ),
    ),
    "unfinished_thought": Shown(
        "chat scripted",
        "25 tokens $0.00",
        (
            *(*INPUTS, *QUESTION, *MODEL, "max_tokens", "4", *THINKING),
            *(*OUTPUTS, "Assistant", "Reasoning", "finish_reason", "length"),
        ),
    ),
    "structured": Shown(
        "chat scripted",
        "41 tokens $0.00",
        (
            *(*INPUTS, *QUESTION, *MODEL, "max_tokens", "60", *NO_THINKING),
            *("output_type", "json", *SCHEMA, *OUTPUTS, "Assistant", '{ "answer": "", "n": 1 }'),
        ),
    ),
    "cut_short": Shown(
        "chat scripted",
        "17 tokens $0.00",
        (
            *(*INPUTS, "User", "loop", *MODEL, "max_tokens", "5", *NO_THINKING),
            *(*OUTPUTS, "Assistant", "la lala lalalala lala", "finish_reason", "length"),
        ),
    ),
    "broken_off": Shown(
        "chat scripted",
        "",
        (
            *(*INPUTS, "User", "loop", *MODEL, *STREAMED, *NO_THINKING),
            *(*OUTPUTS, "Assistant", "la lala lalala", "finish_reason", "error"),
        ),
    ),
    "generate": Shown(
        "text_completion scripted",
        "67 tokens $0.00",
        (
            *(*INPUTS, "System", "You are a physicist.", *QUESTION),
            *(*MODEL, *THINKING),
            *(*OUTPUTS, "Assistant", "Reasoning", "Blue wave wins!"),
        ),
    ),
    "embed": Shown(
        "embeddings embedder",
        "22 tokens $0.00",
        (
            *(*INPUTS, "User", "The sky is blue.", "User", "Grass is green.", "model", "embedder"),
            *(*OUTPUTS, "Assistant", "2 vectors of 512 dimensions"),
            *("vectors", "2", "dimensions", "512"),
        ),
    ),
    "two_tool_calls": Shown(
        "chat scripted",
        "19 tokens $0.00",
        (
            *(*TOOLS, *INPUTS, "User", "both", *MODEL, *STREAMED, *NO_THINKING),
            *(*OUTPUTS, "Assistant", "Tool calls", *PARIS, *TOKYO),
        ),
    ),
    "tool_results": Shown(
        "chat scripted",
        "206 tokens $0.00",
        (
            *(*TOOLS, *INPUTS, "User", "both", "Assistant", "Tool calls", *PARIS, *TOKYO),
            *("get_weather", "rain, 11 degrees", "get_weather", "sun, 24 degrees"),
            *(*MODEL, *NO_THINKING, *OUTPUTS, "Assistant", "Your tip comes to $41.21."),
        ),
    ),
    "large_image": Shown(
        "chat scripted",
        "53 tokens $0.00",
        (
            *(*INPUTS, "User", "What is in this picture?", LARGE_IMAGE),
            *(*MODEL, *NO_THINKING, *OUTPUTS, *ANSWER),
        ),
    ),
}

OK_STATE, ERROR_STATE, NONE = "OK", "Error", "-"
CALLED = 'get_weather({"city": "Paris"}), get_weather({"city": "Tokyo"})'
COLUMNS = ("Input", "Output", "State", "Tokens")
LIST: dict[str, Row] = {
    "plain": (WHY, SKY, OK_STATE, "79"),
    "streamed": (WHY, SKY, OK_STATE, "31"),
    "thinking": (WHY, "Blue wave wins!", OK_STATE, "33"),
    "unfinished_thought": (WHY, "Let me reason", OK_STATE, "25"),
    "structured": (WHY, '{"answer":"","n":1}', OK_STATE, "41"),
    "cut_short": ("loop", "la lala lalalala lala", OK_STATE, "17"),
    "broken_off": ("loop", "la lala lalala", OK_STATE, NONE),
    "generate": (WHY, "Blue wave wins!", OK_STATE, "67"),
    "embed": ("Grass is green.", "2 vectors of 512 dimensions", OK_STATE, "22"),
    "two_tool_calls": ("both", CALLED, OK_STATE, "19"),
    "tool_results": ("both", "Your tip comes to $41.21.", OK_STATE, "206"),
    "tool_loop": (f'{{"question": "{TIP}"}}', '"Your tip comes to $41.21."', OK_STATE, "219"),
    "retrieval": (WHY, SKY, OK_STATE, "45"),
    "missing_model": (WHY, NONE, ERROR_STATE, NONE),
    "image": ("What is in this picture?", SKY, OK_STATE, "53"),
    "large_image": (f"What is in this picture? {LARGE_IMAGE}", SKY, OK_STATE, "53"),
    "first_turn": (WHY, SKY, OK_STATE, "31"),
    "second_turn": ("And at night?", SKY, OK_STATE, "74"),
}


def run_traced(experiment: str, app: str, uris: tuple[str, str], **env: str) -> Ended:
    ollama_url, mlflow_uri = uris
    return run_instrumented(
        app,
        ollama_url,
        OTEL_TRACES_EXPORTER="mlflow",
        OTEL_SERVICE_NAME=app.removesuffix(".py"),
        MLFLOW_TRACKING_URI=mlflow_uri,
        MLFLOW_EXPERIMENT_NAME=experiment,
        **{**TRACES_ONLY, **env},
    )


@pytest.fixture(scope="module")
def gallery(ollama_server: OllamaServer, mlflow_server: str) -> Gallery:
    """One trace of each kind."""
    return gallery_in("gallery", (ollama_server.url, mlflow_server))


def gallery_in(experiment: str, uris: tuple[str, str], **env: str) -> Gallery:
    printed = "".join(f"{kind}\n" for kind in KINDS)
    ended = run_traced(experiment, APP, uris, **env)
    assert ended == Ended(status=0, output=printed, complaints="")
    traces = finished_traces(uris[1], experiment, count=len(KINDS))
    return dict(zip(KINDS, traces, strict=True))


@pytest.fixture
def opened(browser_page: Page, mlflow_server: str, gallery: Gallery) -> Opened:
    """Open the trace of a kind; the value is its dialog."""
    return lambda kind: open_trace(browser_page, mlflow_server, gallery[kind])


@pytest.mark.parametrize("kind", PAGES)
def test_a_call_can_be_read(opened: Opened, kind: str) -> None:
    """Who said what, the options, tools called with what, and the tokens are on the page."""
    shown = PAGES[kind]
    trace = opened(kind)
    expect_text(trace.get_by_role("tabpanel"), *shown.lines)
    expect_to_read(trace.get_by_role("heading").first, "Success", shown.numbers)
    expect_value(lambda: tree(trace, [shown.name]), [(0, shown.name)])


def test_what_the_model_thought_can_be_unfolded(opened: Opened) -> None:
    """The box over the answer holds the reasoning, and opens by a click."""
    answer = opened("thinking").get_by_role("tabpanel")
    thought = answer.get_by_text("Let me reason about it")
    reasoning = answer.get_by_text("Reasoning", exact=True)
    reasoning.wait_for()
    assert not thought.is_visible()
    reasoning.click()
    thought.wait_for()


def test_the_tools_on_offer_can_be_unfolded(opened: Opened) -> None:
    """Each has its description, and its parameters with type and description."""
    call = opened("tool_call").get_by_role("tabpanel")
    call.get_by_role("heading", name="Tools").locator("xpath=following-sibling::button").click()
    call.get_by_role("button", name="calculate_tip").click()
    tool = "calculate_tip Calculate the tip amount from the bill and the percentage."
    bill = "bill_amount required Type number Description The total bill amount"
    percentage = "tip_percentage required Type integer Description The percentage to give, as a"
    expect_to_read(call, f"Tools (1) {tool} {bill} {percentage} whole number Inputs")


def test_a_tool_call_has_its_arguments(opened: Opened) -> None:
    """The tool is named in the answer, with each argument and its value."""
    call = opened("tool_call").get_by_role("tabpanel")
    expect_to_read(call, f"User {TIP}", "Outputs Pretty Assistant Tool calls calculate_tip")
    expect_to_read(call, "bill_amount 187.32", "tip_percentage 22")


def test_a_tool_loop_is_a_tree(opened: Opened) -> None:
    """The application's span holds the chat, the tool and the chat."""
    trace = opened("tool_loop")
    expect_text(
        trace.get_by_role("tabpanel"),
        *(*INPUTS, "question", TIP, *OUTPUTS, "Your tip comes to $41.21."),
    )
    expect_to_read(trace.get_by_role("heading").first, "219 tokens $0.00")
    names = ["ToolCallingLoop", "chat scripted", "calculate_tip", "chat scripted"]
    expect_value(lambda: tree(trace, names), list(zip((0, 1, 1, 1), names, strict=True)))


def test_the_last_call_of_a_tool_loop_tells_all_that_went_before(opened: Opened) -> None:
    """Question, tool call, result, answer and tokens are on one page."""
    trace = opened("tool_loop")
    trace.get_by_text("chat scripted").nth(1).click()
    call = trace.get_by_role("tabpanel")
    expect_to_read(call, f"User {TIP} Assistant Tool calls calculate_tip", "calculate_tip 41.21")
    expect_to_read(call, "Outputs Pretty Assistant Your tip comes to $41.21.")
    expect_to_read(trace, "chat scripted scripted 150 tokens $0.00")


def test_a_tool_has_arguments_and_a_result(opened: Opened) -> None:
    """They are on the page of the tool's span, which has the tool's name."""
    trace = opened("tool_loop")
    trace.get_by_text("calculate_tip").first.click()
    tool = trace.get_by_role("tabpanel")
    expect_to_read(tool, "bill_amount 187.32", "tip_percentage 22", "Outputs Pretty 41.21")


def test_an_agent_that_looks_something_up_is_a_tree(opened: Opened) -> None:
    """The embedding is under the retrieval, and the documents that were found can be read."""
    trace = opened("retrieval")
    names = ["invoke_agent librarian", "retrieval library", "embeddings embedder", "chat scripted"]
    expect_value(lambda: tree(trace, names), list(zip((0, 1, 2, 1), names, strict=True)))
    expect_text(trace.get_by_role("tabpanel"), *INPUTS, *QUESTION, *OUTPUTS, *ANSWER)
    trace.get_by_text("retrieval library").click()
    found = ("Air scatters blue light.", "score", ":", "0.92")
    expect_text(trace.get_by_role("tabpanel"), *INPUTS, "query", WHY, *OUTPUTS, *found)


def test_a_failure_is_red(opened: Opened) -> None:
    """The state, the span's name and the exception are; its type and message can be read."""
    trace = opened("missing_model")
    events = trace.get_by_role("tabpanel")
    expect_to_read(events, "exception.type", "ollama.ResponseError", "exception.stacktrace")
    state = trace.get_by_text("Error", exact=True)
    names = trace.get_by_text("chat nope", exact=True)
    red = (state, names.first, names.last, events.get_by_text("Exception", exact=True))
    expect_value(lambda: [is_red(each) for each in red], [True] * 4)
    trace.get_by_role("tab", name="Inputs / Outputs").click()
    expect_text(trace.get_by_role("tabpanel"), *INPUTS, *QUESTION, "model", "nope")
    trace.get_by_role("tab", name="Events").click()
    expect_to_read(events, "exception.message", NOT_FOUND)


def test_a_success_is_not_red(opened: Opened) -> None:
    """Neither the state nor the span's name."""
    trace = opened("plain")
    state = trace.get_by_text("Success", exact=True)
    names = trace.get_by_text("chat scripted", exact=True)
    expect_value(lambda: [is_red(each) for each in (state, names.first, names.last)], [False] * 3)


def test_an_image_can_be_seen(opened: Opened) -> None:
    """It is in the bubble of the message, in its own size."""
    trace = opened("image")
    image = trace.get_by_role("tabpanel").locator("img")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == IMAGE_WIDTH
    expect_text(
        trace.get_by_role("tabpanel"),
        *(*INPUTS, "User", "What is in this picture?", *MODEL, *NO_THINKING, *OUTPUTS, *ANSWER),
    )


def test_the_list_says_what_was_asked_and_answered(
    browser_page: Page, mlflow_server: str, gallery: Gallery
) -> None:
    """Plain text for input and output, the state, and the tokens of the whole trace."""
    rows = open_gallery(browser_page, mlflow_server, gallery)
    expect_value(lambda: {kind: cells(rows, gallery[kind], *COLUMNS) for kind in LIST}, LIST)
    question, call, *_ = cells(rows, gallery["tool_call"], *COLUMNS)
    assert (question, call[:14]) == (TIP, "calculate_tip(")  # arguments come in any order
    assert is_red(rows.get_by_text("Error", exact=True))
    assert not is_red(rows.get_by_text("OK", exact=True).first)


def test_the_list_can_show_names_users_and_sessions(
    browser_page: Page, mlflow_server: str, gallery: Gallery
) -> None:
    """The columns are filled for those who want them."""
    rows = open_gallery(browser_page, mlflow_server, gallery)
    browser_page.get_by_role("button", name="Display").click()
    browser_page.get_by_role("menuitem", name="Columns").press("ArrowRight")
    for column in ("Trace name", "User"):
        browser_page.get_by_role("menuitemcheckbox", name=column).click()
    browser_page.keyboard.press("Escape")
    wanted = ("Trace name", "User", "Session", "State")
    expected: dict[str, Row] = {
        "second_turn": ("turn", "ada", "support-42", "OK"),
        "tool_loop": ("ToolCallingLoop", NONE, NONE, "OK"),
        "missing_model": ("chat nope", NONE, NONE, "Error"),
        "embed": ("embeddings embedder", NONE, NONE, "OK"),
    }
    expect_value(lambda: {kind: cells(rows, gallery[kind], *wanted) for kind in expected}, expected)


def test_a_session_reads_as_one_conversation(
    browser_page: Page, mlflow_server: str, gallery: Gallery
) -> None:
    """Its traces are one row of the list, and turns of one page."""
    open_gallery(browser_page, mlflow_server, gallery)
    browser_page.get_by_role("button", name="Group traces by session").click()
    session = browser_page.get_by_role("row").filter(has_text="support-42")
    session.get_by_text("105", exact=True).wait_for()
    session.get_by_text("support-42").click()
    page = browser_page.get_by_role("main")
    expect_to_read(page, "Session support-42", f"User {WHY} Assistant {SKY}")
    expect_to_read(page, f"Turn 2 User And at night? Assistant {SKY}")


def open_gallery(page: Page, mlflow_uri: str, gallery: Gallery) -> Locator:
    experiment = str(gallery["plain"].info.experiment_id)
    return open_list(page, mlflow_uri, experiment, count=len(gallery))


def test_nothing_that_was_said_is_shown_unless_it_was_asked_for(
    browser_page: Page, ollama_server: OllamaServer, mlflow_server: str
) -> None:
    """The pages say that the content was not captured; models, tokens and tools' names stay."""
    uris = ollama_server.url, mlflow_server
    silent = gallery_in(
        "silent gallery", uris, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="NO_CONTENT"
    )
    rows = open_gallery(browser_page, mlflow_server, silent)
    row: Row = (NOT_CAPTURED, NOT_CAPTURED, OK_STATE, "19")
    expect_value(lambda: cells(rows, silent["two_tool_calls"], *COLUMNS), row)
    trace = open_trace(browser_page, mlflow_server, silent["two_tool_calls"])
    expect_text(
        trace.get_by_role("tabpanel"),
        *(*INPUTS, "User", NOT_CAPTURED, *MODEL, *STREAMED, *NO_THINKING),
        *(*OUTPUTS, "Assistant", NOT_CAPTURED),
    )
