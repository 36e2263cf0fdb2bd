"""MLflow's evaluation reads these traces: code scorers, parsers, judges and sessions. No model."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from .applications import run_as_it_is
from .expected_kinds import (
    CITY,
    HEARD,
    KINDS,
    NIGHT,
    OUT_OF_ORDER,
    OWN,
    PNG,
    TIP_ANSWER,
    WEATHER_CALLS,
    kinds,
)
from .expected_spans import BECAUSE, SKY, TIP
from .expected_traces import LAUNCHED, TIP_CALL, TOOLS
from .stored import finished_traces, texts_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow.entities import Trace

    from .kinds_run import KindsRun
    from .servers import OllamaServer

Values = dict[str, Any]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": CITY,
    },
}
TIP_ON_OFFER = """\
- calculate_tip: Calculate the tip.
    - bill_amount (required): number - The total bill amount
    - tip_percentage (required): integer - The percentage to give, as a whole number"""
TIP_CALLED = """\
Tool Call 1: calculate_tip
  Input Arguments: {'bill_amount': 187.32, 'tip_percentage': 22}
  Output: 41.21"""
SYSTEM_AND_SKY = json.dumps(
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SKY}]
)
DOCUMENTS = [{"content": "Air scatters blue light."}, {"content": "The sea mirrors the sky."}]
BLUE = (SKY, BECAUSE)

# What MLflow takes for the request and the response of a trace, to show them to a judge.
REQUEST_AND_RESPONSE = {
    "plain": (SYSTEM_AND_SKY, BECAUSE),
    "streamed": BLUE,
    "thinking": (SKY, "Blue wave wins!"),
    "tool call": (TIP, TIP_CALL),
    "tool result": ("41.21", f"{TIP_ANSWER}\n"),
    "schema": (SKY, '{"answer":"","n":1}'),
    "length stop": ("loop", "la lala lalalala lala"),
    "error": (SKY, " "),
    "asynchronous": BLUE,
    "streamed asynchronously": BLUE,
    "streamed thinking": (SKY, "Blue wave wins!"),
    "streamed tool call": (TIP, TIP_CALL),
    "two tool calls": ("both", WEATHER_CALLS),
    # MLflow has a text of the last message only, or else writes all inputs down.
    "image": (
        str(
            {
                "model": "scripted",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": SKY},
                            {
                                "type": "image_url",
                                "image_url": {"url": f"data:image/png;base64,{PNG}"},
                            },
                        ],
                    }
                ],
                "think": False,
            }
        ),
        BECAUSE,
    ),
    # Of several messages without a word of the model's, MLflow takes the whole list.
    "embed": (
        json.dumps([{"role": "user", "content": text} for text in ("One text", "and two")]),
        "2 vectors of 512 dimensions",
    ),
    "generate": (SYSTEM_AND_SKY, BECAUSE),
    "generate streamed": BLUE,
    "broken off": ("loop", "la lala lalala"),
    "tool loop": (TIP, TIP_ANSWER),
    "failing tool": (TIP, TIP_ANSWER),
    "retrieval": BLUE,
    "first turn": BLUE,
    "second turn": (NIGHT, BECAUSE),
    "concurrent tasks": (
        str(OWN[0]["mlflow.spanInputs"]),
        json.dumps(OWN[0]["mlflow.spanOutputs"]),
    ),
    "concurrent threads": HEARD[1],
}
TOOLS_ON_OFFER = {
    "tool call": TOOLS,
    "tool result": TOOLS,
    "streamed tool call": TOOLS,
    "two tool calls": [WEATHER, *TOOLS],
    "tool loop": TOOLS,
    "failing tool": TOOLS,
}
RAN = {
    "name": "calculate_tip",
    "arguments": {"bill_amount": 187.32, "tip_percentage": 22},
    "outputs": "41.21",
    "exception": None,
}
FAILED = {"outputs": None, "exception": f"LookupError: {OUT_OF_ORDER}"}
TOOLS_CALLED = {"tool loop": [RAN], "failing tool": [RAN | FAILED]}
SESSION = [
    {"role": "user", "content": SKY},
    {"role": "assistant", "content": BECAUSE},
    {"role": "user", "content": NIGHT},
    {"role": "assistant", "content": BECAUSE},
]
TOOL_LOOP = [
    {"role": "user", "content": TIP},
    {
        "role": "tool",
        "content": "Tool: calculate_tip\n"
        "Inputs: {'bill_amount': 187.32, 'tip_percentage': 22}\n"
        "Outputs: 41.21",
    },
    {"role": "assistant", "content": TIP_ANSWER},
]


@pytest.fixture(scope="module", params=["server", "sqlite"])
def traces(request: pytest.FixtureRequest, kinds_run: KindsRun) -> dict[str, Trace]:
    """The traces of one store under the names of their kinds."""
    tracking_uri = kinds_run.tracking_uris[request.param]
    return traces_of(tracking_uri, kinds_run.experiment)


def traces_of(tracking_uri: str, experiment: str) -> dict[str, Trace]:
    return dict(zip(KINDS, finished_traces(tracking_uri, experiment, len(KINDS)), strict=True))


@pytest.fixture(scope="module")
def parse() -> Callable[..., Any]:
    """Call a function of MLflow's that reads a trace before a judge does."""
    # Not at the top: it takes seconds, and the fast tests collect this folder too.
    utils = import_module("mlflow.genai.utils.trace_utils")
    return lambda function, *arguments, **options: getattr(utils, function)(*arguments, **options)


