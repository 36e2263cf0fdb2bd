"""Where translated spans go: an MLflow server over OTLP, or an MLflow database directly.

    SpanSink          what an exporter needs of a place
    ├─ OtlpHttpSink   http(s): the server's OTLP endpoint; needs no mlflow package
    └─ StoreSink      sqlite, postgresql, mysql, mssql: MLflow's own store; needs mlflow
    sink_for          the place that a tracking URI names

A sink takes one OTLP request and returns when it is stored, or raises ``DeliveryError``. The
request is what a spool can keep on disk, and what can be split when it is refused.

Importing this module imports neither mlflow nor requests nor the OpenTelemetry SDK.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from ollama_otel._internal_errors import warn
from ollama_otel.mlflow._database import open_store, quiet
from ollama_otel.mlflow._errors import DeliveryError, RefusedError, misconfigured, redacted
from ollama_otel.mlflow._otlp import headers_from_settings, otlp_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow.entities import Span
    from mlflow.tracing.client import TracingClient
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from ollama_otel.mlflow._server import Server

__all__ = [
    "DeliveryError",
    "ExperimentChoice",
    "OtlpHttpSink",
    "SpanSink",
    "StoreSink",
    "check_tracking_uri",
    "sink_for",
    "tracking_uri_from_settings",
]

DEFAULT_EXPERIMENT_ID: Final = "0"
"""MLflow's own default experiment."""


class SpanSink(Protocol):
    """A place that stores spans."""

    def deliver(self, request: "ExportTraceServiceRequest") -> None:
        """Store the spans of one request; storing the same again changes nothing.

        Args:
            request: an OTLP request with translated spans.

        Raises:
            DeliveryError: not all of them are stored.
        """
        ...

    def link(self, trace_ids: "Sequence[str]", run_id: str) -> None:
        """Link stored traces to a run; linking them again changes nothing.

        Args:
            trace_ids: MLflow's ids (``tr-...``) of at most 100 traces.
            run_id: an MLflow run.

        Raises:
            DeliveryError: not all of them are linked.
        """
        ...

    def shutdown(self) -> None:
        """Let go of connections."""
        ...


# Experiments --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExperimentChoice:
    """The experiment that the settings name; MLflow's default one where they name none.

    Args:
        name: its name; it is created when it does not exist.
        experiment_id: its id, which must exist.
        from_environment: whether both are the environment's. ``mlflow.set_experiment()`` writes
            MLFLOW_EXPERIMENT_ID there and leaves the name as it is, so the two may well differ.
    """

    name: str | None = None
    experiment_id: str | None = None
    from_environment: bool = False

    @classmethod
    def from_settings(
        cls, name: str | None = None, experiment_id: str | None = None
    ) -> "ExperimentChoice":
        """Return what is given, else what MLFLOW_EXPERIMENT_NAME and MLFLOW_EXPERIMENT_ID say.

        Args:
            name: an experiment's name.
            experiment_id: an experiment's id.
        """
        if name or experiment_id:
            return cls(name or None, experiment_id or None)
        return cls(
            os.environ.get("MLFLOW_EXPERIMENT_NAME") or None,
            os.environ.get("MLFLOW_EXPERIMENT_ID") or None,
            from_environment=True,
        )

    def resolve(self, directory: "_Directory") -> str:
        """Return the experiment's id, creating the experiment when its name is new.

        Args:
            directory: looks names up and creates experiments.

        Raises:
            DeliveryError: it is deleted, or cannot be looked up or created, or a name and an id
                that were given belong to different experiments.
        """
        if self.name is None:
            return self.experiment_id or DEFAULT_EXPERIMENT_ID
        found = directory.find(self.name)
        if self.from_environment and self.experiment_id is not None:
            return self._active(self.experiment_id, found)
        found = found or directory.create(self.name)
        if found.deleted:
            raise misconfigured(
                f"the MLflow experiment {self.name!r} is deleted; restore it (mlflow experiments "
                f"restore --experiment-id {found.experiment_id}) or set MLFLOW_EXPERIMENT_NAME "
                "(experiment_name) to another"
            )
        if self.experiment_id not in (None, found.experiment_id):
            raise misconfigured(
                f"the MLflow experiment {self.name!r} has the id {found.experiment_id}, not "
                f"{self.experiment_id}; set one of MLFLOW_EXPERIMENT_NAME and MLFLOW_EXPERIMENT_ID "
                "(experiment_name and experiment_id), not both"
            )
        return found.experiment_id

    def _active(self, experiment_id: str, named: "_Experiment | None") -> str:
        """Return the id in the environment, MLflow's active experiment, whatever the name says."""
        if named is None or named.experiment_id != experiment_id:
            warn(
                "choosing an experiment",
                f"MLFLOW_EXPERIMENT_ID is {experiment_id}, which is not the experiment "
                f"{self.name!r} of MLFLOW_EXPERIMENT_NAME: the traces go to {experiment_id}, "
                "MLflow's active one; unset one of the two (mlflow.set_experiment() sets the id) "
                "or give the exporter an experiment_name",
            )
        return experiment_id


