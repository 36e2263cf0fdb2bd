"""Where the demo's traces go: an experiment in MLflow, written, read back, opened in the UI."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from ollama_otel.instrumentor import OllamaInstrumentor
from ollama_otel.mlflow._database import open_store
from ollama_otel.mlflow._errors import redacted
from ollama_otel.mlflow.exporter import MlflowSpanExporter
from ollama_otel.mlflow.sinks import DeliveryError, ExperimentChoice, StoreSink, sink_for

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span

EXPERIMENT: Final = "ollama-otel demo"
DEFAULT_TRACKING_URI: Final = "sqlite:///ollama-otel-demo.db"

_SETTING: Final = "MLFLOW_TRACKING_URI"
_PORTS: Final = range(5000, 5020)
_LONGEST_REASON: Final = 200


class StoreError(Exception):
    """The traces cannot be stored or read; the message says why, and how to mend it."""


def tracking_uri_from(given: str | None) -> str:
    """Return the address that counts: the one given, MLFLOW_TRACKING_URI, a file of the demo's.

    Args:
        given: an address that goes before the environment's.
    """
    return given or os.environ.get(_SETTING) or DEFAULT_TRACKING_URI


def without_credentials(tracking_uri: str) -> str:
    """Return an address as it may be shown.

    Args:
        tracking_uri: perhaps with a user's name and password.
    """
    return redacted(tracking_uri, mark="***@")


class RunLabels(SpanProcessor):
    """Gives each trace of one run a readable name, and all of them one session.

    Args:
        session: the session's id.
    """

    def __init__(self, session: str) -> None:
        self.session: Final = session
        self.title = ""
        """The name of the trace that starts next."""
        self.traces = 0
        """How many there were."""

    @classmethod
    def now(cls) -> "RunLabels":
        """Name the session by the time of day."""
        time = datetime.now().astimezone().isoformat(" ", "milliseconds")
        return cls(f"ollama-otel demo {time}")

    def on_start(
        self,
        span: "Span",
        parent_context: "Context | None" = None,  # noqa: ARG002  (the SDK's signature)
    ) -> None:
        """Label the first span of a trace.

        Args:
            span: a span that starts.
            parent_context: not needed.
        """
        if span.parent is None:
            span.set_attributes(
                {"mlflow.traceTag.mlflow.traceName": self.title, "session.id": self.session}
            )
            self.traces += 1


class Store:
    """An experiment in MLflow.

    A new database is set up, which takes seconds.

    Args:
        tracking_uri: where it is.

    Raises:
        StoreError: it cannot be used.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        with self._faults():
            self._sink = sink_for(tracking_uri, ExperimentChoice(EXPERIMENT))
            self._client = self._open()
            self._experiment_id = self._find_experiment()

    def _open(self) -> "MlflowClient":
        from mlflow import MlflowClient  # noqa: PLC0415  (seconds: only once something is shown)

        if isinstance(self._sink, StoreSink):
            open_store(self._uri)
        return MlflowClient(self._uri)

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            return self._client.create_experiment(EXPERIMENT)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say what went wrong, in whichever of MLflow's many types it comes."""
        try:
            yield
        except DeliveryError as error:
            raise StoreError(str(error)) from error
        except Exception as error:
            shown = without_credentials(self._uri)
            said = str(error).replace(self._uri, shown).partition("\n")[0]
            reason = textwrap.shorten(said, _LONGEST_REASON)
            raise StoreError(
                f"MLflow cannot use {shown} ({reason}); mend that, or "
                f"name another place with --tracking-uri or {_SETTING}"
            ) from error

    @contextmanager
    def tracing(self, labels: RunLabels) -> Iterator[TracerProvider]:
        """Trace the calls of the Ollama SDK into the experiment; in the end all is stored.

        Args:
            labels: names the traces.
        """
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create({SERVICE_NAME: "ollama-otel demo"})
        )
        provider.add_span_processor(labels)
        provider.add_span_processor(BatchSpanProcessor(MlflowSpanExporter(sink=self._sink)))
        instrumentor = OllamaInstrumentor()
        if instrumentor.is_instrumented_by_opentelemetry:
            # Under opentelemetry-instrument: these spans are to come here and nowhere else.
            instrumentor.uninstrument()
        instrumentor.instrument(tracer_provider=provider)
        try:
            yield provider
        finally:
            instrumentor.uninstrument()
            provider.shutdown()

    def read(self, labels: RunLabels) -> "list[Trace]":
        """Read the traces of one run back, in the order in which they began.

        Args:
            labels: what the traces were given.

        Raises:
            StoreError: not all of them are there.
        """
        if not labels.traces:
            raise StoreError("no span was recorded: OTEL_SDK_DISABLED must not be true")
        with self._faults():
            found = self._client.search_traces(
                locations=[self._experiment_id],
                filter_string=f"metadata.`mlflow.trace.session` = '{labels.session}'",
                order_by=["timestamp_ms ASC"],
            )
        if len(found) != labels.traces:
            raise StoreError(
                f"{labels.traces - len(found)} of {labels.traces} traces are not in "
                f"{without_credentials(self._uri)}; the warnings above say why"
            )
        return list(found)

    def ui(self) -> "tuple[str | None, str]":
        """Say how to look at the traces: a command, unless a server runs already, and a URL."""
        page = f"/#/experiments/{self._experiment_id}/traces"
        if self._uri.startswith(("http://", "https://")):
            return None, without_credentials(self._uri).rstrip("/") + page
        port = _free_port()
        return _ui_command(self._uri, port), f"http://127.0.0.1:{port}{page}"


def _free_port() -> int:
    """Return MLflow's usual port or, where something listens there (macOS), one after it."""
    return next((port for port in _PORTS if not _listens(port)), _PORTS.start)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ui_command(tracking_uri: str, port: int) -> str:
    chosen = [] if port == _PORTS.start else ["--port", str(port)]
    store = without_credentials(tracking_uri)
    command = [*_mlflow(), "ui", "--backend-store-uri", store, *chosen]
    return shlex.join(command) if os.name == "posix" else subprocess.list2cmdline(command)


def _mlflow() -> list[str]:
    """Return how to call the mlflow that belongs to this Python."""
    program = shutil.which("mlflow", path=sysconfig.get_path("scripts"))
    if program is None:
        return [sys.executable, "-m", "mlflow"]
    if _is_on_path(program):
        return ["mlflow"]
    path, here = Path(program), Path.cwd()
    return [str(path.relative_to(here) if path.is_relative_to(here) else path)]


def _is_on_path(program: str) -> bool:
    found = shutil.which(Path(program).stem)
    return found is not None and Path(found).samefile(program)
