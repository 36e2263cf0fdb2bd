"""The autologging integration: calls of the SDK, recorded as live spans of MLflow's own tracing.

All that is private to MLflow's tracing is touched here; a contract test watches it.
"""

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import mlflow
from mlflow.environment_variables import MLFLOW_USE_DEFAULT_TRACER_PROVIDER
from mlflow.tracing import provider as mlflow_provider
from mlflow.utils import autologging_utils
from opentelemetry import trace
from opentelemetry.context import get_current, get_value, set_value
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.genai.environment_variables import (
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT,
)
from opentelemetry.util.genai.types import ContentCapturingMode
from opentelemetry.util.genai.utils import get_content_capturing_mode

from ollama_otel import _doors
from ollama_otel._patch import Patch
from ollama_otel._spans import SpanInvocation
from ollama_otel._telemetry import Telemetry
from ollama_otel.instrumentor import OllamaInstrumentor
from ollama_otel.mlflow._json import decode
from ollama_otel.mlflow._sessions import session_from_baggage
from ollama_otel.mlflow.translation import FREE_PROVIDERS, translate_attributes

if TYPE_CHECKING:
    from mlflow.entities import LiveSpan, NoOpSpan
    from mlflow.tracing.provider import SpanContextToken
    from opentelemetry.context import Context
    from opentelemetry.util.genai.types import Error

FLAVOR: Final = "ollama"
"""The name of the integration in MLflow."""

_PARENT: Final = "ollama_otel.mlflow.parent"
_ON_SPANS: Final = (ContentCapturingMode.SPAN_ONLY, ContentCapturingMode.SPAN_AND_EVENT)

_logger = logging.getLogger(__name__)


def integrate(*, log_traces: bool, disable: bool, silent: bool, ollama_attributes: bool) -> None:
    """Register the integration with MLflow, and put the wrappers on the SDK or take them off.

    Args:
        log_traces: whether calls are traced.
        disable: take the integration off.
        silent: say nothing.
        ollama_attributes: whether spans also tell what only Ollama knows.
    """
    _register(
        log_traces=log_traces,
        disable=disable,
        silent=silent,
        ollama_attributes=ollama_attributes,
    )
    if disable:
        _integration.take_off()
        return
    _integration.put_on()
    if "ipykernel" in sys.modules:
        # MLflow's batches would show a cell's traces below the cell that runs when they are sent.
        os.environ.setdefault("MLFLOW_USE_BATCH_SPAN_PROCESSOR", "false")
    _join_opentelemetry()
    if not silent:
        _say_what_is_in_the_way()


@autologging_utils.autologging_integration(FLAVOR)  # type: ignore[no-untyped-call,untyped-decorator]  # MLflow's
def _register(
    log_traces: bool = True,  # noqa: FBT001, FBT002  (MLflow looks at these names and defaults)
    disable: bool = False,  # noqa: FBT001, FBT002
    silent: bool = False,  # noqa: FBT001, FBT002
    ollama_attributes: bool = True,  # noqa: FBT001, FBT002
) -> None:
    """Do nothing: MLflow keeps the settings."""


class _Integration:
    """The wrappers of autolog: at most once on the SDK."""

    def __init__(self) -> None:
        self._patch: Patch | None = None

    def put_on(self) -> None:
        if self._patch is None:
            self._patch = Patch(_MlflowTelemetry)

    def take_off(self) -> None:
        if self._patch is not None:
            self._patch.take_off()
            self._patch = None


_integration: Final = _Integration()


def _setting(name: str) -> bool:
    config = autologging_utils.AUTOLOGGING_INTEGRATIONS.get(FLAVOR, {})
    return bool(config.get(name, True))


def _is_wanted() -> bool:
    """Return whether MLflow's settings, as they are now, want calls to be traced."""
    if autologging_utils._AUTOLOGGING_GLOBALLY_DISABLED:  # noqa: SLF001  (no public way to ask)
        return False
    return not _setting("disable") and _setting("log_traces")


def _is_told_already() -> bool:
    """Return whether the instrumentor and an exporter take the same calls to MLflow."""
    return bool(_doors.mlflow) and bool(OllamaInstrumentor().is_instrumented_by_opentelemetry)


def _join_opentelemetry() -> None:
    """Let MLflow join a provider that it is to share, before a span starts there.

    It would do so at its own first span, and lose what began before in the trace that is open then.
    """
    shared = not MLFLOW_USE_DEFAULT_TRACER_PROVIDER.get()  # type: ignore[no-untyped-call]  # MLflow's
    if shared and isinstance(trace.get_tracer_provider(), TracerProvider):
        mlflow_provider.get_bridged_tracer_provider()


