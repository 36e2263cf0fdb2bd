"""First spans of traces: what they lack, and those that never come.

MLflow's list shows of a trace what its first span was given and gave. Where that is the
application's own (a request that came in, a job), it is told nothing of it: so the first question
and the last answer below it are told in its place.

MLflow shows a trace as in progress, and without previews, until its first span comes. Where an
application filters its spans, or ends before they do, that is for ever. So a trace that was quiet
for long, or that is open at the exit, gets a first span of ours. It has an id of its own: should
the one that was missed come after all, both are there.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanContext, Status, StatusCode

from ollama_otel.mlflow._json import decode, encode
from ollama_otel.mlflow._kinds import NOT_CAPTURED
from ollama_otel.mlflow._previews import request_text, response_text
from ollama_otel.mlflow._spans import bare, like
from ollama_otel.mlflow.translation import is_genai, root_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

PATIENCE_SECONDS: Final = 900.0
"""How long a trace may be quiet before its first span counts as missing."""

STAND_IN: Final = "[not exported]"
"""The name of a first span of ours."""

_INPUTS: Final = "mlflow.spanInputs"
_OUTPUTS: Final = "mlflow.spanOutputs"
_CONVERSATION: Final = "mlflow.message.format"

_TRACES: Final = 1024
"""Traces that are watched at once; the oldest are let go of where there are more."""

_FINISHED: Final = 1 << 16
"""Traces that are known to have had their first span, so that what comes later misses none."""

_OTHER_ID: Final = 0x5BD1E9955BD1E995
"""Makes an id of our own out of that of the span that is missing."""


class FirstSpans:
    """Watches the traces on their way to MLflow, and completes their first spans.

    Args:
        patience: seconds until a first span counts as missing.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        # Reentrant: the garbage collector may end a span, and export it, in here.
        self._lock = threading.RLock()
        self._open: OrderedDict[int, _Trace] = OrderedDict()
        self._finished: OrderedDict[int, None] = OrderedDict()

    def complete(self, spans: Iterable["ReadableSpan"]) -> list["ReadableSpan"]:
        """Return the spans, first ones with what they lack.

        Args:
            spans: translated spans, about to be exported.
        """
        ordered = list(spans)
        for span in ordered:
            self._note(span)
        return [self._completed(span) for span in ordered]

    def missing(self, *, everything: bool = False) -> list["ReadableSpan"]:
        """Return first spans of ours for the traces that miss theirs by now.

        Args:
            everything: whether nothing more will come.
        """
        latest = time.monotonic() - self._patience
        with self._lock:
            due = [
                trace_id
                for trace_id, trace in self._open.items()
                if everything or trace.heard_at <= latest
            ]
            quiet = [self._open.pop(trace_id) for trace_id in due]
            for trace_id in due:
                self._finish(trace_id)
        return [trace.stand_in() for trace in quiet if trace.first is not None]

    def _finish(self, trace_id: int) -> None:
        self._finished[trace_id] = None
        if len(self._finished) > _FINISHED:
            self._finished.popitem(last=False)

    def _note(self, span: "ReadableSpan") -> None:
        if span.context is None or span.parent is None or span.parent.is_remote:
            return
        heard = _hear(span)
        with self._lock:
            if span.context.trace_id in self._finished:
                return
            trace = self._open.pop(span.context.trace_id, None) or _Trace()
            # A trace without a model's call has nothing to tell, and MLflow shows it as it is.
            if heard is None and trace.first is None:
                return
            trace.add(span, heard)
            self._open[span.context.trace_id] = trace
            if len(self._open) > _TRACES:
                self._open.popitem(last=False)

    def _completed(self, span: "ReadableSpan") -> "ReadableSpan":
        if span.context is None or not (span.parent is None or span.parent.is_remote):
            return span
        with self._lock:
            trace = self._open.pop(span.context.trace_id, None)
            self._finish(span.context.trace_id)
        attributes = span.attributes or {}
        if trace is None or is_genai(attributes) or _INPUTS in attributes or _OUTPUTS in attributes:
            return span
        told = trace.previews()
        return like(span, attributes={**told, **attributes}) if told else span


@dataclass(frozen=True)
class _Heard:
    """What a model's call says: texts, and when."""

    asked: str | None
    answered: str | None


def _hear(span: "ReadableSpan") -> _Heard | None:
    """Return what was asked and answered; None for what is no conversation with a model."""
    attributes = span.attributes or {}
    if _CONVERSATION not in attributes:
        return _Heard(None, None) if is_genai(attributes) else None
    return _Heard(
        _said(request_text(decode(attributes.get(_INPUTS)))),
        _said(response_text(decode(attributes.get(_OUTPUTS)))),
    )


def _said(text: str | None) -> str | None:
    return None if text == NOT_CAPTURED else text


@dataclass
class _Trace:
    """What is kept of a trace whose first span has not come: no spans with their content."""

    heard_at: float = field(default_factory=time.monotonic)
    first: "ReadableSpan | None" = None
    starts: int = 0
    ends: int = 0
    asked: tuple[int, str] | None = None
    answered: tuple[int, str] | None = None

    def add(self, span: "ReadableSpan", heard: _Heard | None) -> None:
        self.heard_at = time.monotonic()
        start, end = span.start_time or 0, span.end_time or 0
        if self.first is None or start < self.starts:
            self.first, self.starts = bare(span), start
        self.ends = max(self.ends, end)
        if heard and heard.asked and (self.asked is None or start < self.asked[0]):
            self.asked = start, heard.asked
        if heard and heard.answered and (self.answered is None or end >= self.answered[0]):
            self.answered = end, heard.answered

    def previews(self) -> dict[str, str]:
        """Return inputs and outputs for the first span: the first question, the last answer."""
        told = {}
        if self.asked:
            told[_INPUTS] = encode({"messages": [{"role": "user", "content": self.asked[1]}]})
        if self.answered:
            message = {"role": "assistant", "content": self.answered[1]}
            choice = {"index": 0, "finish_reason": None, "message": message}
            told[_OUTPUTS] = encode({"choices": [choice]})
        return told

    def stand_in(self) -> "ReadableSpan":
        if self.first is None or self.first.context is None or self.first.parent is None:
            raise ValueError("a trace without spans misses none")
        attributes: Mapping[str, Any] = {
            **self.previews(),
            **root_attributes(self.first.name, {}),
            "mlflow.spanType": "UNKNOWN",
            "mlflow.spanLogLevel": 20,
        }
        return like(
            self.first,
            name=STAND_IN,
            context=_sibling(self.first.context, self.first.parent.span_id ^ _OTHER_ID),
            parent=None,
            attributes=attributes,
            status=Status(StatusCode.OK),
            end_time=self.ends,
        )


def _sibling(context: SpanContext, span_id: int) -> SpanContext:
    return SpanContext(
        context.trace_id,
        span_id,
        is_remote=False,
        trace_flags=context.trace_flags,
        trace_state=context.trace_state,
    )