@dataclass(frozen=True)
class _Experiment:
    experiment_id: str
    deleted: bool = False


class _Directory(Protocol):
    """Where experiments are looked up by name."""

    def find(self, name: str) -> _Experiment | None: ...

    def create(self, name: str) -> _Experiment: ...


_Found = TypeVar("_Found")


class _Remembered(Generic[_Found]):
    """Finds something at its first use and keeps it, for any number of threads."""

    def __init__(self, find: Callable[[], _Found]) -> None:
        self._find = find
        self._found: _Found | None = None
        self._lock = threading.Lock()

    def get(self) -> _Found:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found

    def forget(self) -> None:
        with self._lock:
            self._found = None


# An MLflow server ---------------------------------------------------------------------------


class OtlpHttpSink:
    """An MLflow server, through its OTLP endpoint. The mlflow package is not needed.

    Credentials and TLS are MLflow's own settings: MLFLOW_TRACKING_USERNAME and _PASSWORD, or
    MLFLOW_TRACKING_TOKEN; MLFLOW_TRACKING_INSECURE_TLS, _SERVER_CERT_PATH, _CLIENT_CERT_PATH.

    Args:
        tracking_uri: the server's address, as in MLFLOW_TRACKING_URI.
        experiment: the experiment that receives the traces.
        timeout: seconds that one request may take; by default MLFLOW_HTTP_REQUEST_TIMEOUT, or 60.

    Raises:
        DeliveryError: requests is not installed.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: ExperimentChoice | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        _require("requests", "otlp", "an MLflow server over http")
        from ollama_otel.mlflow._server import Server  # noqa: PLC0415  (lazy: optional)

        self._server: Server = Server(tracking_uri, timeout, headers=headers_from_settings)
        directory = _ServerDirectory(self._server)
        choice = experiment or ExperimentChoice.from_settings()
        self._experiment_id = _Remembered(lambda: choice.resolve(directory))

    def deliver(self, request: "ExportTraceServiceRequest") -> None:
        """Post the spans to the server.

        Args:
            request: an OTLP request with translated spans.

        Raises:
            DeliveryError: the server was not reached, or refused them.
        """
        try:
            self._server.call(
                "POST",
                "/v1/traces",
                **otlp_request(request, {"x-mlflow-experiment-id": self._experiment_id.get()}),
            )
        except RefusedError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                self._experiment_id.forget()
            raise

    def link(self, trace_ids: "Sequence[str]", run_id: str) -> None:
        """Link stored traces to a run.

        Args:
            trace_ids: MLflow's ids of at most 100 traces.
            run_id: an MLflow run.

        Raises:
            DeliveryError: the server was not reached, or refused.
        """
        self._server.json("POST", _LINK, trace_ids=list(trace_ids), run_id=run_id)

    def shutdown(self) -> None:
        """Close the connections."""
        self._server.close()


class _ServerDirectory:
    """Experiments of a server, over MLflow's REST API."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def find(self, name: str) -> _Experiment | None:
        try:
            body = self._server.json("GET", f"{_EXPERIMENTS}/get-by-name", experiment_name=name)
        except RefusedError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return _experiment(body.get("experiment"))

    def create(self, name: str) -> _Experiment:
        try:
            return _experiment(self._server.json("POST", f"{_EXPERIMENTS}/create", name=name))
        except RefusedError as error:
            # Another process was quicker.
            if error.error_code == "RESOURCE_ALREADY_EXISTS" and (found := self.find(name)):
                return found
            raise


_LINK: Final = "/api/2.0/mlflow/traces/link-to-run"
_EXPERIMENTS: Final = "/api/2.0/mlflow/experiments"


