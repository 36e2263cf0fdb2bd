"""MLflow's search finds the traces that it is asked for, and no others, in both stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .expected_kinds import KINDS
from .stored import finished_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mlflow.entities import Trace

    from .kinds_run import KindsRun

EVERY = frozenset(KINDS)
EMBEDDING = frozenset({"embed", "retrieval"})
GENERATING = frozenset({"generate", "generate streamed"})
TOOLS = frozenset({"tool loop", "failing tool"})
AGENTS = TOOLS | {"retrieval"}
SESSION = frozenset({"first turn", "second turn"})
CONCURRENT = frozenset({"concurrent tasks", "concurrent threads"})
CHATS = EVERY - {"embed"} - GENERATING - AGENTS - SESSION - CONCURRENT

FILTERS: dict[str, Collection[str]] = {
    # State and time. {kind} stands for the time when that kind's trace began.
    "status = 'ERROR'": {"error"},
    "trace.status = 'OK'": EVERY - {"error"},
    "status IN ('ERROR', 'IN_PROGRESS')": {"error"},
    "trace.timestamp_ms < {thinking}": {"plain", "streamed"},
    "timestamp_ms >= {concurrent tasks}": CONCURRENT,
    "timestamp_ms >= {generate} AND timestamp_ms < {broken off}": GENERATING,
    "execution_time_ms > 60000": (),
    # The trace's name, tags and metadata.
    "trace.name = 'invoke_workflow turn'": SESSION,
    "name = 'chat nope'": {"error"},
    "name LIKE 'chat %'": CHATS,
    "name ILIKE '%AGENT%'": AGENTS,
    "tag.team = 'blue'": SESSION,
    "tag.team IS NULL": EVERY - SESSION,
    "tag.team = 'red'": (),
    "tag.`mlflow.traceName` = 'three tasks'": {"concurrent tasks"},
    "tag.`service.name` = 'unknown_service:python'": EVERY,
    "metadata.`mlflow.trace.session` = 'session-1'": SESSION,
    "metadata.`mlflow.trace.session` = 'session-2'": (),
    "request_metadata.`mlflow.trace.user` = 'ada'": SESSION,
    # Spans.
    "span.type = 'CHAT_MODEL'": EVERY - {"embed"} - GENERATING,
    "span.type = 'LLM'": GENERATING,
    "span.type = 'EMBEDDING'": EMBEDDING,
    "span.type = 'TOOL'": TOOLS,
    "span.type = 'RETRIEVER'": {"retrieval"},
    "span.type IN ('AGENT', 'WORKFLOW')": AGENTS | SESSION,
    "span.name = 'calculate_tip'": TOOLS,
    "span.name = 'embeddings embedder'": EMBEDDING,
    "span.name LIKE 'text_completion%'": GENERATING,
    "span.status = 'ERROR'": {"error", "failing tool"},
    # Attributes of spans: MLflow looks for them in the JSON text of the span. `=` never finds any,
    # RLIKE finds a text, and LIKE a number or a truth value.
    "span.attributes.mlflow.llm.model RLIKE '^embedder$'": EMBEDDING,
    "span.attributes.mlflow.llm.model RLIKE '^nope$'": {"error"},
    "span.attributes.mlflow.llm.provider RLIKE '^ollama$'": EVERY,
    "span.attributes.gen_ai.request.model RLIKE '^embed'": EMBEDDING,
    "span.attributes.gen_ai.agent.name RLIKE '^librarian$'": {"retrieval"},
    "span.attributes.gen_ai.tool.name RLIKE '^calculate_tip$'": TOOLS,
    "span.attributes.gen_ai.request.reasoning.level RLIKE '^true$'": {
        "thinking",
        "streamed thinking",
    },
    "span.attributes.error.type RLIKE '^404$'": {"error"},
    "span.attributes.ollama.request.keep_alive RLIKE '^5m$'": {"plain"},
    """span.attributes.gen_ai.request.max_tokens LIKE ': "5"%'""": {"length stop"},
    """span.attributes.gen_ai.request.stream LIKE ': "true"%'""": {
        *("streamed", "streamed asynchronously", "streamed thinking", "streamed tool call"),
        *("generate streamed", "broken off", "concurrent threads"),
    },
    # Any text.
    "trace.text LIKE '%Tokyo%'": {"two tool calls"},
    "trace.text LIKE '%And at night?%'": {"second turn"},
    # Several conditions; those on spans must hold of one and the same span.
    "span.type = 'TOOL' AND span.status = 'ERROR'": {"failing tool"},
    "span.status = 'ERROR' AND trace.status = 'OK'": {"failing tool"},
    "span.type = 'CHAT_MODEL' AND tag.team = 'blue' AND status = 'OK'": SESSION,
    "span.type = 'RETRIEVER' AND span.name = 'retrieval library'": {"retrieval"},
    "span.type = 'EMBEDDING' AND span.name = 'retrieval library'": (),
    """span.type = 'LLM' AND span.attributes.gen_ai.request.stream LIKE ': "true"%'""": {
        "generate streamed"
    },
}


@dataclass(frozen=True)
class Store:
    """A store that can be searched.

    Attributes:
        search: returns the names of the kinds of the traces that a filter finds, in the order
            that is asked for.
        began: the time when a kind's trace began, in milliseconds.
    """

    search: Callable[[str, str], list[str]]
    began: dict[str, int]


@pytest.fixture(scope="module", params=["server", "sqlite"])
def store(request: pytest.FixtureRequest, kinds_run: KindsRun) -> Store:
    """One of the stores, with all kinds of calls in it."""
    from mlflow import MlflowClient  # noqa: PLC0415 - it takes seconds

    tracking_uri = kinds_run.tracking_uris[request.param]
    traces = finished_traces(tracking_uri, kinds_run.experiment, len(KINDS))
    kind_of = {trace.info.trace_id: kind for kind, trace in zip(KINDS, traces, strict=True)}
    client, experiment = MlflowClient(tracking_uri), traces[0].info.experiment_id

    def search(filter_string: str, order: str) -> list[str]:
        found = client.search_traces(
            locations=[experiment],
            filter_string=filter_string,
            order_by=[order],
            include_spans=False,
        )
        return [kind_of[trace.info.trace_id] for trace in found]

    return Store(search, {kind_of[trace.info.trace_id]: began(trace) for trace in traces})


def began(trace: Trace) -> int:
    return int(trace.info.timestamp_ms)


@pytest.mark.parametrize("condition", FILTERS)
def test_a_filter_finds_its_traces(store: Store, condition: str) -> None:
    """All of them, each once, and no others."""
    expected = [kind for kind in KINDS if kind in FILTERS[condition]]
    assert store.search(condition.format(**store.began), "timestamp_ms ASC") == expected


def test_traces_can_be_put_in_order(store: Store) -> None:
    """By the time when they began, the newest first."""
    assert store.search("", "timestamp_ms DESC") == list(reversed(KINDS))


@pytest.mark.parametrize("name", ["gen_ai.request.model", "mlflow.llm.model"])
def test_mlflow_compares_no_attribute_with_equals(store: Store, name: str) -> None:
    """Should this fail, MLflow has learnt it: FILTERS and the documentation can be simpler."""
    assert store.search(f"span.attributes.{name} = 'embedder'", "timestamp_ms ASC") == []
