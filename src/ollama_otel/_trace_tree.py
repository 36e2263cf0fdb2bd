"""Traces stored in MLflow, drawn as trees for the terminal."""

import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities import Span, Trace

_USAGE: Final = "mlflow.chat.tokenUsage"
_TRACE_NAME: Final = "mlflow.traceName"
_LONGEST_ERROR: Final = 400
_MILLISECOND: Final = 1_000_000
_SECOND: Final = 1_000 * _MILLISECOND
_MINUTE: Final = 60 * _SECOND


# What is drawn ------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpanNode:
    """A span, and what happened within it.

    Args:
        name: its name.
        span_type: MLflow's span type.
        duration_ns: nanoseconds from start to end; None while it runs.
        input_tokens: tokens that the model read.
        output_tokens: tokens that the model made.
        error: why it failed; None if it did not.
        children: the spans below it, in the order in which they started.
    """

    name: str
    span_type: str
    duration_ns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    children: tuple["SpanNode", ...] = ()

    def walk(self) -> Iterator["SpanNode"]:
        """Visit this span and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class TraceTree:
    """A trace.

    Args:
        name: its name.
        roots: its first span; more than one where a parent is not stored.
    """

    name: str
    roots: tuple[SpanNode, ...] = ()

    def walk(self) -> Iterator[SpanNode]:
        """Visit all its spans."""
        for root in self.roots:
            yield from root.walk()


def trace_tree(trace: "Trace") -> TraceTree:
    """Read a trace as MLflow gives it back.

    Args:
        trace: with its spans, in any order.
    """
    spans = sorted(trace.data.spans, key=lambda span: span.start_time_ns)
    known = {span.span_id for span in spans}
    below: dict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        below[span.parent_id if span.parent_id in known else None].append(span)
    name = trace.info.tags.get(_TRACE_NAME) or trace.info.trace_id
    return TraceTree(name, tuple(_node(span, below) for span in below[None]))


def _node(span: "Span", below: "Mapping[str | None, Sequence[Span]]") -> SpanNode:
    usage = span.get_attribute(_USAGE) or {}
    ended = span.end_time_ns
    return SpanNode(
        name=span.name,
        span_type=span.span_type,
        duration_ns=None if ended is None else ended - span.start_time_ns,
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        error=_error(span),
        children=tuple(_node(child, below) for child in below.get(span.span_id, ())),
    )


def _error(span: "Span") -> str | None:
    if span.status.status_code.value != "ERROR":
        return None
    return textwrap.shorten(span.status.description, _LONGEST_ERROR, placeholder=" ...") or "failed"


# How it is drawn ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Glyphs:
    """The signs that draw a tree; all guides are equally wide."""

    good: str
    bad: str
    child: str
    last_child: str
    passing: str
    nothing: str


GLYPHS: Final = Glyphs("✓", "✗", "├── ", "└── ", "│   ", "    ")
ASCII_GLYPHS: Final = Glyphs("+", "x", "|-- ", "`-- ", "|   ", "    ")


def lines(trees: Iterable[TraceTree], width: int, glyphs: Glyphs = GLYPHS) -> Iterator[Text]:
    """Draw traces as lines of text.

    Args:
        trees: the traces.
        width: columns of the terminal.
        glyphs: the signs that draw the trees.
    """
    rows = [row for tree in trees for row in _rows(tree, glyphs)]
    columns = _fitting(width)
    longest = max((cell_len(row.guides + row.name) for row in rows), default=0)
    name_width = min(longest, width - _total_width(columns))
    titles = [column.justified(column.title) for column in columns]
    if titles:
        yield _line(Text(), titles, name_width, "dim")
    for row in rows:
        if row.span is None:
            yield _line(Text(row.name, "bold"), (), width)
            continue
        name = Text.assemble((row.guides, "dim"), (row.name, "red" if row.span.error else ""))
        cells = [column.justified(column.cell(row.span)) for column in columns]
        yield _line(name, cells, name_width)
        if row.span.error:
            yield from _complaint(row.span.error, row.below, width, glyphs)


def duration(nanoseconds: int | None) -> str:
    """Say how long something took, as exactly as people want to know.

    Args:
        nanoseconds: None for what has not ended.

    Example:
        >>> duration(1_234_567_890)
        '1.23 s'
    """
    if nanoseconds is None:
        return "running"
    if nanoseconds < _MILLISECOND:
        return "<1 ms"
    if nanoseconds < _SECOND:
        return f"{nanoseconds // _MILLISECOND} ms"
    if nanoseconds < _MINUTE:
        return f"{nanoseconds / _SECOND:.2f} s"
    minutes, rest = divmod(nanoseconds, _MINUTE)
    return f"{minutes} m {rest // _SECOND:02} s"


@dataclass(frozen=True)
class _Column:
    title: str
    width: int
    cell: Callable[[SpanNode], str]
    left: bool = False

    def justified(self, text: str) -> str:
        return f"{text[: self.width]:{'<' if self.left else '>'}{self.width}}"


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


# A narrow terminal loses the last ones.
_COLUMNS: Final = (
    _Column("type", 10, lambda span: span.span_type, left=True),
    _Column("time", 9, lambda span: duration(span.duration_ns)),
    _Column("tokens in", 9, lambda span: _count(span.input_tokens)),
    _Column("out", 6, lambda span: _count(span.output_tokens)),
)
_GAP: Final = "  "
_NARROWEST_NAME: Final = 24
_NARROWEST_MESSAGE: Final = 8


def _total_width(columns: Sequence[_Column]) -> int:
    return sum(len(_GAP) + column.width for column in columns)


def _fitting(width: int) -> Sequence[_Column]:
    """Return the columns that leave room for the names."""
    most = len(_COLUMNS)
    fitting = (_COLUMNS[:count] for count in range(most, 0, -1))
    return next((c for c in fitting if width - _total_width(c) >= _NARROWEST_NAME), ())


def _line(name: Text, cells: Iterable[str], name_width: int, style: str = "") -> Text:
    name.truncate(name_width, overflow="ellipsis", pad=True)
    for cell in cells:
        name.append(_GAP + cell, style)
    name.rstrip()
    return name


def _complaint(error: str, before: str, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Draw an error's message, over as many lines as it needs."""
    mark = f"{glyphs.bad} "
    room = max(width - len(before) - len(mark), _NARROWEST_MESSAGE)
    for text in textwrap.wrap(error, room):
        yield Text.assemble((before, "dim"), (mark + text, "red"))
        mark = " " * len(mark)


@dataclass(frozen=True)
class _Row:
    """One line of a tree.

    Args:
        name: a trace's name, or a span's.
        guides: what stands before the name.
        below: what stands before all that is said of the span on further lines.
        span: the span; None in a trace's line.
    """

    name: str
    guides: str = ""
    below: str = ""
    span: SpanNode | None = None


def _rows(tree: TraceTree, glyphs: Glyphs) -> Iterator[_Row]:
    yield _Row(tree.name)
    yield from _branches(tree.roots, "", glyphs)


def _branches(spans: Sequence[SpanNode], before: str, glyphs: Glyphs) -> Iterator[_Row]:
    for span in spans:
        is_last = span is spans[-1]
        inner = before + (glyphs.nothing if is_last else glyphs.passing)
        yield _Row(
            name=span.name,
            guides=before + (glyphs.last_child if is_last else glyphs.child),
            below=inner + (glyphs.passing if span.children else ""),
            span=span,
        )
        yield from _branches(span.children, inner, glyphs)