# What judges are given ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_request_and_response_are_texts(
    traces: dict[str, Trace], parse: Callable[..., Any], kind: str
) -> None:
    """The question and the answer, without anything round them."""
    trace = traces[kind]
    request = parse("extract_request_from_trace", trace)
    response = parse("extract_response_from_trace", trace)
    assert texts_read((request, response)) == texts_read(REQUEST_AND_RESPONSE[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_outputs_are_those_of_the_first_span(
    traces: dict[str, Trace], parse: Callable[..., Any], ollama_server: OllamaServer, kind: str
) -> None:
    """As they are stored, and as scorers are given them."""
    expected = kinds(urlsplit(ollama_server.url).port, LAUNCHED)[kind]["spans"][0]["attributes"]
    found = {
        "mlflow.spanInputs": parse("extract_inputs_from_trace", traces[kind]),
        "mlflow.spanOutputs": parse("extract_outputs_from_trace", traces[kind]),
    }
    assert texts_read(found) == texts_read({name: expected.get(name) for name in found})


@pytest.mark.parametrize("kind", TOOLS_ON_OFFER)
def test_the_tools_on_offer_are_found(
    traces: dict[str, Trace], parse: Callable[..., Any], kind: str
) -> None:
    """Each once, with its parameters; where none is found, MLflow would ask a model for them."""
    found = parse("extract_available_tools_from_trace", traces[kind])
    assert [tool.model_dump(exclude_none=True) for tool in found] == TOOLS_ON_OFFER[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tools_that_ran_are_found(
    traces: dict[str, Trace], parse: Callable[..., Any], kind: str
) -> None:
    """With arguments and result or error, under the tool's name; a mere wish for one is none."""
    found = parse("extract_tools_called_from_trace", traces[kind])
    assert [call.model_dump() for call in found] == TOOLS_CALLED.get(kind, [])


@pytest.mark.parametrize("kind", KINDS)
def test_the_retrieved_documents_are_found(
    traces: dict[str, Trace], parse: Callable[..., Any], kind: str
) -> None:
    """Under the id of the span that retrieved them."""
    trace = traces[kind]
    expected = {
        span.span_id: DOCUMENTS for span in trace.data.spans if span.name == "retrieval library"
    }
    assert parse("extract_retrieval_context_from_trace", trace) == expected
    assert bool(expected) == (kind == "retrieval")


def test_a_session_is_one_conversation(traces: dict[str, Trace], parse: Callable[..., Any]) -> None:
    """Its turns in the order in which they were, whatever the order of the traces."""
    session = [traces["second turn"], traces["first turn"]]
    parse("validate_session", session)  # raises where traces belong to no session, or to two
    assert parse("resolve_conversation_from_session", session) == SESSION


def test_a_tool_call_is_a_part_of_the_conversation(
    traces: dict[str, Trace], parse: Callable[..., Any]
) -> None:
    """Between the question and the answer."""
    conversation = parse(
        "resolve_conversation_from_session", [traces["tool loop"]], include_tool_calls=True
    )
    assert conversation == TOOL_LOOP


class StandInJudge:
    """Takes the place of a judge's model, says yes to everything and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, request: Values) -> Values:
        self.asked.append("\n".join(each["content"] for each in request["messages"]))
        verdict = json.dumps({"result": "yes", "rationale": "so it is"})
        message = {"role": "assistant", "content": verdict}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInJudge]:
    """Answer in OpenAI's name on this machine."""
    stand_in = StandInJudge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = json.dumps(stand_in.answer(json.loads(self.rfile.read(length)))).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "")  # else it looks for prices out there
        yield stand_in
        server.shutdown()
        thread.join()


JUDGED = {
    "RelevanceToQuery": ("generate streamed", [f"<question>{SKY}</question>", BECAUSE]),
    "Safety": ("thinking", ["<text>Blue wave wins!</text>"]),
    "RetrievalGroundedness": (
        "retrieval",
        [
            f"<question>{SKY}</question>",
            f"<answer>{BECAUSE}</answer>",
            f"<document>{DOCUMENTS}</document>",
        ],
    ),
    "ToolCallEfficiency": (
        "tool loop",
        [
            f"<request>\n{TIP}\n</request>",
            f"<available_tools>\n{TIP_ON_OFFER}\n</available_tools>",
            f"<tools_called>\n{TIP_CALLED}\n</tools_called>",
        ],
    ),
    "ToolCallCorrectness": (
        "tool loop",
        [
            f"<request>\n{TIP}\n</request>",
            f"<available_tools>\n{TIP_ON_OFFER}\n</available_tools>",
            f"<actual_tool_calls>\n{TIP_CALLED}\n</actual_tool_calls>",
        ],
    ),
}
"""Judge → the kind of trace that it is given, and what it must tell its model of that."""


@pytest.mark.parametrize("name", JUDGED)
def test_a_judge_tells_its_model_what_the_trace_holds(
    traces: dict[str, Trace], judge: StandInJudge, name: str
) -> None:
    """Question, answer, documents, tools on offer and tools called, in one request."""
    kind, told = JUDGED[name]
    scorer = getattr(import_module("mlflow.genai.scorers"), name)(model="openai:/judge")
    verdict = scorer(trace=traces[kind])
    (asked,) = judge.asked
    assert [text for text in told if text not in asked] == []
    assert [each.value for each in (verdict if isinstance(verdict, list) else [verdict])] == ["yes"]


@pytest.mark.parametrize("name", ["ConversationCompleteness", "ConversationalToolCallEfficiency"])
def test_a_judge_of_sessions_tells_its_model_the_conversation(
    traces: dict[str, Trace], judge: StandInJudge, name: str
) -> None:
    """Every turn, in order."""
    scorer = getattr(import_module("mlflow.genai.scorers"), name)(model="openai:/judge")
    assert scorer(session=[traces["second turn"], traces["first turn"]]).value == "yes"
    (asked,) = judge.asked
    assert json.loads(asked.rpartition("\nconversation: ")[2]) == SESSION


# What scorers find ---------------------------------------------------------------------------

CALLED = "calculate_tip(bill_amount=187.32, tip_percentage=22)"
SAYS_BLUE = {"answer": BECAUSE, "says_blue": "yes", "short": "no"}
DREAMS = {"answer": "Blue wave wins!", "says_blue": "no", "short": "yes"}
NO_ANSWER = {"says_blue": "no", "short": "no"}
ASKS_FOR_TIP = NO_ANSWER | {
    "question": TIP,
    "calls_asked_for": CALLED,
    "tools_on_offer": "calculate_tip",
    "tokens": 69,
}
SCORES: dict[str, Values] = {
    "plain": SAYS_BLUE | {"question": SKY, "tokens": 50},
    "streamed": SAYS_BLUE | {"question": SKY, "tokens": 31},
    "thinking": DREAMS | {"question": SKY, "tokens": 33},
    "tool call": ASKS_FOR_TIP,
    "tool result": {
        "question": TIP,
        "answer": f"{TIP_ANSWER}\n",
        "tools_on_offer": "calculate_tip",
        "says_blue": "no",
        "short": "yes",
        "tokens": 150,
    },
    "schema": {
        "question": SKY,
        "answer": '{"answer":"","n":1}',
        "says_blue": "no",
        "short": "yes",
        "tokens": 41,
    },
    "length stop": {
        "question": "loop",
        "answer": "la lala lalalala lala",
        "says_blue": "no",
        "short": "yes",
        "tokens": 17,
    },
    "error": NO_ANSWER | {"question": SKY, "tokens": 0},
    "asynchronous": SAYS_BLUE | {"question": SKY, "tokens": 31},
    "streamed asynchronously": SAYS_BLUE | {"question": SKY, "tokens": 31},
    "streamed thinking": DREAMS | {"question": SKY, "tokens": 33},
    "streamed tool call": ASKS_FOR_TIP,
    "two tool calls": {
        "question": "both",
        "calls_asked_for": "get_weather(city=Paris); get_weather(city=Tokyo)",
        "tools_on_offer": "get_weather calculate_tip",
        "says_blue": "no",
        "short": "no",
        "tokens": 19,
    },
    "image": SAYS_BLUE | {"question": SKY, "tokens": 38},
    "embed": {
        "question": "and two",
        "says_blue": "no",
        "short": "yes",
        "tokens": 21,
    },
    "generate": SAYS_BLUE | {"question": SKY, "tokens": 50},
    "generate streamed": SAYS_BLUE | {"question": SKY, "tokens": 31},
    "broken off": {
        "question": "loop",
        "answer": "la lala lalala",
        "says_blue": "no",
        "short": "yes",
        "tokens": 0,
    },
    "tool loop": {
        "question": TIP,
        "answer": TIP_ANSWER,
        "calls_asked_for": CALLED,
        "tools_on_offer": "calculate_tip",
        "tools_called": f"{CALLED} = 41.21",
        "calls_as_expected": "yes",
        "says_blue": "no",
        "short": "yes",
        "tokens": 219,
    },
    "failing tool": {
        "question": TIP,
        "answer": TIP_ANSWER,
        "calls_asked_for": CALLED,
        "tools_on_offer": "calculate_tip",
        "tools_called": f"{CALLED} = None",
        "calls_as_expected": "yes",
        "says_blue": "no",
        "short": "yes",
        "tokens": 252,
    },
    "retrieval": SAYS_BLUE | {"question": SKY, "tokens": 85},
    # A scorer of sessions is asked once, and answers for the first trace.
    "first turn": SAYS_BLUE | {"question": SKY, "tokens": 31, "session_so_far": f"{SKY} {NIGHT}"},
    "second turn": SAYS_BLUE | {"question": NIGHT, "tokens": 35},
    "concurrent tasks": {"says_blue": "no", "short": "no", "tokens": 45},
    "concurrent threads": {
        "question": "loop",
        "answer": "la lala lalalala",
        "says_blue": "no",
        "short": "yes",
        "tokens": 45,
    },
}


@pytest.fixture(scope="module")
def scores(kinds_run: KindsRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Values]:
    """What apps/evaluating.py says of each trace, under the names of the kinds."""
    # It writes into the store, and gets a copy of its own.
    original = kinds_run.tracking_uris["sqlite"].removeprefix("sqlite:///")
    copy = shutil.copy(original, tmp_path_factory.mktemp("evaluation") / "mlflow.db")
    own_store = f"sqlite:///{copy}"
    ended = run_as_it_is(
        "evaluating.py", own_store, kinds_run.experiment, MLFLOW_MODEL_CATALOG_URI=""
    )
    assert ended.status == 0, ended.complaints
    said = json.loads(ended.output.splitlines()[-1])
    traces = traces_of(own_store, kinds_run.experiment)
    return {kind: said[trace.info.trace_id] for kind, trace in traces.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_scorers_find_what_they_look_for(scores: dict[str, Values], kind: str) -> None:
    """Question, answer, tools on offer, called, run and expected, tokens, latency, sessions."""
    assert scores[kind] == SCORES[kind] | {"model_time_within_trace": True}
