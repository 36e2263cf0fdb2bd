"""What more programs in examples/ print and store: retrieval, sessions, evaluation, frameworks.

As in ``tutorials``, one literal serves for the stand-in and for the real server.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tutorials import (
    ARGUMENTS,
    BILL,
    EXAMPLES,
    MODEL,
    QUESTIONS,
    QUIET,
    SAID,
    SKY,
    THOUGHT,
    TIP,
    WITH_CONTENT,
    chat,
    choices,
    node,
    trace_of,
    user,
)

if TYPE_CHECKING:
    from mlflow.entities import Trace

Json = dict[str, Any]

EMBEDDER: Final = "embedder"
ENVIRONMENT: Final = QUIET | WITH_CONTENT


def command(name: str, *arguments: str) -> list[str]:
    """Return the command line of a program.

    Args:
        name: its file in examples/, without the suffix.
        arguments: what comes after the model.
    """
    return [sys.executable, str(EXAMPLES / f"{name}.py"), MODEL, *arguments]


# rag.py -------------------------------------------------------------------------------------

LIBRARY: Final = [
    "The sky is blue because air scatters blue light.",
    "Most of the sea is salt water.",
    "A tip of 22 % of $187.32 is $41.21.",
]
RETRIEVED: Final = [
    {"page_content": text, "metadata": {"doc_uri": name}, "id": None}
    for text, name in zip(LIBRARY, ("sky.md", "sea.md"), strict=False)
]
NOTES: Final = "\n".join(["Answer from these notes only:", *LIBRARY[:2]])


def indexed(dimensions: int) -> Json:
    """Return the trace of the embedded library."""
    told = f"3 vectors of {dimensions} dimensions"
    inputs = {"model": EMBEDDER, "input": LIBRARY, "messages": [user(text) for text in LIBRARY]}
    outputs = {
        "vectors": 3,
        "dimensions": dimensions,
        "messages": [{"role": "assistant", "content": told}],
    }
    root = node(f"embeddings {EMBEDDER}", "EMBEDDING", inputs, outputs)
    return trace_of(root, LIBRARY[-1], told)


def answered(dimensions: int) -> Json:
    """Return the trace of the answer from the library."""
    question = {"question": SKY}
    embedded = node(
        f"embeddings {EMBEDDER}",
        "EMBEDDING",
        {"model": EMBEDDER, "input": SKY},
        {"vectors": 1, "dimensions": dimensions},
    )
    messages = [{"role": "system", "content": NOTES}, user(SKY)]
    chatted = node(
        f"chat {MODEL}",
        "CHAT_MODEL",
        {"model": MODEL, "messages": messages},
        choices(content=SAID, reasoning=THOUGHT),
    )
    root = node(
        "answer",
        "AGENT",
        question,
        SAID,
        node("retrieve", "RETRIEVER", question | {"count": 2}, RETRIEVED, embedded),
        node("answer_from", "CHAIN", {"documents": RETRIEVED, **question}, SAID, chatted),
    )
    return trace_of(root, json.dumps(question), json.dumps(SAID))


# sessions.py --------------------------------------------------------------------------------

SESSIONS_OUTPUT: Final = f"{SAID}\n" * 4 + "2 traces in the session of bob\n"
SESSION: Final = {"name": "weather desk", "season": "autumn"}
ADA: Final = SESSION | {"session": "session-of-ada", "user": "ada"}
BOB: Final = SESSION | {"session": "session-of-bob", "user": "bob"}
ASKED: Final = QUESTIONS[:2]


def session_of(trace: Trace) -> Json:
    """Return whom a trace belongs to, and what it was given."""
    metadata, tags = trace.info.trace_metadata, trace.info.tags
    return {
        "name": tags["mlflow.traceName"],
        "season": tags.get("season"),
        "session": metadata.get("mlflow.trace.session"),
        "user": metadata.get("mlflow.trace.user"),
    }


def talk(question: str) -> Json:
    """Return the call of the model in a session that came so far."""
    so_far = [
        message
        for earlier in ASKED[: ASKED.index(question)]
        for message in (
            user(earlier),
            {"role": "assistant", "content": SAID, "reasoning": THOUGHT},
        )
    ]
    return node(
        f"chat {MODEL}",
        "CHAT_MODEL",
        {"model": MODEL, "messages": [*so_far, user(question)]},
        choices(content=SAID, reasoning=THOUGHT),
    )


def named(root: Json, request: str, response: str) -> Json:
    return trace_of(root, request, response) | {"name": "weather desk"}


def said_below() -> Json:
    """Return what the exporter shows on an application's own first span."""
    message = {"role": "assistant", "content": SAID}
    return {"choices": [{"index": 0, "finish_reason": None, "message": message}]}


SESSIONS: Final = [
    *(
        named(
            node("POST /chat", "UNKNOWN", {"question": each}, SAID, talk(each)),
            each,
            json.dumps(SAID),
        )
        for each in ASKED
    ),
    *(
        named(
            node(
                "POST /chat",
                None,
                {"messages": [user(each)]},
                said_below(),
                talk(each),
                status="UNSET",
            ),
            each,
            SAID,
        )
        for each in ASKED
    ),
]

# evaluation.py ------------------------------------------------------------------------------

