"""Write the spans of a recording down as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan


def tree(spans: Sequence[ReadableSpan]) -> list[str]:
    """Return the spans' names in the order of their starts, each level indented by a blank.

    A span whose parent is not among them is a root.
    """
    known = {_id(span) for span in spans}
    roots = [span for span in spans if span.parent is None or span.parent.span_id not in known]
    return list(_lines(roots, spans, ""))


def parents(spans: Sequence[ReadableSpan]) -> list[tuple[str, str]]:
    """Return every span's name with that of its parent, sorted; a root has the parent "".

    For spans that start in no certain order.
    """
    names = {_id(span): span.name for span in spans}
    return sorted(
        (span.name, names.get(span.parent.span_id, "") if span.parent else "") for span in spans
    )


def _lines(
    level: Sequence[ReadableSpan], spans: Sequence[ReadableSpan], indent: str
) -> Iterator[str]:
    for span in sorted(level, key=lambda span: span.start_time or 0):
        yield indent + span.name
        below = [each for each in spans if each.parent and each.parent.span_id == _id(span)]
        yield from _lines(below, spans, f"{indent} ")


def _id(span: ReadableSpan) -> int:
    return span.context.span_id if span.context else 0
