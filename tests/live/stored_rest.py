"""Read traces back from MLflow's REST API, without MLflow's own package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from .stored import exactly, masked

if TYPE_CHECKING:
    from collections.abc import Callable

Values = dict[str, Any]

LIMIT = 20.0  # seconds that an answer may take

READ_VALUE: dict[str, Callable[[Any], Any]] = {
    "string_value": str,
    "bool_value": bool,
    "int_value": int,
    "double_value": float,
    "array_value": lambda array: [_value(item) for item in array.get("values", [])],
    "kvlist_value": lambda pairs: _values(pairs.get("values", [])),
}
STATUS = {"STATUS_CODE_OK": "OK", "STATUS_CODE_ERROR": "ERROR"}


def traces_over_rest(tracking_uri: str, experiment: str, count: int) -> list[Values]:
    """Do as `stored_traces` does, with plain requests to the server.

    Args:
        tracking_uri: where the MLflow server answers.
        experiment: its name.
        count: the traces that it must hold.

    Raises:
        TimeoutError: they did not come, or did not finish.
        AssertionError: there are more.
    """
    with httpx.Client(base_url=f"{tracking_uri}/api", timeout=LIMIT, trust_env=False) as api:
        infos = exactly(
            count,
            lambda: _infos(api, experiment),
            lambda info: info["state"],
            f"traces in {experiment!r} over REST",
        )
        traces = [
            _get(api, "/3.0/mlflow/traces/get", trace_id=info["trace_id"])["trace"]
            for info in infos
        ]
    assert [trace["trace_info"] for trace in traces] == infos, "search and get tell the same"
    return [_plain(trace) for trace in sorted(traces, key=_start)]


def _infos(api: httpx.Client, name: str) -> list[Values]:
    experiment = _get(api, "/2.0/mlflow/experiments/get-by-name", experiment_name=name)
    where = {"experiment_id": experiment["experiment"]["experiment_id"]}
    locations = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": where}]
    found = api.post("/3.0/mlflow/traces/search", json={"locations": locations})
    traces: list[Values] = found.raise_for_status().json().get("traces", [])
    return traces


def _get(api: httpx.Client, path: str, **parameters: str) -> Values:
    answer: Values = api.get(path, params=parameters).raise_for_status().json()
    return answer


def _start(trace: Values) -> int:
    return min(int(span["start_time_unix_nano"]) for span in trace["spans"])


def _plain(trace: Values) -> Values:
    info = trace["trace_info"]
    names = {span["span_id"]: span["name"] for span in trace["spans"]}
    return {
        "state": info["state"],
        "request_preview": info.get("request_preview"),
        "response_preview": info.get("response_preview"),
        "tags": masked(info["tags"]),
        "metadata": masked(info.get("trace_metadata", {})),
        "spans": [_plain_span(span, names) for span in trace["spans"]],
    }


def _plain_span(span: Values, names: dict[str, str]) -> Values:
    attributes = _values(span["attributes"])
    parent, status = span.get("parent_span_id"), span.get("status", {})
    return {
        "name": span["name"],
        "parent": parent and names[parent],
        "type": attributes.get("mlflow.spanType"),
        "status": (STATUS.get(status.get("code"), "UNSET"), status.get("message", "")),
        "attributes": masked(attributes),
        "events": [
            {"name": event["name"], "attributes": masked(_values(event["attributes"]))}
            for event in span.get("events", [])
        ],
    }


def _values(pairs: list[Values]) -> Values:
    return {pair["key"]: _value(pair.get("value")) for pair in pairs}


def _value(value: Values | None) -> Any:
    if not value:
        return None
    ((kind, content),) = value.items()
    return READ_VALUE[kind](content)
