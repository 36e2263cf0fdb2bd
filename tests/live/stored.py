"""Read traces back from MLflow as plain data, without what differs from run to run."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

from .expected_traces import DURATIONS
from .servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow import MlflowClient
    from mlflow.entities import Span, SpanEvent, Trace

STORE_LIMIT = 20.0  # seconds from the end of an application until its traces can be read

# What cannot be the same twice, and what stands for it.
VARYING = {
    "gen_ai.response.time_to_first_chunk": "<seconds>",
    **DURATIONS,
    "exception.stacktrace": "<stack>",
    "mlflow.traceRequestId": "<trace id>",
    "mlflow.artifactLocation": "<artifact location>",
    "mlflow.trace.sizeBytes": "<bytes>",
    "mlflow.trace.sizeStats": "<sizes>",
    "service.instance.id": "<uuid>",
    "telemetry.auto.version": "<version>",
    "telemetry.sdk.version": "<version>",
}


def create_experiment(tracking_uri: str, name: str) -> str:
    """Create an experiment and return its id."""
    return str(_client(tracking_uri).create_experiment(name))


def _client(tracking_uri: str) -> MlflowClient:
    # Imported here: it takes seconds, and the fast tests collect this folder too.
    from mlflow import MlflowClient  # noqa: PLC0415 - see above

    return MlflowClient(tracking_uri)


def stored_traces(tracking_uri: str, experiment: str, count: int) -> list[dict[str, Any]]:
    """Do as `finished_traces` does, and return the traces as plain data."""
    return [plain(trace) for trace in finished_traces(tracking_uri, experiment, count)]


def finished_traces(tracking_uri: str, experiment: str, count: int) -> list[Trace]:
    """Wait until an experiment holds just so many traces, all finished; return them, oldest first.

    Raises:
        TimeoutError: they did not come, or did not finish.
        AssertionError: there are more.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MLflow's own store warns of is no affair of ours
        client = _client(tracking_uri)
        traces = exactly(
            count,
            lambda: _found(client, experiment),
            lambda trace: str(trace.info.state),
            f"traces in {experiment!r} of {tracking_uri}",
        )
    return sorted(traces, key=_start)


def exactly(
    count: int, read: Callable[[], list[Any]], state: Callable[[Any], str], what: str
) -> list[Any]:
    """Read until there are so many traces and none is in progress.

    Raises:
        TimeoutError: they did not come, or did not finish.
        AssertionError: there are more.
    """
    found: list[Any] = []

    def settled() -> bool:
        found[:] = read()
        return len(found) >= count and all(state(trace) != "IN_PROGRESS" for trace in found)

    wait_until(settled, f"{count} {what}", STORE_LIMIT)
    if len(found) > count:
        raise AssertionError(f"{len(found)} instead of {count} {what}")
    return found


def _found(client: MlflowClient, name: str) -> list[Trace]:
    experiment = client.get_experiment_by_name(name)
    return [] if experiment is None else client.search_traces(locations=[experiment.experiment_id])


def _start(trace: Trace) -> int:
    return min(int(span.start_time_ns) for span in trace.data.spans)


def plain(trace: Trace) -> dict[str, Any]:
    """Return all that MLflow knows of a trace, except ids, times and durations."""
    info = trace.info
    names = {span.span_id: span.name for span in trace.data.spans}
    return {
        "state": str(info.state),
        "request_preview": info.request_preview,
        "response_preview": info.response_preview,
        "tags": masked(info.tags),
        "metadata": masked(info.trace_metadata),
        "spans": [_plain_span(span, names) for span in trace.data.spans],
    }


def _plain_span(span: Span, names: dict[str, str]) -> dict[str, Any]:
    return {
        "name": span.name,
        "parent": span.parent_id and names[span.parent_id],
        "type": span.span_type,
        "status": (span.status.status_code.value, span.status.description),
        "attributes": masked(span.attributes),
        "events": [_plain_event(event) for event in span.events],
    }


def _plain_event(event: SpanEvent) -> dict[str, Any]:
    return {"name": event.name, "attributes": masked(event.attributes)}


def masked(values: dict[str, Any]) -> dict[str, Any]:
    """Replace what cannot be the same twice."""
    return {key: VARYING.get(key, value) for key, value in values.items()}


def texts_read(value: Any) -> Any:
    """Read every text that holds JSON: Ollama gives a tool's arguments in no particular order."""
    if isinstance(value, dict):
        return {key: texts_read(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [texts_read(item) for item in value]
    if not isinstance(value, str):
        return value
    read = _read(value)
    return _OBJECT.sub(_in_order, value) if read is None else {"JSON text": texts_read(read)}


_OBJECT = re.compile(r"\{[^{}]*\}")


def _in_order(found: re.Match[str]) -> str:
    """Put a JSON object in the middle of a text in order."""
    read = _read(found[0])
    return found[0] if read is None else json.dumps(read, sort_keys=True)


def _read(text: str) -> dict[str, Any] | list[Any] | None:
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return read if isinstance(read, dict | list) else None
