"""Whole spans as MLflow reads them best: what the attributes' translation leaves to be done."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode

from ollama_otel._text import utf8
from ollama_otel.mlflow.translation import (
    FREE_PROVIDERS,
    exception_attributes,
    is_genai,
    root_attributes,
    translate_attributes,
    translate_name,
)


@dataclass(frozen=True)
class Wishes:
    """What an application may want of its traces in MLflow.

    Args:
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token.
        tags: tags for every trace; what a trace's first span says itself goes before them.
        remote_parents: whether a span whose parent is in another process keeps it. MLflow shows a
            trace as in progress for ever when its first span never comes, so such a span becomes
            the first one of its trace, unless the other process sends its spans there too.
    """

    free_providers: Collection[str] = FREE_PROVIDERS
    tags: Mapping[str, str] = field(default_factory=dict)
    remote_parents: bool = False

    @classmethod
    def checked(
        cls,
        free_providers: Collection[str],
        tags: Mapping[str, object] | None,
        *,
        remote_parents: bool,
    ) -> "Wishes":
        """Return the wishes as they can be fulfilled: MLflow's tags are texts.

        Args:
            free_providers: providers, or one as a text.
            tags: tags; values that are no texts are made so.
            remote_parents: as above.
        """
        one = {free_providers} if isinstance(free_providers, str) else free_providers
        texts = {str(key): str(value) for key, value in (tags or {}).items()}
        return cls(frozenset(one), texts, remote_parents)


_NO_WISHES: Final = Wishes()


def translate_span(span: ReadableSpan, wishes: Wishes = _NO_WISHES) -> ReadableSpan:
    """Return a span as MLflow reads it best.

    A GenAI span gets MLflow's attributes, a tool's span the tool's name, a success the status OK,
    a failure the event that shows it in red. The first span of a trace, of whatever kind, gives
    the trace its name, its previews and its tags. Every other span is returned as it is.

    Args:
        span: a finished span.
        wishes: what the application wants of its traces.
    """
    attributes = span.attributes or {}
    parent = _parent(span, wishes)
    translated = translate_attributes(
        attributes, free_providers=wishes.free_providers, first=parent is None
    )
    name = translate_name(span.name, attributes)
    if parent is None:
        translated = {**translated, **root_attributes(name, translated, wishes.tags)}
    if translated is attributes and name == span.name:
        return span
    told = is_genai(attributes) or "mlflow.spanType" in attributes
    status, events = _outcome(span) if told else (span.status, span.events)
    return like(span, name=name, attributes=translated, status=status, events=events, parent=parent)


def _parent(span: ReadableSpan, wishes: Wishes) -> SpanContext | None:
    parent = span.parent
    return None if parent is None or (parent.is_remote and not wishes.remote_parents) else parent


def like(span: ReadableSpan, **changes: Any) -> ReadableSpan:
    """Return the same span with other values in some places."""
    same = {
        "name": span.name,
        "context": span.context,
        "parent": span.parent,
        "resource": span.resource,
        "attributes": span.attributes,
        "events": span.events,
        "links": span.links,
        "kind": span.kind,
        "status": span.status,
        "start_time": span.start_time,
        "end_time": span.end_time,
        "instrumentation_scope": span.instrumentation_scope,
    }
    return _Changed(span, **{**same, **changes})


def bare(span: ReadableSpan) -> ReadableSpan:
    """Return a span that says when and where, and holds nothing of the content of another."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        start_time=span.start_time,
        end_time=span.end_time,
    )


class _Changed(ReadableSpan):
    """A span that another one became; what the SDK had left out of that, it lacks too."""

    def __init__(self, original: ReadableSpan, **parts: Any) -> None:
        super().__init__(**parts)
        self._original = original

    @property
    def dropped_attributes(self) -> int:
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        return self._original.dropped_links


def storable(span: ReadableSpan) -> ReadableSpan:
    """Return a span whose parts beside the attributes OTLP can carry and MLflow can store.

    The OTLP encoder fails over a lone surrogate in a name or a status, and MLflow over bytes in a
    resource; either would cost the whole batch.
    """
    description = span.status.description
    texts = [span.name, description or "", *(event.name for event in span.events)]
    texts += [
        value
        for event in span.events
        for value in (event.attributes or {}).values()
        if isinstance(value, str)
    ]
    if any(utf8(text) != text for text in texts):
        span = like(
            span,
            name=utf8(span.name),
            status=Status(span.status.status_code, description and utf8(description)),
            events=[_storable_event(event) for event in span.events],
        )
    resource = span.resource.attributes
    if not any(isinstance(value, bytes) for value in resource.values()):
        return span
    plain = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in resource.items()
    }
    return like(span, resource=Resource(plain, span.resource.schema_url))


def _storable_event(event: Event) -> Event:
    attributes = {
        name: utf8(value) if isinstance(value, str) else value
        for name, value in (event.attributes or {}).items()
    }
    return Event(utf8(event.name), attributes, event.timestamp)


def _outcome(span: ReadableSpan) -> tuple[Status, Sequence[Event]]:
    """Return OK for what did not fail, as MLflow's own spans have it; a failure with its event."""
    attributes = span.attributes or {}
    failed = span.status.status_code is StatusCode.ERROR or "error.type" in attributes
    if not failed:
        return Status(StatusCode.OK), span.events
    event = exception_attributes(attributes, span.status.description)
    status = Status(StatusCode.ERROR, event["exception.message"])
    if any(seen.name == "exception" for seen in span.events):
        return status, span.events
    return status, [*span.events, Event("exception", event, span.end_time)]
