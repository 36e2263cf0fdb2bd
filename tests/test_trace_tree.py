"""Traces as trees in the terminal: reading, layout, narrow terminals."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from rich.text import Span

from ollama_otel._trace_tree import (
    ASCII_GLYPHS,
    GLYPHS,
    Glyphs,
    SpanNode,
    TraceTree,
    duration,
    lines,
    trace_tree,
)

if TYPE_CHECKING:
    from mlflow.entities import Trace

MS = 1_000_000
LOOP = TraceTree(
    "Tool-calling loop",
    (
        SpanNode(
            "ToolCallingLoop",
            "CHAIN",
            1_234 * MS,
            error="ValueError: the bill is wrong",
            children=(
                SpanNode("chat qwen3", "CHAT_MODEL", 1_000 * MS, 144, 2),
                SpanNode(
                    "calculate_tip",
                    "TOOL",
                    MS // 2,
                    error="TypeError: calculate_tip() got an unexpected argument 'tip'",
                    children=(SpanNode("SELECT", "UNKNOWN", 0),),
                ),
                SpanNode("chat qwen3", "CHAT_MODEL", None, 100_147),
            ),
        ),
    ),
)
PLAIN = TraceTree("Chat", (SpanNode("chat qwen3", "CHAT_MODEL", 257 * MS, 9, 36),))


def drawn(*trees: TraceTree, width: int = 80, glyphs: Glyphs = GLYPHS) -> str:
    """The lines as one text, with a margin that shows trailing blanks."""
    return "\n" + "".join(f"{line.plain}\n" for line in lines(trees, width, glyphs))


def test_a_tree_with_all_that_can_be_said_of_a_span() -> None:
    assert (
        drawn(PLAIN, LOOP)
        == """
                       type             time  tokens in     out
Chat
└── chat qwen3         CHAT_MODEL     257 ms          9      36
Tool-calling loop
└── ToolCallingLoop    CHAIN          1.23 s
    │   ✗ ValueError: the bill is wrong
    ├── chat qwen3     CHAT_MODEL     1.00 s        144       2
    ├── calculate_tip  TOOL            <1 ms
    │   │   ✗ TypeError: calculate_tip() got an unexpected argument 'tip'
    │   └── SELECT     UNKNOWN         <1 ms
    └── chat qwen3     CHAT_MODEL    running     100147
"""
    )


def test_a_terminal_without_unicode_gets_the_same_tree_in_ascii() -> None:
    assert (
        drawn(LOOP, glyphs=ASCII_GLYPHS)
        == """
                       type             time  tokens in     out
