"""MLflow on Databricks: traces in a table of Unity Catalog, over Databricks' OTLP endpoint.

Written from the documentation and from MLflow's own client, and tested against a server that checks
the requests; it was never run against Databricks itself.

Source: https://docs.databricks.com/aws/en/mlflow3/genai/tracing/trace-unity-catalog
https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/store/tracking/databricks_rest_store.py
"""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase

from ollama_otel._internal_errors import warn
from ollama_otel.mlflow._errors import DeliveryError, RefusedError, misconfigured
from ollama_otel.mlflow._otlp import headers_from_settings, otlp_request
from ollama_otel.mlflow._server import Bearer, Server

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DESTINATION: Final = "MLFLOW_TRACING_DESTINATION"

_PATH: Final = "/api/2.0/otel/v1/traces"
_TABLE_HEADER: Final = "X-Databricks-UC-Table-Name"
_SPANS_TABLE: Final = "mlflow_experiment_trace_otel_spans"
_NO_ENTRY: Final = (401, 403)
_SCHEMA_PARTS: Final = 2
_TABLE_PARTS: Final = 3


class DatabricksSink:
    """A Unity Catalog table of traces.

    DATABRICKS_HOST and DATABRICKS_TOKEN say where and who; where they are not set, or the URI names
    a profile, the package databricks-sdk finds out. MLFLOW_TRACING_DESTINATION names the catalog
    and the schema.

    Args:
        tracking_uri: ``databricks`` or ``databricks://profile``.
        timeout: seconds that one request may take; by default MLFLOW_HTTP_REQUEST_TIMEOUT, or 60.

    Raises:
        DeliveryError: host, credentials or destination are missing.
    """

    def __init__(self, tracking_uri: str, *, timeout: float | None = None) -> None:
        self._table = _table(os.environ.get(DESTINATION, "").strip())
        host, credentials = _workspace(urlsplit(tracking_uri).netloc)
        self._server = Server(host, timeout, credentials, headers_from_settings)
        if os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            warn(
                "databricks",
                "MLFLOW_EXPERIMENT_NAME does not count on Databricks: the traces are in the table "
                f"that {DESTINATION} names",
            )

    def deliver(self, request: "ExportTraceServiceRequest") -> None:
        """Post the spans.

        Args:
            request: an OTLP request with translated spans.

        Raises:
            DeliveryError: Databricks was not reached, or refused them.
        """
        try:
            self._server.call("POST", _PATH, **otlp_request(request, {_TABLE_HEADER: self._table}))
        except RefusedError as error:
            if error.status not in _NO_ENTRY:
                raise
            raise misconfigured(
                f"Databricks answered {error.status}: check DATABRICKS_TOKEN (or the profile's "
                "login) and its permission to write the table"
            ) from error

    def link(self, trace_ids: Sequence[str], run_id: str) -> None:
        """Refuse: it is not known how a workspace takes it.

        Args:
            trace_ids: ids of traces.
            run_id: an MLflow run.

        Raises:
            DeliveryError: always.
        """
        raise DeliveryError(
            f"linking {len(trace_ids)} traces to the run {run_id} is not supported on Databricks",
            retryable=False,
            kind="databricks",
        )

    def shutdown(self) -> None:
        """Close the connections."""
        self._server.close()


def _table(destination: str) -> str:
    parts = destination.split(".")
    if len(parts) == _SCHEMA_PARTS and all(parts):
        return f"{destination}.{_SPANS_TABLE}"
    if len(parts) == _TABLE_PARTS and all(parts):
        return destination
    raise misconfigured(
        f"{DESTINATION} is {destination!r}: traces on Databricks go to Unity Catalog; set it to "
        "catalog.schema, or to the full name of the table of spans"
    )


def _workspace(profile: str) -> tuple[str, Callable[[], AuthBase | None]]:
    host, token = os.environ.get("DATABRICKS_HOST", ""), os.environ.get("DATABRICKS_TOKEN", "")
    if host and token and not profile:
        address = host if "://" in host else f"https://{host}"
        return address, lambda: Bearer(os.environ.get("DATABRICKS_TOKEN", "").strip())
    if find_spec("databricks") is None or find_spec("databricks.sdk") is None:
        raise misconfigured(
            "MLFLOW_TRACKING_URI names a Databricks workspace: set DATABRICKS_HOST and "
            "DATABRICKS_TOKEN, or pip install databricks-sdk for profiles and other logins"
        )
    return _workspace_of_sdk(profile)


def _workspace_of_sdk(profile: str) -> tuple[str, Callable[[], AuthBase | None]]:
    from databricks.sdk.core import Config  # noqa: PLC0415  (optional)

    try:
        config = Config(profile=profile or None)
    except Exception as error:
        # Many things go wrong at the login, and its words may hold secrets.
        raise misconfigured(
            f"databricks-sdk found no login ({type(error).__name__}); check the profile in "
            "MLFLOW_TRACKING_URI and `databricks auth login`"
        ) from error
    return config.host, lambda: _Headers(config.authenticate())


class _Headers(AuthBase):
    """The headers of a login."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers.update(self._headers)
        return request