def _say_what_is_in_the_way() -> None:
    if _is_told_already():
        _logger.warning(
            "OllamaInstrumentor and an exporter send the calls to MLflow already: autolog() adds "
            "nothing while they do"
        )
    has_sdk = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if has_sdk and "MLFLOW_USE_DEFAULT_TRACER_PROVIDER" not in os.environ:
        _logger.info(
            "OpenTelemetry's spans and MLflow's are in traces of their own; set "
            "MLFLOW_USE_DEFAULT_TRACER_PROVIDER=false before the first span for one trace of both"
        )


class _MlflowTelemetry(Telemetry):
    """Records calls with MLflow's own tracing."""

    def __init__(self) -> None:
        super().__init__(meter_provider=NoOpMeterProvider())
        # As MLflow's users expect, unless it was turned off.
        self.captures_content = self.keeps_content_on_spans = _captures_content()

    @property
    def logger(self) -> None:
        """Nothing: the exception is on the span."""

    def listens(self) -> bool:
        """Return whether a call made now is to be traced."""
        return _is_wanted() and not _is_told_already()

    def only_spans(self, context: "Context") -> bool:  # noqa: ARG002  (whatever others keep there)
        """Return that spans are all: metrics and events are OpenTelemetry's business."""
        return True

    def measures(self) -> bool:
        """Return that nobody receives metrics."""
        return False

    def wants_content(self, invocation: Any) -> bool:
        """Return whether the content of this call will be kept."""
        return self.captures_content and bool(invocation.span.is_recording())

    def tells_ollama_attributes(self) -> bool:
        """Return whether spans tell ``ollama.*`` too."""
        return _setting("ollama_attributes")

    def current_context(self) -> "Context":
        """Return a context that knows MLflow's current span."""
        return set_value(_PARENT, mlflow.get_current_active_span(), get_current())

    def start_span_alone(self, provider: str, **facts: Any) -> SpanInvocation:
        """Start a call as a live span of MLflow's."""
        return _LiveInvocation(provider, should_capture_content=self.captures_content, **facts)


def _captures_content() -> bool:
    if not os.environ.get(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, "").strip():
        return True
    return get_content_capturing_mode() in _ON_SPANS


class _LiveInvocation(SpanInvocation):
    """A call as a live span of MLflow's.

    Args:
        provider: the ``gen_ai.provider.name``.
        context: the context of the call, as ``_MlflowTelemetry.current_context`` made it.
        should_capture_content: whether content is wanted.
        facts: what is known at the start.
    """

    def __init__(
        self,
        provider: str,
        *,
        context: "Context",
        should_capture_content: bool,
        **facts: Any,
    ) -> None:
        self._live: LiveSpan | NoOpSpan = mlflow.start_span_no_context(
            self._name(facts), parent_span=_parent(context)
        )
        self.facts = {"gen_ai.provider.name": provider} | {
            attribute: facts[name] for name, attribute in _FACTS.items() if facts[name] is not None
        }
        session = session_from_baggage(context)
        self._begin(
            cast("trace.Span", self._live._span),  # noqa: SLF001  (no public way)
            should_capture_content=should_capture_content,
        )
        self.attributes.update(session)
        self._attached: SpanContextToken | None = mlflow_provider.set_span_in_context(self._live)

    @staticmethod
    def _name(facts: dict[str, Any]) -> str:
        model = facts["request_model"]
        return f"{facts['operation_name']} {model}" if model else str(facts["operation_name"])

    def suspend(self) -> None:
        """Make what was current before the start current again."""
        token, self._attached = self._attached, None
        if token is not None:
            mlflow_provider.detach_span_from_context(token)

    def forget_foreign_token(self) -> None:
        """Leave the context alone where the span is not current: in another thread or task."""
        if mlflow_provider.get_current_otel_span() is not self.span:
            self._attached = None

    def fail(self, error: "Error") -> None:
        """End the span with the error."""
        self.error_type = error.type
        if self.span.is_recording():
            self.span.set_status(trace.Status(trace.StatusCode.ERROR, error.message))
        self.stop()

    def stop(self) -> None:
        """End the span, with what was set here and what MLflow makes of it."""
        try:
            if self.span.is_recording():
                told = {**self.facts, **self._fields(), **self.attributes, **self._content()}
                self._tell(told)
        finally:
            self.suspend()
            self._live.end()

    def _tell(self, told: dict[str, Any]) -> None:
        translated = translate_attributes(
            told, free_providers=FREE_PROVIDERS, first=self._live.parent_id is None
        )
        for name, value in translated.items():
            # MLflow's own spans keep every value as JSON, and write it themselves.
            self._live.set_attribute(name, decode(value) if name.startswith("mlflow.") else value)


_FACTS: Final = {
    "operation_name": "gen_ai.operation.name",
    "request_model": "gen_ai.request.model",
    "server_address": "server.address",
    "server_port": "server.port",
}


def _parent(context: "Context") -> "LiveSpan | None":
    parent: LiveSpan | None = get_value(_PARENT, context)  # type: ignore[assignment]  # put there above
    return parent