Tool-calling loop
`-- ToolCallingLoop    CHAIN          1.23 s
    |   x ValueError: the bill is wrong
    |-- chat qwen3     CHAT_MODEL     1.00 s        144       2
    |-- calculate_tip  TOOL            <1 ms
    |   |   x TypeError: calculate_tip() got an unexpected argument 'tip'
    |   `-- SELECT     UNKNOWN         <1 ms
    `-- chat qwen3     CHAT_MODEL    running     100147
"""
    )


def test_a_narrow_terminal_loses_columns_and_wraps_errors() -> None:
    assert (
        drawn(LOOP, width=50)
        == """
                       type             time
Tool-calling loop
└── ToolCallingLoop    CHAIN          1.23 s
    │   ✗ ValueError: the bill is wrong
    ├── chat qwen3     CHAT_MODEL     1.00 s
    ├── calculate_tip  TOOL            <1 ms
    │   │   ✗ TypeError: calculate_tip() got an
    │   │     unexpected argument 'tip'
    │   └── SELECT     UNKNOWN         <1 ms
    └── chat qwen3     CHAT_MODEL    running
"""
    )


def test_a_very_narrow_terminal_keeps_the_names() -> None:
    assert (
        drawn(PLAIN, LOOP, width=24)
        == """
Chat
└── chat qwen3
Tool-calling loop
└── ToolCallingLoop
    │   ✗ ValueError:
    │     the bill is
    │     wrong
    ├── chat qwen3
    ├── calculate_tip
    │   │   ✗ TypeError:
    │   │     calculate_
    │   │     tip() got
    │   │     an
    │   │     unexpected
    │   │     argument
    │   │     'tip'
    │   └── SELECT
    └── chat qwen3
"""
    )


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    names = TraceTree("日本語" * 20, (SpanNode("名前" * 30, "CHAT_MODEL", MS),))
    everything = list(lines([names, PLAIN, LOOP], width))

    assert [line.plain for line in everything if line.cell_len > width] == []


def test_a_long_name_is_cut_before_the_columns() -> None:
    assert (
        drawn(TraceTree("Chat", (SpanNode("chat " + "x" * 80, "A_VERY_LONG_TYPE", MS),)), width=80)
        == """
                                        type             time  tokens in     out
Chat
└── chat xxxxxxxxxxxxxxxxxxxxxxxxxxxx…  A_VERY_LON       1 ms
"""
    )


def test_failed_spans_and_their_errors_are_red_and_names_of_traces_bold() -> None:
    def coloured(style: str) -> list[str]:
        return [
            line.plain[span.start : span.end].strip()
            for line in lines([LOOP], 80)
            for span in [*line.spans, Span(0, len(line), line.style)]
            if span.style == style
        ]

    assert coloured("bold") == ["Tool-calling loop"]
    assert coloured("red") == [
        "ToolCallingLoop",
        "✗ ValueError: the bill is wrong",
        "calculate_tip",
        "✗ TypeError: calculate_tip() got an unexpected argument 'tip'",
    ]


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [
        (None, "running"),
        (0, "<1 ms"),
        (999_999, "<1 ms"),
        (MS, "1 ms"),
        (999_999_999, "999 ms"),
        (1_000 * MS, "1.00 s"),
        (59_990 * MS, "59.99 s"),
        (60_000 * MS, "1 m 00 s"),
        (3_725_900 * MS, "62 m 05 s"),
    ],
)
def test_a_duration_is_told_as_people_would(nanoseconds: int | None, said: str) -> None:
    assert duration(nanoseconds) == said


def stored(
    span_id: str,
    parent_id: str | None,
    start: int,
    end: int | None = None,
    status: tuple[str, str] = ("OK", ""),
    **attributes: Any,
) -> SimpleNamespace:
    """A span as MLflow gives it back."""
    return SimpleNamespace(
        span_id=span_id,
        parent_id=parent_id,
        name=f"span {span_id}",
        span_type="UNKNOWN",
        start_time_ns=start,
        end_time_ns=end,
        status=SimpleNamespace(status_code=SimpleNamespace(value=status[0]), description=status[1]),
        get_attribute={f"mlflow.chat.{key}": value for key, value in attributes.items()}.get,
    )


def trace_of(*spans: SimpleNamespace, **tags: str) -> "Trace":
    """A trace as MLflow gives it back."""
    tags = {f"mlflow.{name}": value for name, value in tags.items()}
    info = SimpleNamespace(tags=tags, trace_id="tr-1")
    return cast("Trace", SimpleNamespace(info=info, data=SimpleNamespace(spans=spans)))


def test_spans_are_read_in_the_order_in_which_they_started() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    trace = trace_of(
        stored("c", "a", 30, 39),
        stored("b", "a", 20, 28, tokenUsage=usage),
        stored("a", None, 10, 40),
        traceName="Chat",
    )

    assert trace_tree(trace) == TraceTree(
        "Chat",
        (
            SpanNode(
                "span a",
                "UNKNOWN",
                30,
                children=(SpanNode("span b", "UNKNOWN", 8, 3, 4), SpanNode("span c", "UNKNOWN", 9)),
            ),
        ),
    )


def test_a_span_whose_parent_is_not_stored_is_shown_all_the_same() -> None:
    trace = trace_of(stored("a", None, 10, 20), stored("b", "elsewhere", 5))

    assert trace_tree(trace) == TraceTree(
        "tr-1", (SpanNode("span b", "UNKNOWN"), SpanNode("span a", "UNKNOWN", 10))
    )


@pytest.mark.parametrize(
    ("status", "description", "error"),
    [
        ("ERROR", "model not found\n  (status code: 404)", "model not found (status code: 404)"),
        ("ERROR", "", "failed"),
        ("ERROR", "word " * 100, "word " * 79 + "..."),
        ("OK", "fine", None),
        ("UNSET", "", None),
    ],
)
def test_an_error_is_told_in_one_line_of_bounded_length(
    status: str, description: str, error: str | None
) -> None:
    (root,) = trace_tree(trace_of(stored("a", None, 1, status=(status, description)))).roots

    assert root.error == error


def test_a_tree_visits_its_spans_depth_first() -> None:
    assert [span.name for span in LOOP.walk()] == [
        "ToolCallingLoop",
        "chat qwen3",
        "calculate_tip",
        "SELECT",
        "chat qwen3",
    ]
