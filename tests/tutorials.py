"""What the programs in examples/ print, and the traces that MLflow keeps of them.

The stand-in server says what the real one of the live tests says with its scripted model, so one
literal serves for both.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollama_otel.testing import Answer, Default, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlflow.entities import Span, Trace

    from ollama_otel.testing import Reply, Request

Json = dict[str, Any]

EXAMPLES = Path(__file__).parents[1] / "examples"
EXPERIMENT = "ollama-tracing"
MODEL = "scripted"
MISSING = "no-such-model"

SKY = "Why is the sky blue?"
QUESTIONS = [SKY, "Why is the sky red in the evening?", "Why is the sky black at night?"]
PARTS = "Briefly describe the components of an MLflow model"
BILL = "What is the tip for a $187.32 bill with a 22% tip?"
SAID, THOUGHT = "Blue wave wins!", "Let me reason about it"
TIP = "Your tip comes to $41.21.\n"
ARGUMENTS = {"bill_amount": 187.32, "tip_percentage": 22}
NOT_FOUND = f"model {MISSING!r} not found (status code: 404)"


def scripted_answer(request: Request) -> Reply:
    """Answer as the scripted model of the live tests does."""
    messages = request.fields.get("messages")
    if not messages or request.model == MISSING:
        return Default()
    if messages[-1]["role"] == "tool":
        return Answer(TIP)
    if request.fields.get("tools"):
        return Answer(tool_calls=[ToolCall("calculate_tip", ARGUMENTS)])
    return Answer(SAID, thinking=THOUGHT)


# A trace, told ------------------------------------------------------------------------------


def told(trace: Trace, order: Callable[[Span], Any]) -> Json:
    """Return what a person sees of a trace: state, name, previews and the tree.

    Args:
        trace: the trace.
        order: what puts spans beside each other in order.
    """
    spans = sorted(trace.data.spans, key=order)
    return {
        "state": str(trace.info.state),
        "name": trace.info.tags["mlflow.traceName"],
        "request": trace.info.request_preview,
        "response": trace.info.response_preview,
        "spans": [_told_span(span, spans) for span in spans if span.parent_id is None],
    }


def by_start(span: Span) -> int:
    """Put one span after the other."""
    return int(span.start_time_ns)


def by_inputs(span: Span) -> str:
    """Put spans in order that run at the same time."""
    return str(span.inputs)


def _told_span(span: Span, spans: list[Span]) -> Json:
    return node(
        span.name,
        span.span_type,
        span.inputs,
        span.outputs,
        *(_told_span(below, spans) for below in spans if below.parent_id == span.span_id),
        status=span.status.status_code.value,
        tools=span.attributes.get("mlflow.chat.tools"),
        errors=[
            str(event.attributes["exception.message"])
            for event in span.events
            if event.name == "exception"
        ],
    )


def node(  # noqa: PLR0913  (all that is shown of a span)
    name: str,
    kind: str | None,
    inputs: Any,
    outputs: Any,
    *below: Json,
    status: str = "OK",
    tools: list[Json] | None = None,
    errors: list[str] | None = None,
) -> Json:
    """Return what a person sees of a span."""
    return {
        "name": name,
        "type": kind,
        "inputs": inputs,
        "outputs": outputs,
        "status": status,
        "tools": tools,
        "errors": errors or [],
        "below": list(below),
    }


# What is expected ---------------------------------------------------------------------------


def trace_of(root: Json, request: str, response: str | None) -> Json:
    """Return a trace as ``told`` does; its name and state are those of its first span."""
    state = "ERROR" if root["status"] == "ERROR" else "OK"
    return {
        "state": state,
        "name": root["name"],
        "request": request,
        "response": response,
        "spans": [root],
    }


def user(question: str) -> Json:
    return {"role": "user", "content": question}


def choices(**message: Any) -> Json:
    message = {"role": "assistant", **message}
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


def chat(question: str, **options: Any) -> Json:
    inputs = {"model": MODEL, "messages": [user(question)], **options}
    outputs = choices(content=SAID, reasoning=THOUGHT)
    return node(f"chat {MODEL}", "CHAT_MODEL", inputs, outputs)


def own(name: str, kind: str | None, question: str, *below: Json) -> Json:
    """Return a span of the program's own, which was given a question and gave the answer."""
    return node(name, kind, {"question": question}, SAID, *below)