def _experiment(answer: object) -> _Experiment:
    if not isinstance(answer, Mapping) or "experiment_id" not in answer:
        raise misconfigured(
            "what answers at MLFLOW_TRACKING_URI does not know MLflow's REST API; check the address"
        )
    deleted = answer.get("lifecycle_stage") == "deleted"
    return _Experiment(str(answer["experiment_id"]), deleted=deleted)


# An MLflow database -------------------------------------------------------------------------


class StoreSink:
    """An MLflow database, written as MLflow's own server writes it.

    Args:
        tracking_uri: the database's address, as in MLFLOW_TRACKING_URI.
        experiment: the experiment that receives the traces.

    Raises:
        DeliveryError: the mlflow package is not installed.
    """

    def __init__(self, tracking_uri: str, experiment: ExperimentChoice | None = None) -> None:
        for package in ("mlflow", "sqlalchemy"):
            _require(package, "mlflow", "an MLflow database")
        self._uri = tracking_uri
        self._client: _Remembered[TracingClient] = _Remembered(lambda: open_store(tracking_uri))
        choice = experiment or ExperimentChoice.from_settings()
        self._experiment_id = _Remembered(lambda: choice.resolve(_StoreDirectory(tracking_uri)))

    def deliver(self, request: "ExportTraceServiceRequest") -> None:
        """Write the spans into the database.

        Args:
            request: an OTLP request with translated spans.

        Raises:
            DeliveryError: the database was not reached, or MLflow refused them.
        """
        with self._store_errors(), quiet():
            client = self._client.get()
            client.log_spans(self._experiment_id.get(), list(_mlflow_spans(request)))

    def link(self, trace_ids: "Sequence[str]", run_id: str) -> None:
        """Link stored traces to a run.

        Args:
            trace_ids: MLflow's ids of at most 100 traces.
            run_id: an MLflow run.

        Raises:
            DeliveryError: the database was not reached, or MLflow refused.
        """
        from mlflow import MlflowClient  # noqa: PLC0415  (optional, and slow)

        with self._store_errors(), quiet():
            MlflowClient(self._uri).link_traces_to_run(list(trace_ids), run_id)

    @contextmanager
    def _store_errors(self) -> "Iterator[None]":
        try:
            yield
        except DeliveryError:
            raise
        except Exception as error:
            raise _store_error(error, self._uri) from error

    def shutdown(self) -> None:
        """Do nothing: MLflow keeps its database connections itself."""


class _StoreDirectory:
    """Experiments of a database, through MLflow's client."""

    def __init__(self, tracking_uri: str) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415  (optional, and slow)

        self._client = MlflowClient(tracking_uri)

    def find(self, name: str) -> _Experiment | None:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return None
        return _Experiment(found.experiment_id, deleted=found.lifecycle_stage == "deleted")

    def create(self, name: str) -> _Experiment:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  (optional, and slow)

        try:
            return _Experiment(self._client.create_experiment(name))
        except MlflowException as error:
            # Another process was quicker.
            if error.error_code == "RESOURCE_ALREADY_EXISTS" and (found := self.find(name)):
                return found
            raise


def _mlflow_spans(request: "ExportTraceServiceRequest") -> "Iterator[Span]":
    """Make MLflow's spans out of OTLP's, with the function that MLflow's own endpoint uses.

    It is internal to MLflow: this is the one place that touches it, and a contract test watches
    it. Source: https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/server/otel_api.py
    """
    from mlflow.entities import Span  # noqa: PLC0415  (optional, and slow)

    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Span.from_otel_proto(span, resource=resource_spans.resource)


_SERVER_FAULT: Final = 500
_OVERLOADED: Final = 429


def _store_error(error: Exception, uri: str) -> DeliveryError:
    """Say what went wrong in MLflow's store, whose errors come in many types."""
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415  (optional)

    shown = redacted(uri)
    if isinstance(error, ModuleNotFoundError):
        return misconfigured(
            f"the MLflow database {shown} needs the package {error.name}: pip install {error.name}"
        )
    said = str(error).replace(uri, shown).partition("\n")[0]
    status = getattr(error, "get_http_status_code", lambda: _SERVER_FAULT)()
    passing = status >= _SERVER_FAULT or status == _OVERLOADED
    return DeliveryError(
        f"MLflow did not store the spans in {shown} ({type(error).__name__}: {said}); check "
        "MLFLOW_TRACKING_URI, and whether the database can be reached and written",
        retryable=passing and not isinstance(error, ArgumentError),
        kind="store",
    )


