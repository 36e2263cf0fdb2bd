"""What an MLflow store holds, told whole, without what differs from run to run."""

import json
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Trace

# What cannot be the same twice.
_VARYING = ("mlflow.traceRequestId", "mlflow.artifactLocation")

Json = dict[str, Any]


def traces(uri: str, experiment: str = "Default", query: str | None = None) -> list[Json]:
    """The traces of an experiment, oldest first; only those that a filter finds."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None, f"there is no experiment {experiment!r}"
    stored = client.search_traces(locations=[found.experiment_id], filter_string=query)
    return [_trace(trace) for trace in sorted(stored, key=_start)]


def _start(trace: Trace) -> int:
    return min(int(span.start_time_ns) for span in trace.data.spans)


def _trace(trace: Trace) -> Json:
    names = {span.span_id: span.name for span in trace.data.spans}
    return {
        "state": str(trace.info.state),
        "request": trace.info.request_preview,
        "response": trace.info.response_preview,
        "tags": _steady(trace.info.tags),
        "metadata": {key: _read(value) for key, value in trace.info.trace_metadata.items()},
        "spans": [
            {
                "name": span.name,
                "parent": names.get(span.parent_id or ""),
                "type": span.span_type,
                "status": (span.status.status_code.value, span.status.description),
                "attributes": _steady(span.attributes),
                "events": [(event.name, dict(event.attributes)) for event in span.events],
            }
            for span in trace.data.spans
        ],
    }


def _steady(values: Json) -> Json:
    return {key: value for key, value in values.items() if key not in _VARYING}


def _read(value: str) -> Any:
    try:
        return json.loads(value) if value.startswith("{") else value
    except ValueError:
        return value  # MLflow cuts long ones