def trace_of_own(name: str, kind: str, *below: Json) -> Json:
    root = own(name, kind, SKY, *below)
    return trace_of(root, json.dumps({"question": SKY}), json.dumps(SAID))


TOOL = {
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
CALL = {
    "id": "call_0",
    "type": "function",
    "function": {"name": "calculate_tip", "arguments": json.dumps(ARGUMENTS)},
}
CALL_SHOWN = f"calculate_tip({json.dumps(ARGUMENTS)})"


def offered(messages: list[Json], outputs: Json) -> Json:
    inputs = {"model": MODEL, "messages": messages}
    return node(f"chat {MODEL}", "CHAT_MODEL", inputs, outputs, tools=[TOOL])


CALLED = choices(content=None, tool_calls=[CALL])
TOOL_OFFERED = trace_of(
    offered([user(BILL)], CALLED | {"messages": [{"role": "preview", "content": CALL_SHOWN}]}),
    BILL,
    CALL_SHOWN,
)
TOOL_LOOP = trace_of(
    node(
        "ToolCallingLoop",
        "CHAIN",
        {"question": BILL},
        TIP,
        offered([user(BILL)], CALLED),
        node("calculate_tip", "TOOL", ARGUMENTS, "41.21"),
        offered(
            [
                user(BILL),
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_0", "content": "41.21"},
            ],
            choices(content=TIP),
        ),
    ),
    json.dumps({"question": BILL}),
    json.dumps(TIP),
)
STREAMED = trace_of(
    own("ask_for_words", "UNKNOWN", PARTS, chat(PARTS, stream=True)),
    json.dumps({"question": PARTS}),
    json.dumps(SAID),
)
REQUEST = node(
    "GET /why-is-the-sky-blue",
    None,
    {"messages": [user(SKY)]},
    {
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "message": {"role": "assistant", "content": SAID},
            }
        ]
    },
    chat(SKY),
    status="UNSET",
)
FAILED = node(
    f"chat {MISSING}",
    "CHAT_MODEL",
    {"model": MISSING, "messages": [user(SKY)]},
    None,
    status="ERROR",
    errors=[NOT_FOUND],
)


def at_the_same_time(name: str, each: str, kind: str) -> Json:
    root = node(
        name,
        "UNKNOWN",
        {"questions": QUESTIONS},
        [SAID] * 3,
        *(own(each, kind, question, chat(question)) for question in sorted(QUESTIONS)),
    )
    return trace_of(root, json.dumps({"questions": QUESTIONS}), json.dumps([SAID] * 3))


MANUAL = (
    trace_of_own("function", "UNKNOWN", chat(SKY)),
    trace_of_own("async function", "AGENT", chat(SKY)),
    trace_of_own("generator", "UNKNOWN", chat(SKY, stream=True)),
    trace_of_own("async_generator", "UNKNOWN", chat(SKY, stream=True)),
    trace_of_own("outer block", "WEATHER", node("inner block", "UNKNOWN", None, None, chat(SKY))),
    at_the_same_time("threads", "function", "UNKNOWN"),
    at_the_same_time("tasks", "async function", "AGENT"),
    trace_of(
        node(
            "failure",
            "UNKNOWN",
            {"question": SKY},
            None,
            FAILED,
            status="ERROR",
            errors=[NOT_FOUND],
        ),
        json.dumps({"question": SKY}),
        None,
    ),
)
MANUAL_OUTPUT = f"""\
function: {SAID}
async function: {SAID}
generator: {SAID}
async generator: {SAID}
blocks: {SAID}
threads:
  {SAID}
  {SAID}
  {SAID}
tasks:
  {SAID}
  {SAID}
  {SAID}
failure: {NOT_FOUND}
"""
CALL_PRINTED = "calculate_tip ('bill_amount', 187.32) ('tip_percentage', 22)\n"


# The programs -------------------------------------------------------------------------------