EVALUATION_OUTPUT: Final = (
    "calls_as_expected/mean: 1",
    "within_a_minute/mean: 1",
    "2 traces with span.type = 'CHAT_MODEL'",
    "1 traces with span.type = 'TOOL' AND span.name = 'calculate_tip'",
    f"2 traces with span.attributes.mlflow.llm.model LIKE '%{MODEL}%'",
    "0 traces with trace.status = 'ERROR'",
)
"""Lines among those that MLflow prints of itself."""

TIP_SAID: Final = TIP.strip()


def row(question: str, answer: str, *below: Json, with_tools: bool) -> Json:
    inputs = {"question": question, "with_tools": with_tools}
    root = node("answer", "AGENT", inputs, answer, *below)
    return trace_of(root, json.dumps(inputs), json.dumps(answer))


def evaluated(tool_loop: Json) -> list[Json]:
    """Return the traces of the rows, those with tools first.

    Args:
        tool_loop: the trace of the loop with the same question, whose spans are the same.
    """
    return [
        row(BILL, TIP_SAID, *tool_loop["spans"][0]["below"], with_tools=True),
        row(SKY, SAID, chat(SKY), with_tools=False),
    ]


EXPECTED_CALL: Final = {"name": "calculate_tip", "arguments": ARGUMENTS}


@dataclass(frozen=True)
class Marks:
    """What lies on an evaluated trace.

    Args:
        feedback: what scorers and people gave, without the count of tokens.
        expectations: what was expected.
        counts_tokens: whether the scorer found the tokens that the trace has.
    """

    feedback: Json
    expectations: Json
    counts_tokens: bool

    @classmethod
    def of(cls, trace: Trace) -> Marks:
        """Read the marks of a trace."""
        feedback, expectations = {}, {}
        for each in trace.info.assessments or ():
            if each.feedback is not None:
                feedback[each.name] = each.feedback.value
            if each.expectation is not None:
                expectations[each.name] = each.expectation.value
        usage = trace.info.token_usage or {}
        return cls(feedback, expectations, feedback.pop("tokens", 0) == usage.get("total_tokens"))


SCORED: Final = {"calls_as_expected": True, "within_a_minute": True}
MARKS: Final = [
    Marks(
        SCORED | {"helpful": True},
        {"tool_calls": [EXPECTED_CALL], "expected_answer": "$41.21"},
        counts_tokens=True,
    ),
    Marks(SCORED, {"tool_calls": []}, counts_tokens=True),
]

# server.py ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A request to the server."""

    team: str
    session: str
    user: str
    question: str


REQUESTS: Final = [
    Asked(team, f"session-{number}", f"user-{number % 2}", f"Why is number {number} not {team}?")
    for number in range(6)
    for team in ("physics", "finance")
]


def served(asked: Asked) -> tuple[str, str, Json]:
    """Return session, user and trace of a request."""
    inputs = {"question": asked.question}
    root = node("POST /chat", "CHAIN", inputs, SAID, chat(asked.question))
    return asked.session, asked.user, trace_of(root, json.dumps(inputs), json.dumps(SAID))


# langchain_chat.py, llamaindex_chat.py ------------------------------------------------------


def outline(told: Json) -> list[str]:
    """Return the names and types of a trace's spans, indented by their depth."""
    return [line for root in told["spans"] for line in _lines(root, "")]


def _lines(span: Json, indent: str) -> list[str]:
    below = [line for each in span["below"] for line in _lines(each, f"{indent}  ")]
    return [f"{indent}{span['name']} {span['type']} {span['status']}", *below]


def innermost(told: Json) -> Json:
    """Return the span of the call of Ollama."""
    (found,) = _named(told["spans"], f"chat {MODEL}")
    return found


def _named(spans: list[Json], name: str) -> list[Json]:
    here = [span for span in spans if span["name"] == name]
    return here + [found for span in spans for found in _named(span["below"], name)]


BRIEF: Final = [{"role": "system", "content": "Be brief."}, user(SKY)]


@dataclass(frozen=True)
class Framework:
    """A program with a framework.

    Args:
        lines: the outline of each of its traces.
        call: the span of the call of Ollama.
        count: how many traces.
    """

    lines: list[str]
    call: Json
    count: int = 1


FRAMEWORKS: Final = {
    "langchain_chat": Framework(
        [
            "RunnableSequence CHAIN OK",
            "  ChatPromptTemplate CHAIN OK",
            "  ChatOllama CHAT_MODEL OK",
            f"    chat {MODEL} CHAT_MODEL OK",
            "  StrOutputParser CHAIN OK",
        ],
        node(
            f"chat {MODEL}",
            "CHAT_MODEL",
            {"model": MODEL, "messages": BRIEF, "stream": True},
            choices(content=SAID, reasoning=THOUGHT),
        ),
        count=2,
    ),
    "llamaindex_chat": Framework(
        ["Ollama.chat CHAT_MODEL OK", f"  chat {MODEL} CHAT_MODEL OK"],
        node(
            f"chat {MODEL}",
            "CHAT_MODEL",
            {"model": MODEL, "messages": [user(SKY)], "options": {"num_ctx": 4096}},
            choices(content=SAID, reasoning=THOUGHT),
        ),
    ),
}

FILES: Final = (
    "evaluation.py",
    "langchain_chat.py",
    "llamaindex_chat.py",
    "rag.py",
    "server.py",
    "sessions.py",
)
"""The programs that this module knows."""
