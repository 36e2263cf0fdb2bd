"""First spans of traces: what they lack, and those that never come.

MLflow's list shows of a trace what its first span was given and gave. Where that is the
application's own (a request that came in, a job), it is told nothing of it: so the first question
and the last answer below it are told in its place.

MLflow shows a trace as in progress, and without previews, until its first span comes. Where an
application filters its spans, or ends before they do, that is for ever. A stand-in is stored in
the place of the span that is missing; should that come after all, it takes its place back, because
MLflow keeps one span for each id.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanContext, Status, StatusCode

from ollama_otel.mlflow._json import decode, encode
from ollama_otel.mlflow._previews import request_text, response_text
from ollama_otel.mlflow._spans import like
from ollama_otel.mlflow.translation import TRACE_NAME, is_genai

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

PATIENCE_SECONDS: Final = 900.0
"""How long a first span may take after the first of the spans below it.

Long, because MLflow keeps the state and the previews that a stand-in gave to a trace.
"""

STAND_IN: Final = "[not exported]"
"""The name of a stand-in."""

_INPUTS: Final = "mlflow.spanInputs"
_OUTPUTS: Final = "mlflow.spanOutputs"

_CONVERSATION: Final = "mlflow.message.format"

_TRACES: Final = 512
_REMEMBERED: Final = 4096


class FirstSpans:
    """Watches the traces on their way to MLflow, and completes their first spans.

    Args:
        patience: seconds until a first span counts as missing.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, _Trace] = OrderedDict()
        self._complete: OrderedDict[int, None] = OrderedDict()

    def complete(self, spans: Iterable["ReadableSpan"]) -> list["ReadableSpan"]:
        """Return the spans, first ones with what they lack.

        Args:
            spans: translated spans, about to be exported.
        """
        with self._lock:
            # The spans below first, in whichever order they come.
            ordered = list(spans)
            for span in ordered:
                self._note(span)
            return [self._completed(span) for span in ordered]

    def missing(self, *, everything: bool = False) -> list["ReadableSpan"]:
        """Return stand-ins for the first spans that are missing by now.

        Args:
            everything: whether nothing more will come.
        """
        made: list[ReadableSpan] = []
        latest = time.monotonic() - self._patience
        with self._lock:
            while self._waiting:
                trace_id, trace = next(iter(self._waiting.items()))
                # Where very many wait, the oldest have waited long enough.
                if not everything and trace.since > latest and len(self._waiting) <= _TRACES:
                    break
                made += trace.stand_ins()
                self._forget(trace_id)
        return made

    def _note(self, span: "ReadableSpan") -> None:
        if span.context is None or _is_first(span):
            return
        trace_id = span.context.trace_id
        if trace_id not in self._complete:
            self._waiting.setdefault(trace_id, _Trace()).add(span)

    def _completed(self, span: "ReadableSpan") -> "ReadableSpan":
        if span.context is None or not _is_first(span):
            return span
        trace = self._waiting.get(span.context.trace_id)
        self._forget(span.context.trace_id)
        attributes = span.attributes or {}
        if trace is None or is_genai(attributes) or _INPUTS in attributes or _OUTPUTS in attributes:
            return span
        told = trace.previews()
        return like(span, attributes={**told, **attributes}) if told else span

    def _forget(self, trace_id: int) -> None:
        self._waiting.pop(trace_id, None)
        self._complete[trace_id] = None
        if len(self._complete) > _REMEMBERED:
            self._complete.popitem(last=False)


def _is_first(span: "ReadableSpan") -> bool:
    return span.parent is None or span.parent.is_remote


class _Trace:
    """What was exported of a trace whose first span has not come."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self._seen: set[int] = set()
        self._children: dict[int, tuple[ReadableSpan, ReadableSpan]] = {}
        self._asked: ReadableSpan | None = None
        self._answered: ReadableSpan | None = None

    def add(self, span: "ReadableSpan") -> None:
        if span.context is None or span.parent is None:
            return
        self._seen.add(span.context.span_id)
        first, last = self._children.get(span.parent.span_id, (span, span))
        self._children[span.parent.span_id] = (
            min(first, span, key=_start),
            max(last, span, key=_end),
        )
        attributes = span.attributes or {}
        # Conversations only: nobody looks for the text of an embedding there.
        if _CONVERSATION in attributes:
            if _INPUTS in attributes:
                self._asked = min(self._asked or span, span, key=_start)
            if _OUTPUTS in attributes:
                self._answered = max(self._answered or span, span, key=_end)

    def previews(self) -> dict[str, str]:
        """Return inputs and outputs for the first span: the first question, the last answer."""
        told = {}
        if asked := request_text(_document(self._asked, _INPUTS)):
            told[_INPUTS] = encode({"messages": [{"role": "user", "content": asked}]})
        if answered := response_text(_document(self._answered, _OUTPUTS)):
            message = {"role": "assistant", "content": answered}
            choice = {"index": 0, "finish_reason": None, "message": message}
            told[_OUTPUTS] = encode({"choices": [choice]})
        return told

    def stand_ins(self) -> list["ReadableSpan"]:
        return [
            _stand_in(parent, first, last, self.previews())
            for parent, (first, last) in self._children.items()
            if parent not in self._seen
        ]


def _document(span: "ReadableSpan | None", name: str) -> object:
    return decode((span.attributes or {}).get(name)) if span is not None else None


def _start(span: "ReadableSpan") -> int:
    return span.start_time or 0


def _end(span: "ReadableSpan") -> int:
    return span.end_time or 0


def _stand_in(
    span_id: int, first: "ReadableSpan", last: "ReadableSpan", previews: Mapping[str, str]
) -> "ReadableSpan":
    return like(
        first,
        name=STAND_IN,
        context=first.context and _sibling(first.context, span_id),
        parent=None,
        attributes={
            **previews,
            TRACE_NAME: first.name,
            "mlflow.spanType": "UNKNOWN",
            "mlflow.spanLogLevel": 20,
        },
        events=(),
        links=(),
        status=Status(StatusCode.OK),
        end_time=last.end_time,
    )


def _sibling(context: SpanContext, span_id: int) -> SpanContext:
    return SpanContext(
        context.trace_id,
        span_id,
        is_remote=False,
        trace_flags=context.trace_flags,
        trace_state=context.trace_state,
    )
