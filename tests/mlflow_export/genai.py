"""Spans made by opentelemetry-util-genai, as real instrumentations make them."""

from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import InferenceInvocation
from opentelemetry.util.genai.types import (
    FunctionToolDefinition,
    InputMessage,
    OutputMessage,
    TextPart,
)

QUESTION = "Briefly describe the components of an MLflow model"
ANSWER = "A model directory holds the artifacts, an MLmodel file and the environment."


class GenAi:
    """A provider that keeps its spans, and util-genai's handler on it.

    Build it after the environment variable that turns content on is set.
    """

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource({"service.name": "shop"}))
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.handler = TelemetryHandler(tracer_provider=self.provider)

    @property
    def tracer(self) -> Tracer:
        """A tracer for spans that are not GenAI."""
        return self.provider.get_tracer("shop")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that ended, in the order in which they did."""
        return self._kept.get_finished_spans()

    def forget(self) -> None:
        """Forget the spans."""
        self._kept.clear()

    @property
    def span(self) -> ReadableSpan:
        """The one span that ended."""
        (span,) = self.spans
        return span

    def asking(self, model: str = "llama3.2", **settings: Any) -> InferenceInvocation:
        """Start a chat that asks the usual question."""
        chat = self.handler.inference(
            "ollama", request_model=model, server_address="localhost", server_port=11434
        )
        chat.input_messages = [
            InputMessage("system", [TextPart("Answer in one sentence.")]),
            InputMessage("user", [TextPart(QUESTION)]),
        ]
        for name, value in settings.items():
            setattr(chat, name, value)
        return chat

    def chat(self, model: str = "llama3.2", **settings: Any) -> ReadableSpan:
        """Run a whole chat and return its span."""
        chat = self.asking(model, **settings)
        chat.tool_definitions = [CALCULATE_TIP]
        chat.temperature = 0.2
        chat.response_model_name = model
        chat.input_tokens = 26
        chat.output_tokens = 14
        chat.finish_reasons = ["stop"]
        chat.output_messages = [OutputMessage("assistant", [TextPart(ANSWER)], "stop")]
        chat.stop()
        return self.spans[-1]


CALCULATE_TIP = FunctionToolDefinition(
    name="calculate_tip",
    description="Calculate the tip for a bill",
    parameters={
        "type": "object",
        "properties": {
            "bill_amount": {"type": "number", "description": "The bill in dollars"},
            "tip_percentage": {"type": ["number", "null"]},
        },
        "required": ["bill_amount"],
    },
)