WITH_CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}
# As in the README.
ZERO_CODE = WITH_CONTENT | {
    "OTEL_TRACES_EXPORTER": "mlflow",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx",  # which only the tests have installed
    "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
}
# MLflow would tell that it makes an experiment, and that it waits for its queue at the end.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True)
class Example:
    """A program, and what becomes of it.

    Args:
        file: its name in examples/.
        output: what it prints.
        traces: what MLflow keeps, oldest first.
        environment: what its header says that is to be set.
        launcher: the program that it is launched by.
        order: what puts spans beside each other in order.
    """

    file: str
    output: str
    traces: tuple[Json, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    launcher: tuple[str, ...] = ()
    order: Callable[[Span], Any] = by_start

    @property
    def command(self) -> list[str]:
        """The command line."""
        return [*map(tool, self.launcher), sys.executable, str(EXAMPLES / self.file), MODEL]


def tool(name: str) -> str:
    """Return where a program of this environment is."""
    return str(Path(sys.executable).with_name(name))


def by_name(*examples: Example) -> dict[str, Example]:
    return {example.file.removesuffix(".py"): example for example in examples}


PROGRAMS = by_name(
    Example(
        "app.py",
        f"{SAID}\n",
        (trace_of(chat(PARTS, stream=True), PARTS, SAID),),
        ZERO_CODE,
        launcher=("opentelemetry-instrument",),
    ),
    Example("own_opentelemetry.py", f"{SAID}\n", (trace_of(REQUEST, SKY, SAID),), WITH_CONTENT),
    Example(
        "mlflow_first.py",
        f"{SAID}\nOK chat {MODEL}\n",
        (trace_of(chat(SKY), SKY, SAID),),
    ),
    Example("chat.py", f"{SAID}\n{SAID}\n", (trace_of(chat(PARTS), PARTS, SAID), STREAMED)),
    Example("tools_on_offer.py", CALL_PRINTED * 2, (TOOL_OFFERED, TOOL_OFFERED)),
    Example("tool_loop_mlflow.py", f"{TIP}\n", (TOOL_LOOP,)),
    Example("tool_loop_opentelemetry.py", f"{TIP}\n", (TOOL_LOOP,), WITH_CONTENT),
    Example("manual_spans.py", MANUAL_OUTPUT, MANUAL, order=by_inputs),
)


# The notebook -------------------------------------------------------------------------------

NOTEBOOK = EXAMPLES / "tutorial.ipynb"
NOTEBOOK_TRACES = (trace_of(chat(PARTS), PARTS, SAID), STREAMED, TOOL_OFFERED, TOOL_LOOP)
NOTEBOOK_OUTPUT = {
    "setup": "",
    "autolog": "",
    "chat": f"{SAID}\n",
    "stream": SAID,
    "tools": CALL_PRINTED,
    "loop": f"{TIP}\n",
    "read": (
        f"ToolCallingLoop CHAIN OK\nchat {MODEL} CHAT_MODEL OK\n"
        f"calculate_tip TOOL OK\nchat {MODEL} CHAT_MODEL OK\n"
    ),
}
"""What each cell prints."""
# Without ipywidgets, which nobody needs, tqdm says so when MLflow imports it in a notebook.
NOTEBOOK_ENVIRONMENT = {"PYTHONWARNINGS": "ignore:IProgress not found"}
CELLS_WITH_A_TRACE = ("chat", "stream", "tools", "loop")
"""One trace each, in the order of NOTEBOOK_TRACES."""


def cells(notebook: Path) -> dict[str, Json]:
    """Return the code cells of a notebook by their ids."""
    read = json.loads(notebook.read_text(encoding="utf-8"))
    return {cell["id"]: cell for cell in read["cells"] if cell["cell_type"] == "code"}


def notebook_command(directory: Path) -> list[str]:
    """Return the command that executes the notebook into a directory, as ``executed.ipynb``."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    to_run = directory / "tutorial.ipynb"
    to_run.write_text(text.replace('MODEL = \\"llama3.2\\"', f'MODEL = \\"{MODEL}\\"'), "utf-8")
    return [tool("jupyter-execute"), "--output=executed", str(to_run)]


def printed(cell: Json) -> str:
    """Return what a cell of an executed notebook printed, errors too."""
    return "".join(
        text
        for output in cell["outputs"]
        for text in output.get("text", output.get("traceback", ()))
    )
