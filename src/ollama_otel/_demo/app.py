"""The demo's application: what a program does with Ollama, one kind of call after another.

Nothing in it traces the calls: the instrumentor does. Only the tool-calling loop tells what no
instrumentor can see, that it is a loop and that it executes tools.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import StatusCode
from opentelemetry.util.genai.types import ContentCapturingMode
from opentelemetry.util.genai.utils import get_content_capturing_mode

if TYPE_CHECKING:
    from ollama import Client, Message
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.genai.handler import TelemetryHandler

MISSING_MODEL: Final = "no-such-model"
"""A name that no model has."""

MODELS_QUESTION: Final = "Briefly describe the components of an MLflow model"
SKY_QUESTION: Final = "Why is the sky blue? Answer in one sentence."
NUMBERS_QUESTION: Final = "Which is larger, 9.11 or 9.8?"
TIP_QUESTION: Final = "What is the tip for a $187.32 bill with a 22% tip?"
_MOST_ROUNDS: Final = 5


def calculate_tip(bill_amount: float, tip_percentage: float) -> float:
    """Calculate the tip for a bill.

    Args:
        bill_amount: The bill in dollars.
        tip_percentage: The tip in percent of the bill.
    """
    return round(float(bill_amount) * float(tip_percentage) / 100, 2)


_TOOLS: Final = {tool.__name__: tool for tool in (calculate_tip,)}


@dataclass(frozen=True)
class Application:
    """A program that asks a model.

    Args:
        client: talks to Ollama.
        model: whom to ask.
        tracer: makes the program's own spans.
        handler: tells the execution of tools.
    """

    client: "Client"
    model: str
    tracer: "Tracer"
    handler: "TelemetryHandler"

    def chat(self) -> str:
        """Ask, and get the answer in one piece."""
        return self._ask(MODELS_QUESTION)

    def streamed_chat(self) -> str:
        """Ask, and get the answer word by word."""
        stream = self.client.chat(self.model, [_message("user", SKY_QUESTION)], stream=True)
        return "".join(chunk.message.content or "" for chunk in stream)

    def thinking(self) -> str:
        """Ask a model that thinks before it answers."""
        return self._ask(NUMBERS_QUESTION, think=True)

    def tool_calling_loop(self) -> str:
        """Let the model call a function until it knows the answer."""
        messages: list[Mapping[str, Any] | Message] = [_message("user", TIP_QUESTION)]
        with self.tracer.start_as_current_span("ToolCallingLoop") as loop:
            # On a span of the program's own, MLflow's attributes say what MLflow shows.
            loop.set_attribute("mlflow.spanType", "CHAIN")
            _record(loop, "mlflow.spanInputs", {"messages": messages})
            answer = self._converse(messages)
            _record(loop, "mlflow.spanOutputs", {"messages": [_message("assistant", answer)]})
            loop.set_status(StatusCode.OK)
        return answer

    def embedding(self) -> str:
        """Turn a text into a vector."""
        (vector,) = self.client.embed(self.model, SKY_QUESTION).embeddings
        return f"a vector of {len(vector)} numbers"

    def missing_model(self) -> str:
        """Ask a model that is not there, which fails."""
        return self._ask("Is anybody there?", model=MISSING_MODEL)

    def _ask(self, question: str, model: str | None = None, **options: Any) -> str:
        answer = self.client.chat(model or self.model, [_message("user", question)], **options)
        return answer.message.content or ""

    def _converse(self, messages: "list[Mapping[str, Any] | Message]") -> str:
        for _ in range(_MOST_ROUNDS):
            message = self.client.chat(self.model, messages, tools=list(_TOOLS.values())).message
            if not message.tool_calls:
                return message.content or ""
            messages.append(message)
            messages += [self._execute(call) for call in message.tool_calls]
        return f"(no answer after {_MOST_ROUNDS} rounds of tool calls)"

    def _execute(self, call: "Message.ToolCall") -> Mapping[str, Any]:
        name, arguments = call.function.name, dict(call.function.arguments)
        try:
            with self.handler.tool(name, tool_type="function") as execution:
                execution.arguments = arguments
                result = execution.tool_result = str(_TOOLS[name](**arguments))
        except (KeyError, TypeError, ValueError) as error:
            # The model is told, as it may do better the next time.
            result = f"error: {error!r}"
        return {"role": "tool", "tool_name": name, "content": result}


def _message(role: str, content: str) -> Mapping[str, Any]:
    return {"role": role, "content": content}


def _record(span: "Span", attribute: str, content: object) -> None:
    """Set an attribute that holds content, if spans are to hold any."""
    if get_content_capturing_mode() in (
        ContentCapturingMode.SPAN_ONLY,
        ContentCapturingMode.SPAN_AND_EVENT,
    ):
        span.set_attribute(attribute, json.dumps(content))


@dataclass(frozen=True)
class Step:
    """One call of the application, and one trace.

    Args:
        title: its name, for people.
        run: makes the call and returns the answer.
        fails_with: the HTTP status of the error that it is there to show; None for an answer.
    """

    title: str
    run: Callable[[Application], str]
    fails_with: int | None = None


STEPS: Final = (
    Step("Chat", Application.chat),
    Step("Streamed chat", Application.streamed_chat),
    Step("Thinking", Application.thinking),
    Step("Tool-calling loop", Application.tool_calling_loop),
    Step("Embedding", Application.embedding),
    Step("Missing model", Application.missing_model, fails_with=404),
)
"""What the demo runs, in order."""