# The place that a tracking URI names --------------------------------------------------------


def tracking_uri_from_settings(tracking_uri: str | None = None) -> str:
    """Return the tracking URI that counts: the one given, MLFLOW_TRACKING_URI, MLflow's default.

    Args:
        tracking_uri: a tracking URI that goes before the environment's.

    Raises:
        DeliveryError: none is set, and MLflow is not installed to say what its default is.
    """
    if uri := tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if find_spec("mlflow") is None:
        raise misconfigured(
            "MLFLOW_TRACKING_URI is not set: set it to the address of an MLflow server "
            "(http://localhost:5000), or pip install 'ollama-otel[mlflow]' to write to a local "
            "database"
        )
    import mlflow  # noqa: PLC0415  (optional, and slow)

    return mlflow.get_tracking_uri()


def check_tracking_uri(tracking_uri: str) -> None:
    """Refuse a tracking URI that no sink can serve; nothing is imported or opened.

    Args:
        tracking_uri: as in MLFLOW_TRACKING_URI.

    Raises:
        DeliveryError: its scheme is not one that works.
    """
    _maker(tracking_uri)


def sink_for(
    tracking_uri: str,
    experiment: ExperimentChoice | None = None,
    *,
    timeout: float | None = None,
) -> SpanSink:
    """Return the sink for a tracking URI.

    Args:
        tracking_uri: as in MLFLOW_TRACKING_URI.
        experiment: the experiment that receives the traces; by default the one that
            MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names.
        timeout: seconds that one request to a server may take; a database has its own.

    Raises:
        DeliveryError: the scheme is not one that works, or its extra is not installed.
    """
    return _maker(tracking_uri)(tracking_uri, experiment, timeout)


_Maker = Callable[[str, ExperimentChoice | None, float | None], SpanSink]


def _http(uri: str, experiment: ExperimentChoice | None, timeout: float | None) -> SpanSink:
    return OtlpHttpSink(uri, experiment, timeout=timeout)


def _store(uri: str, experiment: ExperimentChoice | None, _timeout: float | None) -> SpanSink:
    return StoreSink(uri, experiment)


def _databricks(uri: str, _experiment: object, timeout: float | None) -> SpanSink:
    _require("requests", "otlp", "Databricks")
    from ollama_otel.mlflow._databricks import DatabricksSink  # noqa: PLC0415  (lazy: optional)

    return DatabricksSink(uri, timeout=timeout)


_SINKS: Final[Mapping[str, _Maker]] = {
    "http": _http,
    "https": _http,
    "sqlite": _store,
    "postgresql": _store,
    "mysql": _store,
    "mssql": _store,
    "databricks": _databricks,
}
_REGISTRY: Final = "it names a model registry, which holds no traces: use databricks"
_REFUSED: Final = {
    "databricks-uc": _REGISTRY,
    "uc": _REGISTRY,
    "file": "MLflow keeps no spans in folders: use a database (sqlite:///mlflow.db; "
    "`mlflow migrate-filestore` moves what is in ./mlruns) or an MLflow server",
}


def _maker(tracking_uri: str) -> _Maker:
    scheme = _scheme(tracking_uri)
    if maker := _SINKS.get(scheme):
        return maker
    reason = _REFUSED.get(scheme, f"nothing is known of {scheme!r}")
    raise misconfigured(
        f"MLFLOW_TRACKING_URI (tracking_uri) is {redacted(tracking_uri)!r}: {reason}; what works: "
        + ", ".join(f"{known}://" for known in _SINKS)
    )


def _scheme(tracking_uri: str) -> str:
    bare = tracking_uri.partition("://")[0].partition(":")[0].lower()
    if bare in ("databricks", "databricks-uc", "uc"):
        return bare
    try:
        scheme = urlsplit(tracking_uri).scheme.partition("+")[0]
    except ValueError:
        # Its words may quote the user and the password.
        raise misconfigured(
            f"MLFLOW_TRACKING_URI (tracking_uri) is {redacted(tracking_uri)!r}, which is no valid "
            "address: check its host, port and brackets"
        ) from None
    # One letter is a Windows drive.
    return scheme if len(scheme) > 1 else "file"


def _require(package: str, extra: str, purpose: str) -> None:
    if find_spec(package) is None:
        raise misconfigured(
            f"{purpose} needs the package {package}: pip install 'ollama-otel[{extra}]'"
        )
