"""First spans that never come, and the ones that stand in for them.

MLflow shows a trace as in progress, and without previews, until its first span comes. Where an
application filters its spans, or ends before they do, that is for ever. A stand-in is stored in
the place of the span that is missing; should that come after all, it takes its place back, because
MLflow keeps one span for each id.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode

from ollama_otel.mlflow._spans import like
from ollama_otel.mlflow.translation import TRACE_NAME

PATIENCE_SECONDS: Final = 900.0
"""How long a first span may take after the first of the spans below it.

Long, because MLflow keeps the state and the previews that a stand-in gave to a trace.
"""

NAME: Final = "[not exported]"
"""The name of a stand-in."""

_TRACES: Final = 512
_REMEMBERED: Final = 4096

_FROM_FIRST: Final = ("mlflow.spanInputs", "mlflow.message.format")
_FROM_LAST: Final = ("mlflow.spanOutputs",)


class StandIns:
    """Watches which traces get their first span.

    Args:
        patience: seconds until a first span counts as missing.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, _Orphans] = OrderedDict()
        self._complete: OrderedDict[int, None] = OrderedDict()

    def note(self, spans: Iterable[ReadableSpan]) -> None:
        """Take notice of spans that are exported.

        Args:
            spans: translated spans.
        """
        with self._lock:
            for span in spans:
                if span.context is None:
                    continue
                trace_id = span.context.trace_id
                if span.parent is None or span.parent.is_remote:
                    self._complete_now(trace_id)
                elif trace_id not in self._complete:
                    self._waiting.setdefault(trace_id, _Orphans()).add(span, span.parent)

    def due(self, *, everything: bool = False) -> list[ReadableSpan]:
        """Return the stand-ins for what is missing by now.

        Args:
            everything: whether nothing more will come.
        """
        made: list[ReadableSpan] = []
        latest = time.monotonic() - self._patience
        with self._lock:
            while self._waiting:
                trace_id, orphans = next(iter(self._waiting.items()))
                # Where very many wait, the oldest have waited long enough.
                if not everything and orphans.since > latest and len(self._waiting) <= _TRACES:
                    break
                made += orphans.stand_ins()
                self._complete_now(trace_id)
        return made

    def _complete_now(self, trace_id: int) -> None:
        self._waiting.pop(trace_id, None)
        self._complete[trace_id] = None
        if len(self._complete) > _REMEMBERED:
            self._complete.popitem(last=False)


class _Orphans:
    """The spans of a trace whose first span has not come."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self._seen: set[int] = set()
        self._children: dict[int, list[ReadableSpan]] = {}

    def add(self, span: ReadableSpan, parent: SpanContext) -> None:
        if span.context is not None:
            self._seen.add(span.context.span_id)
        children = self._children.setdefault(parent.span_id, [span, span])
        begins, ends = (span.start_time or 0, span.end_time or 0)
        if begins < (children[0].start_time or 0):
            children[0] = span
        if ends >= (children[1].end_time or 0):
            children[1] = span

    def stand_ins(self) -> list[ReadableSpan]:
        return [
            _stand_in(parent, *children)
            for parent, children in self._children.items()
            if parent not in self._seen
        ]


def _sibling(context: SpanContext, span_id: int) -> SpanContext:
    return SpanContext(
        context.trace_id,
        span_id,
        is_remote=False,
        trace_flags=context.trace_flags,
        trace_state=context.trace_state,
    )


def _stand_in(span_id: int, first: ReadableSpan, last: ReadableSpan) -> ReadableSpan:
    told = {name: (first.attributes or {}).get(name) for name in _FROM_FIRST}
    told |= {name: (last.attributes or {}).get(name) for name in _FROM_LAST}
    told |= {TRACE_NAME: first.name, "mlflow.spanType": "UNKNOWN", "mlflow.spanLogLevel": 20}
    return like(
        first,
        name=NAME,
        context=first.context and _sibling(first.context, span_id),
        parent=None,
        attributes={name: value for name, value in told.items() if value is not None},
        events=(),
        links=(),
        status=Status(StatusCode.OK),
        end_time=last.end_time,
    )
